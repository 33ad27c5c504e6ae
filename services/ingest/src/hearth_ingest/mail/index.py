"""The index of a mail source: one entry per message with its key, fingerprint and place in its conversation.

Only headers are read for files that hold one message (their size and mtime say whether they changed); a mailbox file is
hashed message by message, so that one changed mail does not re-read the others.
"""

import hashlib
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hearth_ingest.item import Item, Refusal
from hearth_ingest.mail.dates import observe_date
from hearth_ingest.mail.headers import message_ids
from hearth_ingest.mail.mbox import iter_spans, unquote
from hearth_ingest.mail.threads import Node, Place, group

_HEADER_BYTES = 262_144
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_FIELDS = re.compile(
    rb"^(message-id|references|in-reply-to|date|received|x-mozilla-status)[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)",
    re.IGNORECASE | re.MULTILINE,
)
_EXPUNGED = 0x0008
_READ_CHUNK = 1 << 20
_MAX_REFERENCES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message: where its bytes are and what the index knows of it. Offsets are in bytes."""

    path: Path
    uri: str
    offset: int
    size: int
    mbox: bool
    envelope: str
    mid: str
    references: tuple[str, ...]
    time: float | None
    fingerprint: str
    key: str = ""
    twin: bool = False
    root: str = ""
    position: int = 1
    parent: str | None = None

    def item(self) -> Item:
        """Return the entry as the run sees it; the fingerprint moves when the place in the conversation does."""
        place = f"{self.root}\0{self.position}\0{self.parent}\0{self.twin}"
        mark = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        return Item(key=self.key, fingerprint=f"{self.fingerprint};thread:{mark}", uri=self.uri, size=self.size)


def index_mbox(path: Path, *, uri: str) -> Iterator[Entry]:
    """Yield the messages of a mailbox file, without those that the mail program marked as expunged."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for span in iter_spans(data):
            fields = _read_fields(data[span.start : min(span.end, span.start + _HEADER_BYTES)])
            if _is_expunged(fields):
                continue
            digest = hashlib.sha256()
            for at in range(span.start, span.end, _READ_CHUNK):
                digest.update(data[at : min(at + _READ_CHUNK, span.end)])
            yield _entry(
                fields,
                path=path,
                uri=uri,
                offset=span.start,
                size=span.end - span.start,
                envelope=span.envelope,
                mbox=True,
                fingerprint=f"sha256:{digest.hexdigest()[:32]}",
            )


def index_file(path: Path, *, uri: str) -> Entry:
    """Return the entry of a file that holds one message."""
    info = path.stat()
    with path.open("rb") as file:
        fields = _read_fields(file.read(_HEADER_BYTES))
    return _entry(
        fields,
        path=path,
        uri=uri,
        offset=0,
        size=info.st_size,
        envelope="",
        mbox=False,
        fingerprint=f"size:{info.st_size};mtime:{info.st_mtime_ns}",
    )


def read_message(entry: Entry) -> bytes:
    """Return the bytes of a message, without a mailbox's quoting."""
    with entry.path.open("rb") as file:
        file.seek(entry.offset)
        data = file.read(entry.size)
    return unquote(data) if entry.mbox else data


def arrange(entries: list[Entry]) -> tuple[list[Entry], list[Refusal]]:
    """Return entries with keys and places, in the order given, and what was left out as a copy.

    Two mails with one Message-ID: equal bodies are one mail (the first stays), other bodies are two documents.
    """
    keyed: list[Entry] = []
    copies: list[Refusal] = []
    seen: dict[str, set[str]] = {}
    shared = _shared_ids(entries)
    for entry in entries:
        digest = _body_digest(entry) if not entry.mid or entry.mid in shared else ""
        known = seen.setdefault(entry.mid or f"sha:{digest}", set())
        if digest in known:
            copies.append(Refusal(uri=entry.uri, code="mail-copy", detail="the same mail is here more than once"))
            continue
        twin = bool(known)
        known.add(digest)
        base = f"mid:<{entry.mid}>" if entry.mid else f"sha:{digest}"
        keyed.append(replace(entry, key=f"{base}~{digest}" if twin else base, twin=twin))
    places = group(Node(key=entry.key, mid=entry.mid, references=entry.references, time=entry.time) for entry in keyed)
    return [_placed(entry, places[entry.key]) for entry in keyed], copies


def _placed(entry: Entry, place: Place) -> Entry:
    return replace(entry, root=place.root, position=place.position, parent=place.parent)


def _shared_ids(entries: list[Entry]) -> set[str]:
    once: set[str] = set()
    twice: set[str] = set()
    for entry in entries:
        (twice if entry.mid in once else once).add(entry.mid)
    return twice


def _body_digest(entry: Entry) -> str:
    """Return a short hash of what a reader sees as the same mail: the body, or all of it where there is no id."""
    data = read_message(entry)
    end = _HEADER_END.search(data) if entry.mid else None
    return hashlib.sha256(data[end.end() :].strip() if end else data).hexdigest()[:24]


def _read_fields(head: bytes) -> dict[str, str]:
    end = _HEADER_END.search(head)
    fields: dict[str, str] = {}
    for match in _FIELDS.finditer(head, 0, end.start() if end else len(head)):
        fields.setdefault(match[1].lower().decode("ascii"), match[2].decode("utf-8", "replace").strip())
    return fields


def _is_expunged(fields: dict[str, str]) -> bool:
    """Thunderbird keeps deleted mails in the file until it compacts it, marked in a hexadecimal header."""
    text = fields.get("x-mozilla-status", "")
    return bool(re.fullmatch(r"[0-9a-fA-F]{4}", text)) and bool(int(text, 16) & _EXPUNGED)


def _entry(
    fields: dict[str, str], *, path: Path, uri: str, offset: int, size: int, envelope: str, mbox: bool, fingerprint: str
) -> Entry:
    ids = message_ids(fields.get("message-id", ""))
    references = message_ids(fields.get("references", "")) if "<" in fields.get("references", "") else ()
    reply = [mid for mid in message_ids(fields.get("in-reply-to", "")) if "@" in mid][:1]
    if reply and reply[0] not in references:
        references = (*references, reply[0])
    if len(references) > _MAX_REFERENCES:
        # The first names the thread, the last ones the place in it.
        references = (references[0], *references[1 - _MAX_REFERENCES :])
    date = observe_date(fields.get("date", ""), received=fields.get("received", ""), envelope=envelope).value
    return Entry(
        path=path,
        uri=uri,
        offset=offset,
        size=size,
        mbox=mbox,
        envelope=envelope,
        mid=ids[0] if ids else "",
        references=references,
        time=date.timestamp() if date else None,
        fingerprint=fingerprint,
    )
