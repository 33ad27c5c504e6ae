"""The index of a mail source: one entry per message with its key, fingerprint and place in its conversation.

Only headers are read for files that hold one message (their size and mtime say whether they changed); a mailbox file is
hashed message by message, so that one changed mail does not re-read the others.
"""

import hashlib
import mmap
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

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


PlaceT = TypeVar("PlaceT")
"""Where a source finds a message's bytes again."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A file, or from `offset` (bytes) a part of a mailbox file."""

    path: Path
    offset: int = 0
    mbox: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[PlaceT]):
    """One message: where its bytes are and what the index knows of it. `size` is in bytes."""

    place: PlaceT
    uri: str
    size: int
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


def index_mbox(path: Path, *, uri: str) -> Iterator[Entry[FilePlace]]:
    """Yield the messages of a mailbox file, without those that the mail program marked as expunged."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for span in iter_spans(data):
            fields = read_fields(data[span.start : min(span.end, span.start + _HEADER_BYTES)])
            if _is_expunged(fields):
                continue
            digest = hashlib.sha256()
            for at in range(span.start, span.end, _READ_CHUNK):
                digest.update(data[at : min(at + _READ_CHUNK, span.end)])
            yield make_entry(
                fields,
                place=FilePlace(path, span.start, mbox=True),
                uri=uri,
                size=span.end - span.start,
                envelope=span.envelope,
                fingerprint=f"sha256:{digest.hexdigest()[:32]}",
            )


def index_file(path: Path, *, uri: str) -> Entry[FilePlace]:
    """Return the entry of a file that holds one message."""
    info = path.stat()
    with path.open("rb") as file:
        fields = read_fields(file.read(_HEADER_BYTES))
    return make_entry(
        fields,
        place=FilePlace(path),
        uri=uri,
        size=info.st_size,
        envelope="",
        fingerprint=f"size:{info.st_size};mtime:{info.st_mtime_ns}",
    )


def read_message(entry: Entry[FilePlace]) -> bytes:
    """Return the bytes of a message, without a mailbox's quoting."""
    place = entry.place
    with place.path.open("rb") as file:
        file.seek(place.offset)
        data = file.read(entry.size)
    return unquote(data) if place.mbox else data


def arrange(
    entries: list[Entry[PlaceT]], *, digest_of: Callable[[Entry[PlaceT]], str]
) -> tuple[list[Entry[PlaceT]], list[Refusal]]:
    """Return entries with keys and places, in the order given, and what was left out as a copy.

    Two mails with one Message-ID: equal bodies are one mail (the first stays), other bodies are two documents.
    `digest_of` tells them apart (`body_digest` of the bytes); it is asked for mails that share an id or have none.
    """
    keyed: list[Entry[PlaceT]] = []
    copies: list[Refusal] = []
    seen: dict[str, set[str]] = {}
    shared = shared_ids(entries)
    for entry in entries:
        digest = digest_of(entry) if not entry.mid or entry.mid in shared else ""
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


def _placed(entry: Entry[PlaceT], place: Place) -> Entry[PlaceT]:
    return replace(entry, root=place.root, position=place.position, parent=place.parent)


def shared_ids(entries: list[Entry[PlaceT]]) -> set[str]:
    """Return the Message-IDs that more than one entry has ("" for mails without one)."""
    once: set[str] = set()
    twice: set[str] = set()
    for entry in entries:
        (twice if entry.mid in once else once).add(entry.mid)
    return twice


def file_digest(entry: Entry[FilePlace]) -> str:
    """Return `body_digest` of a message in a file."""
    return body_digest(read_message(entry), mid=entry.mid)


def body_digest(data: bytes, *, mid: str) -> str:
    """Return a short hash of what a reader sees as the same mail: the body, or all of it where there is no id."""
    end = _HEADER_END.search(data) if mid else None
    return hashlib.sha256(data[end.end() :].strip() if end else data).hexdigest()[:24]


def read_fields(head: bytes) -> dict[str, str]:
    """Return the header fields that an index needs, by lower-case name."""
    end = _HEADER_END.search(head)
    fields: dict[str, str] = {}
    for match in _FIELDS.finditer(head, 0, end.start() if end else len(head)):
        fields.setdefault(match[1].lower().decode("ascii"), match[2].decode("utf-8", "replace").strip())
    return fields


def _is_expunged(fields: Mapping[str, str]) -> bool:
    """Thunderbird keeps deleted mails in the file until it compacts it, marked in a hexadecimal header."""
    text = fields.get("x-mozilla-status", "")
    return bool(re.fullmatch(r"[0-9a-fA-F]{4}", text)) and bool(int(text, 16) & _EXPUNGED)


def make_entry(
    fields: Mapping[str, str], *, place: PlaceT, uri: str, size: int, envelope: str, fingerprint: str
) -> Entry[PlaceT]:
    """Return the entry for a message's header fields; its key and its place in a conversation come with `arrange`."""
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
        place=place,
        uri=uri,
        size=size,
        envelope=envelope,
        mid=ids[0] if ids else "",
        references=references,
        time=date.timestamp() if date else None,
        fingerprint=fingerprint,
    )
