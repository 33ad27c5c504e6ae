"""One MIME part without children: its type and name, its bytes, its text, and whether it can be opened at all."""

import binascii
import io
import quopri
import re
import zipfile
from dataclasses import dataclass
from email.message import Message

from hearth_ingest.charset import decode_text
from hearth_ingest.mail.headers import decode_base64, params, raw_values

_SMIME = {"application/pkcs7-mime", "application/x-pkcs7-mime"}
_TNEF = {"application/ms-tnef", "application/vnd.ms-tnef"}
_ZIP = {"application/zip", "application/x-zip-compressed", "application/x-zip"}
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,80}$")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part with its declared type (repaired), the parameters of that type, its file name without a path."""

    message: Message
    path: str
    media_type: str
    options: dict[str, str]
    name: str
    disposition: str


def read_leaf(message: Message, path: str) -> Leaf:
    """Return a part's description. Never raises: a type that is none is what stands at its place by default."""
    values = raw_values(message, "content-type")
    media_type, options = params(values[0]) if values else ("", {})
    if not _TYPE.match(media_type):
        media_type = message.get_default_type() if not media_type or "/" not in media_type else "text/plain"
    if message.is_multipart() and not media_type.startswith(("multipart/", "message/")):
        media_type = "multipart/mixed"
    dispositions = raw_values(message, "content-disposition")
    disposition, extra = params(dispositions[0]) if dispositions else ("", {})
    name = extra.get("filename") or options.get("name") or ""
    return Leaf(message, path, media_type, options, name.replace("\\", "/").rpartition("/")[2][:255], disposition)


def payload_bytes(message: Message) -> tuple[bytes, bool]:
    """Return a leaf's decoded bytes and whether its transfer encoding was sound. Never raises."""
    # get_payload() would decode 8-bit text by its declared charset, which may be a lie; this is what came.
    payload = message._payload  # type: ignore[attr-defined]  # noqa: SLF001
    if not isinstance(payload, str):
        return b"", True
    raw = payload.encode("utf-8", "surrogateescape")
    encoding = (raw_values(message, "content-transfer-encoding") or [""])[0].strip().lower()
    if encoding == "base64":
        data = decode_base64(raw)
        stripped = len(re.sub(rb"\s+", b"", raw).rstrip(b"="))
        return data, len(data) >= stripped * 3 // 4 - 1
    if encoding == "quoted-printable":
        return quopri.decodestring(raw), True
    if encoding in {"x-uuencode", "uuencode", "uue", "x-uue"}:
        return _uudecode(raw)
    return raw, encoding in {"", "7bit", "8bit", "binary"}


def _uudecode(raw: bytes) -> tuple[bytes, bool]:
    out, started = b"", False
    for line in raw.splitlines():
        if line.startswith(b"begin ") and not started:
            started = True
        elif started and line.strip() == b"end":
            return out, True
        elif started:
            try:
                out += binascii.a2b_uu(line)
            except binascii.Error:
                return out or raw, False
    return (out, False) if started else (raw, False)


def leaf_text(part: Leaf) -> tuple[str, str | None, str]:
    """Return (text, warning code, detail) of a text part."""
    data, sound = payload_bytes(part.message)
    decoded = decode_text(data, part.options.get("charset"))
    if not sound:
        return decoded.text, "transfer-encoding-broken", part.path
    return decoded.text, decoded.warning, decoded.detail


def opaque_reason(part: Leaf, name: str, data: bytes) -> str | None:
    """Return why nobody can read a part without a key or a reader of its format, or None."""
    lower = name.lower()
    if part.media_type in _SMIME or lower.endswith((".p7m", ".p7c")):
        return "opaque-smime"
    if part.media_type in _TNEF or lower == "winmail.dat":
        return "opaque-tnef"
    if b"-----BEGIN PGP MESSAGE" in data[:300]:
        return "opaque-pgp"
    if (part.media_type in _ZIP or data.startswith(b"PK\x03\x04")) and _zip_is_encrypted(data):
        return "opaque-encrypted-zip"
    return None


def _zip_is_encrypted(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(entry.flag_bits & 0x1 for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return len(data) > 8 and data.startswith(b"PK\x03\x04") and bool(data[6] & 0x1)
