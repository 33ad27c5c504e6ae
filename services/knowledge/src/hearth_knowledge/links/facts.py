"""What joins a document to others: names, times, people, words. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hearth_api.wire.documents import Kind, NormalDocument
from hearth_knowledge.index import terms
from hearth_knowledge.links.identity import normalise
from hearth_knowledge.storage.names import to_millis

HEAD_CHARS = 600
MAX_PEOPLE = 100
MAX_MOMENTS = 1000
MAX_WORDS = 60
MAX_LINKS = 200
EVENT_MILLIS = 3_600_000
"""How long a meeting is taken to last: a segment carries its start only."""
DAY_MILLIS = 86_400_000
DATE = re.compile(r"(?<!\d)(20\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)")
WORD = re.compile(r"[^\W\d_]{3,}")
GENERIC = frozenset(
    [
        "meeting",
        "notes",
        "minutes",
        "protocol",
        "protokoll",
        "notizen",
        "besprechung",
        "the",
        "and",
        "for",
        "with",
        "der",
        "die",
        "das",
        "und",
        "von",
        "mit",
        "fuer",
        "fur",
        "ueber",
        "uber",
        "les",
        "des",
        "une",
        "pour",
        "avec",
        "compte",
        "rendu",
        "call",
        "sync",
        "weekly",
        "daily",
        "termin",
        "invitation",
        "einladung",
        "accepted",
        "zugesagt",
        "declined",
        "tentative",
        "canceled",
        "cancelled",
        "abgesagt",
        "chat",
        "txt",
        "docx",
        "pdf",
        "fwd",
    ]
)


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing by which a document is joined. `side`: identity, link, thread, person, name, subject, word."""

    side: str
    rel: str
    value: str


@dataclass(frozen=True, slots=True)
class Moment:
    """When a document happened. Milliseconds since 1970; `day`: only the day is known."""

    starts: int
    ends: int
    day: bool = False


def read_marks(document: NormalDocument) -> frozenset[Mark]:
    """Return everything that a document may be joined by."""
    marks = {Mark("identity", "", f"doc:{document.id}")}
    marks |= {Mark("identity", "", normalise(one)) for one in document.identities[:MAX_LINKS]}
    marks |= {Mark("link", one.rel, normalise(one.target)) for one in document.links[:MAX_LINKS]}
    if document.thread is not None:
        marks.add(Mark("thread", "", document.thread.id))
        if document.thread.parent:
            marks.add(Mark("link", "reply", normalise(document.thread.parent)))
    people = (*document.authors, *document.participants)[:MAX_PEOPLE]
    marks |= {Mark("person", "", person.id) for person in people}
    marks |= {Mark("name", "", word) for person in people for word in significant_words(person.name or "")}
    marks |= {Mark("subject", "", word) for word in significant_words(document.title)}
    if document.kind in {Kind.DOCUMENT, Kind.TEAMS}:
        head = "\n".join((document.title, _head(document)))
        marks |= {Mark("word", "", word) for word in significant_words(head)}
    return frozenset(marks)


def read_moments(document: NormalDocument) -> tuple[Moment, ...]:
    """Return when a document happened: each occurrence of an event, the span of a chat, the day that notes name."""
    times = sorted(to_millis(one.time) for one in document.segments if one.time is not None and not one.quarantine)
    if document.kind is Kind.CALENDAR and times:
        return tuple(Moment(start, start + EVENT_MILLIS) for start in dict.fromkeys(times[:MAX_MOMENTS]))
    if document.kind is Kind.DOCUMENT:
        days = tuple(_days(f"{document.title} {document.origin.key} {_head(document)}"))[:3]
        if days:
            return days
    if not times:
        said = document.created or document.modified
        times = [to_millis(said)] if said is not None else []
    return (Moment(times[0], times[-1]),) if times else ()


def significant_words(text: str) -> list[str]:
    """Return the words that tell one subject from another, folded, in order, each once."""
    words = (word for word in WORD.findall(terms.fold(text)) if word not in GENERIC)
    return list(dict.fromkeys(words))[:MAX_WORDS]


def _head(document: NormalDocument) -> str:
    text = ""
    for segment in document.segments:
        if segment.quarantine is None and segment.role != "quoted":
            text += segment.text[:HEAD_CHARS] + "\n"
        if len(text) >= HEAD_CHARS:
            break
    return text[:HEAD_CHARS]


def _days(text: str) -> Iterator[Moment]:
    for year, month, day in dict.fromkeys(DATE.findall(text)):
        try:
            start = datetime(int(year), int(month), int(day), tzinfo=UTC)
        except ValueError:
            continue
        yield Moment(to_millis(start - timedelta(hours=2)), to_millis(start) + DAY_MILLIS, day=True)
