"""Places that sealed values are bound to, and shapes of names. One module, so that no two places are equal."""

import re
from datetime import UTC, datetime

from hearth_api.wire.documents import DOCUMENT_ID_PATTERN
from hearth_knowledge.errors import InvalidRequestError

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DOCUMENT = re.compile(DOCUMENT_ID_PATTERN)


def check_name(field: str, value: str) -> str:
    """Return a DNS label, or raise InvalidRequestError."""
    if not NAME.fullmatch(value):
        raise InvalidRequestError(field, "must be lower-case letters, digits and hyphens, at most 63")
    return value


def check_document(value: str) -> str:
    """Return a document id, or raise InvalidRequestError."""
    if not DOCUMENT.fullmatch(value):
        raise InvalidRequestError("document", "is not a document id")
    return value


def kb_key(kb: str) -> str:
    """Place of a knowledge base's wrapped key."""
    return f"kb|{kb}|key"


def document_key(kb: str, document: str) -> str:
    """Place of a document's wrapped key."""
    return f"kb|{kb}|document|{document}|key"


def manifest(kb: str, document: str) -> str:
    """Place of a document's manifest entry."""
    return f"kb|{kb}|document|{document}|manifest"


def body(kb: str, document: str, version: int) -> str:
    """Place of one version's normal form."""
    return f"kb|{kb}|document|{document}|version|{version}|body"


def original(kb: str, document: str, version: int) -> str:
    """Place of the original bytes that one version was read from."""
    return f"kb|{kb}|document|{document}|version|{version}|original"


def original_facts(kb: str, document: str) -> str:
    """Place of what is known of the newest original."""
    return f"kb|{kb}|document|{document}|original-facts"


def chunks(kb: str, document: str, version: int, collection: str) -> str:
    """Place of one version's chunks in one collection."""
    return f"kb|{kb}|document|{document}|version|{version}|chunks|{collection}"


def chunk_terms(kb: str, document: str, version: int, collection: str) -> str:
    """Place of one version's term counts in one collection."""
    return f"kb|{kb}|document|{document}|version|{version}|terms|{collection}"


def cursor(kb: str, source: str) -> str:
    """Place of a source's cursor."""
    return f"kb|{kb}|source|{source}|cursor"


def to_millis(value: datetime) -> int:
    """Return milliseconds since 1970. A time without a zone is taken as UTC."""
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)


def from_millis(value: int) -> datetime:
    """Return the UTC time of milliseconds since 1970."""
    return datetime.fromtimestamp(value / 1000, tz=UTC)
