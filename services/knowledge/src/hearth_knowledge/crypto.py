"""Keys and seals.

key-encryption key (mounted Secret, versions) -> key of a knowledge base -> key of a document -> body, original, chunks.
Destroying a document's key therefore erases every copy of it, wherever it lies.

Sealed values are AES-256-GCM with a random nonce: `nonce (12) | ciphertext | tag (16)`. The additional data binds a
value to its place (knowledge base, document, version, what it is): a value that was moved does not open.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hearth_knowledge.errors import KeyMissingError, SealBrokenError

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SALT_BYTES = 16
FRAME_BYTES = 1 << 20
VERSION_NAME = re.compile(r"v([1-9][0-9]{0,5})")

RandomBytes = Callable[[int], bytes]


def seal(key: bytes, plain: bytes, *, place: str, random: RandomBytes) -> bytes:
    """Encrypt one value for one place."""
    nonce = random(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, place.encode())


def unseal(key: bytes, sealed: bytes, *, place: str) -> bytes:
    """Decrypt what `seal` made. SealBrokenError when key, place or bytes differ."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode())
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError(place) from error


def seal_stream(key: bytes, frames: Iterable[bytes], *, place: str, random: RandomBytes) -> Iterator[bytes]:
    """Encrypt a stream of any length: a salt, then frames of `FRAME_BYTES` plain bytes, the last marked as last.

    Each stream has its own key from its salt, so counted nonces never repeat; a cut or reordered stream does not open.
    """
    salt = random(SALT_BYTES)
    cipher = AESGCM(derive(key, "stream", salt=salt))
    yield salt
    number = 0
    waiting: bytes | None = None
    for frame in _reframe(frames):
        if waiting is not None:
            yield cipher.encrypt(_counter(number), waiting, f"{place}|part".encode())
            number += 1
        waiting = frame
    yield cipher.encrypt(_counter(number), waiting or b"", f"{place}|last".encode())


def unseal_stream(key: bytes, sealed: Iterable[bytes], *, place: str) -> Iterator[bytes]:
    """Decrypt what `seal_stream` made; `sealed` may come in any pieces. SealBrokenError where it was changed."""
    source = _Reader(sealed)
    salt = source.take(SALT_BYTES)
    if len(salt) < SALT_BYTES:
        raise SealBrokenError(place)
    cipher = AESGCM(derive(key, "stream", salt=salt))
    number = 0
    frame = source.take(FRAME_BYTES + TAG_BYTES)
    while True:
        following = source.take(FRAME_BYTES + TAG_BYTES)
        mark = "part" if following else "last"
        try:
            yield cipher.decrypt(_counter(number), frame, f"{place}|{mark}".encode())
        except (InvalidTag, ValueError) as error:
            raise SealBrokenError(place) from error
        if not following:
            return
        frame, number = following, number + 1


def derive(key: bytes, purpose: str, *, salt: bytes = b"") -> bytes:
    """Return a 32-byte key for one purpose (HKDF-SHA256)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=f"hearth|{purpose}".encode()).derive(key)


def keyed_hash(key: bytes, *parts: str) -> bytes:
    """Return HMAC-SHA256 over the NUL-joined parts: a lookup value that tells nothing without the key."""
    return hmac.new(key, "\0".join(parts).encode(), hashlib.sha256).digest()


@dataclass(frozen=True, slots=True, repr=False)
class KbKeys:
    """Keys of one knowledge base, derived from its master key."""

    wrap: bytes
    """wraps documents' keys"""
    meta: bytes
    """seals cursors"""
    lookup: bytes
    """keyed hashes of people, threads and content hashes"""
    terms: bytes
    """keyed hashes of words in sparse vectors"""
    ids: bytes
    """given to ingestion runs, for document ids"""
    privacy: bytes
    """pseudonyms, the directory of persons, releases and reasons of audits"""

    @classmethod
    def from_master(cls, master: bytes) -> "KbKeys":
        """Derive all."""
        names = ("wrap", "meta", "lookup", "terms", "ids", "privacy")
        return cls(**{name: derive(master, f"kb-{name}") for name in names})


class Keyring:
    """Key-encryption keys from a folder with one file per version: `v1`, `v2`... holding base64 of 32 bytes.

    Files are read at each use: the kubelet replaces them while we run, and a key is used only when a knowledge base is
    opened or made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self) -> int:
        """Return the highest version. KeyMissingError when there is none."""
        versions = self._versions()
        if not versions:
            raise KeyMissingError("no version is mounted")
        return max(versions)

    def wrap(self, key: bytes, *, place: str, version: int, random: RandomBytes) -> bytes:
        """Seal a key with a version of the key-encryption key."""
        return seal(self._load(version), key, place=f"{place}|kek-v{version}", random=random)

    def unwrap(self, wrapped: bytes, *, place: str, version: int) -> bytes:
        """Open what `wrap` made."""
        return unseal(self._load(version), wrapped, place=f"{place}|kek-v{version}")

    def _versions(self) -> dict[int, Path]:
        try:
            names = [(VERSION_NAME.fullmatch(path.name), path) for path in self._folder.iterdir()]
        except OSError as error:
            raise KeyMissingError(f"the folder is not readable ({type(error).__name__})") from error
        return {int(match[1]): path for match, path in names if match}

    def _load(self, version: int) -> bytes:
        path = self._versions().get(version)
        if path is None:
            raise KeyMissingError(f"version v{version} is not mounted")
        try:
            key = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
        except (OSError, ValueError, binascii.Error) as error:
            raise KeyMissingError(f"version v{version} is not readable ({type(error).__name__})") from error
        if len(key) != KEY_BYTES:
            raise KeyMissingError(f"version v{version} has {len(key)} bytes, not {KEY_BYTES}")
        return key


def _counter(number: int) -> bytes:
    return number.to_bytes(NONCE_BYTES, "big")


def _reframe(pieces: Iterable[bytes]) -> Iterator[bytes]:
    reader = _Reader(pieces)
    while frame := reader.take(FRAME_BYTES):
        yield frame


class _Reader:
    """Reads exact numbers of bytes from pieces of any size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = bytearray()

    def take(self, count: int) -> bytes:
        while len(self._rest) < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        taken = bytes(self._rest[:count])
        del self._rest[:count]
        return taken
