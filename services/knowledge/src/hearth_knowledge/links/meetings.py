"""Meetings by people and time: weaker than a name, therefore scored, few, and said to be so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from hearth_api.wire.documents import Kind
from hearth_knowledge.links import store

AFTER_MILLIS = 30 * 60 * 1000
MAX_FOUND = 3
MAX_NEAR = 40
MAX_OCCURRENCES = 12
THRESHOLD = 0.6
MANY = 2
HALF = 0.5
PRESENT = 0.8
"""Of the words of the invited people's names, which notes without a word of the subject must hold."""
AROUND = (Kind.TEAMS.value, Kind.DOCUMENT.value)


@dataclass(frozen=True, slots=True)
class Traits:
    """What two documents are compared by, as keyed hashes."""

    people: frozenset[bytes]
    names: frozenset[bytes]
    subject: frozenset[bytes]
    words: frozenset[bytes]


def find_around(connection: Connection, kb: str, meetings: Iterable[str], *, moment: int) -> dict[str, str]:
    """Return chats and notes of the time of these meetings that are about them, best first, with the reason."""
    scored: list[tuple[float, str, str]] = []
    for meeting in list(meetings)[:MAX_FOUND]:
        traits = read_traits(connection, kb, meeting, moment=moment)
        near: set[str] = set()
        for row in store.moments_of(connection, kb, meeting, moment=moment)[-MAX_OCCURRENCES:]:
            near |= {one.document for one in _near(connection, kb, row, kinds=AROUND, moment=moment)}
        for other in sorted(near):
            score, reason = compare(traits, read_traits(connection, kb, other, moment=moment))
            scored.append((-score, other, reason))
    return {other: reason for score, other, reason in sorted(scored)[:MAX_FOUND] if -score >= THRESHOLD}


def find_meetings(connection: Connection, kb: str, document: str, *, moment: int) -> dict[str, str]:
    """Return the meeting that a chat or notes are about, by people and time, with the reason."""
    traits = read_traits(connection, kb, document, moment=moment)
    if not (traits.words or traits.people):
        return {}
    near: set[str] = set()
    for row in store.moments_of(connection, kb, document, moment=moment)[:MAX_FOUND]:
        rows = store.happening(
            connection, kb, starts=row.starts - AFTER_MILLIS, ends=row.ends, kinds=(Kind.CALENDAR.value,),
            moment=moment, limit=MAX_NEAR,
        )  # fmt: skip
        near |= {one.document for one in rows if one.document != document}
    scored = []
    for other in sorted(near):
        score, reason = compare(read_traits(connection, kb, other, moment=moment), traits)
        scored.append((-score, other, reason))
    return {other: reason for score, other, reason in sorted(scored)[:1] if -score >= THRESHOLD}


def compare(meeting: Traits, other: Traits) -> tuple[float, str]:
    """Return how surely a chat or notes are about a meeting (0 to 1), and why, in words."""
    same = len(meeting.people & other.people)
    people = same / min(len(meeting.people), len(other.people)) if same >= MANY else 0.0
    told = len(meeting.names & other.words)
    named = min(1.0, told / MANY / 2) if told >= MANY else 0.0
    subject = len(meeting.subject & other.words) / len(meeting.subject) if meeting.subject else 0.0
    # Minutes begin with who was there: most of the invited, named on the day, speak for half of a subject, or for all.
    present = told / len(meeting.names) if told >= 2 * MANY else 0.0
    about = subject >= (HALF if present >= HALF else THRESHOLD)
    parts = []
    if about:
        parts.append("subject")
    if people >= THRESHOLD or present >= PRESENT or (named and parts):
        parts.append("people")
    score = max(subject if about else 0.0, people, present if present >= PRESENT or about else 0.0)
    return min(1.0, score + 0.1 * named), " and ".join([", ".join(parts), "time"]) if parts else ""


def read_traits(connection: Connection, kb: str, document: str, *, moment: int) -> Traits:
    """Return what a document is compared by."""
    sides: Mapping[str, set[bytes]] = {"person": set(), "name": set(), "subject": set(), "word": set()}
    for row in store.marks_of(connection, kb, document, moment=moment):
        if row.side in sides:
            sides[row.side].add(row.mark)
    return Traits(
        people=frozenset(sides["person"]),
        names=frozenset(sides["name"]),
        subject=frozenset(sides["subject"]),
        words=frozenset(sides["word"] | sides["subject"]),
    )


def _near(connection: Connection, kb: str, row: Any, *, kinds: Iterable[str], moment: int) -> list[Any]:
    starts, ends = row.starts, row.ends
    return store.happening(
        connection, kb, starts=starts, ends=ends + AFTER_MILLIS, kinds=kinds, moment=moment, limit=MAX_NEAR
    )
