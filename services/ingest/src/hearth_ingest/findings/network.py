"""Addresses of machines and of wallets, and bank codes."""

# ruff: noqa: E501 (a table of patterns reads best with one to a line)

import hashlib
import ipaddress
import re
from collections.abc import Iterator

_V4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)", re.ASCII)
_V6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{0,4}|(?:\d{1,3}\.){3}\d{1,3})(?![\w:])", re.ASCII
)
_MAC = re.compile(
    r"(?<![\w:-])(?:(?:[0-9A-Fa-f]{2}:){5}|(?:[0-9A-Fa-f]{2}-){5})[0-9A-Fa-f]{2}(?![\w:-])|(?<![\w.])(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}(?![\w.])",
    re.ASCII,
)
_VERSION = re.compile(
    r"(?i)(?:\bv|version|release|build|section|chapter|abschnitt|kapitel|clause|ziffer|§|firmware|oid|nr\.?|no\.?)[ :.=]{0,3}$"
)
_HOST = re.compile(
    r"(?i)\b(?:ip|host|server|address|adresse|dns|gateway|router|ping|ssh|from|client|ipv4)\b[^\n]{0,24}$"
)
_HARMLESS = frozenset({"0.0.0.0", "127.0.0.1", "255.255.255.255", "255.255.255.0", "255.255.0.0", "255.0.0.0"})  # noqa: S104 (not bound to, left readable)
_BIC = re.compile(r"(?<![A-Za-z0-9])[A-Z]{4} ?([A-Z]{2}) ?[A-Z0-9]{2} ?(?:[A-Z0-9]{3})?(?![A-Za-z0-9])", re.ASCII)
_BIC_WORD = re.compile(r"(?i)\b(?:bic|swift)\b[^\n]{0,16}$")
_ETHEREUM = re.compile(r"(?<![A-Za-z0-9])0x[0-9a-fA-F]{40}(?![A-Za-z0-9])")
_BASE58 = re.compile(r"(?<![A-Za-z0-9])[13][1-9A-HJ-NP-Za-km-z]{25,34}(?![A-Za-z0-9])")
_BECH32 = re.compile(r"(?<![A-Za-z0-9])(?:bc1|BC1)[02-9ac-hj-np-zAC-HJ-NP-Z]{11,71}(?![A-Za-z0-9])")
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_MASK = (1 << 64) - 1
_ROTATIONS = ((0, 36, 3, 41, 18), (1, 44, 10, 45, 2), (62, 6, 43, 15, 61), (28, 55, 25, 21, 56), (27, 20, 39, 8, 14))

Found = tuple[int, int, str, float]


def find_network(text: str) -> Iterator[Found]:
    """Yield addresses of machines. Versions and section numbers have the same shape; the word before tells them."""
    for match in _V4.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        octets = match[0].split(".")
        wide = len(match[0]) >= 9 or _HOST.search(before)
        sound = all(int(octet) < 256 and str(int(octet)) == octet for octet in octets)
        if sound and wide and match[0] not in _HARMLESS and not _VERSION.search(before):
            yield match.start(), match.end(), "ip", 0.9
    if ":" in text or "-" in text or "." in text:
        for match in _MAC.finditer(text):
            if len(set(match[0].lower()) - set(":-.")) > 1:
                yield match.start(), match.end(), "mac", 0.95
    if "::" in text or text.count(":") > 6:
        for match in _V6.finditer(text):
            if len(match[0]) > 6 and _is_v6(match[0]):
                yield match.start(), match.end(), "ip", 0.95


def _is_v6(text: str) -> bool:
    try:
        found = ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified) and sum(char.isalnum() for char in text) >= 4


def find_money(text: str) -> Iterator[Found]:
    """Yield bank codes that are named as such, and wallets whose checksum holds."""
    if "bic" in (lower := text.lower()) or "swift" in lower:
        for match in _BIC.finditer(text):
            if _BIC_WORD.search(text[max(0, match.start() - 24) : match.start()]) and len(
                match[0].replace(" ", "")
            ) in (8, 11):
                yield match.start(), match.end(), "bic", 0.9
    if "0x" in text:
        for match in _ETHEREUM.finditer(text):
            if _is_ethereum(match[0][2:]):
                yield match.start(), match.end(), "crypto", 0.95
    if "bc1" in lower:
        for match in _BECH32.finditer(text):
            if _is_bech32(match[0].lower()):
                yield match.start(), match.end(), "crypto", 0.99
    for match in _BASE58.finditer(text):
        if _is_base58(match[0]):
            yield match.start(), match.end(), "crypto", 0.99


def _is_base58(text: str) -> bool:
    number = 0
    for char in text:
        number = number * 58 + _ALPHABET.index(char)
    if number >= 1 << 200:
        return False
    raw = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


def _is_bech32(text: str) -> bool:
    values = [ord(char) >> 5 for char in "bc"] + [0] + [ord(char) & 31 for char in "bc"]
    values += [_CHARSET.index(char) for char in text[3:]]
    check = 1
    for value in values:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check in (1, 0x2BC830A3)


def _is_ethereum(digits: str) -> bool:
    """EIP-55: the case of letters is a checksum; a single case carries none."""
    if digits == digits.lower() or digits == digits.upper():
        return len(set(digits)) > 2
    digest = keccak(digits.lower().encode()).hex()
    return all(
        char.isdigit() or char.isupper() == (int(mark, 16) > 7) for char, mark in zip(digits, digest, strict=False)
    )


def keccak(data: bytes) -> bytes:
    """Return Keccak-256 (not SHA3-256: the padding differs) of at most 135 bytes."""
    block = bytearray(136)
    block[: len(data)] = data
    block[len(data)] ^= 0x01
    block[135] ^= 0x80
    lanes = [
        [int.from_bytes(block[8 * (x + 5 * y) :][:8], "little") if x + 5 * y < 17 else 0 for y in range(5)]
        for x in range(5)
    ]
    register = 1
    for _ in range(24):
        lanes, register = _round(lanes, register)
    return b"".join(lanes[x][0].to_bytes(8, "little") for x in range(4))


def _rotate(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _MASK if by else value


def _round(a: list[list[int]], register: int) -> tuple[list[list[int]], int]:
    c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
    d = [c[(x - 1) % 5] ^ _rotate(c[(x + 1) % 5], 1) for x in range(5)]
    b = [[0] * 5 for _ in range(5)]
    for x in range(5):
        for y in range(5):
            b[y][(2 * x + 3 * y) % 5] = _rotate(a[x][y] ^ d[x], _ROTATIONS[x][y])
    out = [[b[x][y] ^ (~b[(x + 1) % 5][y] & b[(x + 2) % 5][y]) & _MASK for y in range(5)] for x in range(5)]
    for bit in range(7):
        if register & 1:
            out[0][0] ^= 1 << ((1 << bit) - 1)
        register = (register << 1) ^ (0x171 if register & 0x80 else 0)
    return out, register
