"""One spelling for each name that documents call each other by. Pure; dirty input gives a stable name, no error."""

import base64
import binascii
import re
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

OBJECT_ID = bytes.fromhex("040000008200e00074c5b7101a82e008")
"""First bytes of an Exchange global object id; its occurrence's date stands in the four bytes after them."""
DATE = slice(16, 20)
DATA = 40
FOREIGN = b"vCal-Uid\x01\x00\x00\x00"
"""Exchange wraps the UID of other calendars with this."""

TRACKING = re.compile(r"^(utm_.*|fbclid|gclid|msclkid|mc_[ce]id|mkt_tok|_hs.*|igshid|si|ref_src)$", re.IGNORECASE)
SHARING = frozenset({"web", "csf", "e", "cid", "xsdata", "sdata", "wdorigin", "wdexp", "ct", "or", "d", "clickparams"})
PATH_ONLY = re.compile(r"(^|\.)(zoom\.us|meet\.google\.com|webex\.com|teams\.live\.com)$")
MEETUP = re.compile(r"/l/meetup-join/([^/?#]+)(?:/([^/?#]*))?", re.IGNORECASE)
SHORT_MEETING = re.compile(r"^/meet/([^/?#]+)", re.IGNORECASE)
MAX_UNWRAPS = 3


def normalise(identity: str) -> str:
    """Return "<prefix>:<value>" in one spelling. A text without a known prefix is a document's id: "doc:<id>"."""
    prefix, colon, value = identity.strip().partition(":")
    prefix = prefix.lower()
    if not colon or prefix not in RULES:
        return f"doc:{identity.strip()}"
    return f"{prefix}:{RULES[prefix](value)}"


def normalise_uid(value: str) -> str:
    """Return an iCalendar UID without case, white space and occurrence; Exchange's object ids without their date."""
    text = "".join(unquote(value).split("?occurrence=")[0].split()).strip("{}<>")
    text = re.sub(r"^urn:uuid:", "", text, flags=re.IGNORECASE)
    data = _object_id(text)
    if data is None:
        return text.casefold()
    if data[DATA:].startswith(FOREIGN):
        foreign = data[DATA + len(FOREIGN) :].rstrip(b"\0").decode("utf-8", "replace")
        return "".join(foreign.split()).strip("{}<>").casefold()
    return (data[: DATE.start] + bytes(4) + data[DATE.stop :]).hex()


def _object_id(text: str) -> bytes | None:
    """Return the bytes of an Exchange object id that is written in hexadecimal or base64."""
    decoders: tuple[Callable[[str], bytes], ...] = (bytes.fromhex, _from_base64)
    for decode in decoders:
        try:
            data = decode(text)
        except (ValueError, binascii.Error):
            continue
        if data.startswith(OBJECT_ID) and len(data) >= DATA:
            return data
    return None


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def normalise_message_id(value: str) -> str:
    """Return a Message-ID without brackets, white space and case."""
    return "".join(value.split()).strip("<>").casefold()


def normalise_url(value: str) -> str:
    """Return an address by which two spellings of the same place are equal. It need not be one that opens."""
    text = value.strip().strip("<>")
    for _ in range(MAX_UNWRAPS):
        inner = _unwrap(text)
        if inner is None:
            break
        text = inner
    if meeting := MEETUP.search(_decoded(text)):
        message = "" if meeting[2] in {None, "", "0"} else f"/{meeting[2]}"
        return f"https://teams.microsoft.com/l/meetup-join/{meeting[1]}{message}".casefold()
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return text.casefold()
    if host == "teams.microsoft.com" and (short := SHORT_MEETING.match(parts.path)):
        return f"https://{host}/meet/{short[1]}".casefold()
    scheme = "https" if parts.scheme.lower() in {"http", "https", ""} else parts.scheme.lower()
    if port is not None and port not in {80, 443}:
        host = f"{host}:{port}"
    query = "" if PATH_ONLY.search(host) else _clean_query(parts.query, sharing=host.endswith(".sharepoint.com"))
    path = unquote(parts.path).rstrip("/")
    return f"{scheme}://{host}{path}" + (f"?{query}" if query else "")


def _decoded(text: str) -> str:
    """Undo the encodings that mail gateways and chats put around each other."""
    for _ in range(MAX_UNWRAPS):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def _unwrap(text: str) -> str | None:
    """Return the address inside a link of a mail gateway or of the Teams launcher."""
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    query = dict(parse_qsl(parts.query))
    if host.endswith(".safelinks.protection.outlook.com") and "url" in query:
        return query["url"]
    if host == "www.google.com" and parts.path == "/url" and ("q" in query or "url" in query):
        return query.get("q") or query["url"]
    return None


def _clean_query(query: str, *, sharing: bool) -> str:
    kept = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if not TRACKING.match(name) and not (sharing and name.lower() in SHARING)
    ]
    return urlencode(sorted(kept))


def normalise_chat(value: str) -> str:
    """Return a chat message's name without encoding and white space around it."""
    return unquote(value).strip().casefold()


RULES: dict[str, Callable[[str], str]] = {
    "uid": normalise_uid,
    "mid": normalise_message_id,
    "url": normalise_url,
    "chat": normalise_chat,
    "doc": str.strip,
}
