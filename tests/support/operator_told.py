"""What may not be found in the Events and revisions of an operator that is killed at any moment.

Pure, like `operator_kills`. The promise: an Event is told before the status that it belongs to is written, once, also
when a kill lies in between. One without its status there may be only where a kill kept that from being written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from support.operator_kills import Put, count_of

Conditions = Mapping[str, tuple[str, str]]
"""Type -> status and reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A resource with its conditions, as a watch showed it. `version` orders everything on one API server."""

    uid: str
    version: int
    conditions: Conditions
    status: str = ""
    """All of it: two writings are told apart by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An Event about a condition. `teller` is the process that posted it."""

    uid: str
    version: int
    type: str
    reason: str
    teller: str


def check_events(written: Iterable[Written], told: Iterable[Told], *, killed: Iterable[str]) -> list[str]:
    """Complain of Events that lack, come twice, come late or too early, or tell of what never was."""
    wrong: list[str] = []
    ended, statuses, events = set(killed), _by_uid(written), _by_uid(told)
    for uid in sorted({*statuses, *events}):
        mine = events.get(uid, [])
        last = {event.teller: event.version for event in mine}
        before: Conditions = {}
        since = 0
        for status in [*_changes(statuses.get(uid, [])), None]:
            until = status.version if status is not None else float("inf")
            here = [e for e in mine if since < e.version < until]
            news = _news(before, status.conditions) if status is not None else Counter[tuple[str, str]]()
            found = Counter((e.type, e.reason) for e in here)
            at = f"{uid} before version {until}"
            wrong += [f"{at}: {n} x no Event of {what}" for what, n in (news - found).items()]
            wrong += [f"{at}: {n} Events of {what}" for what, n in found.items() if n > 1]
            for event in here:
                unwritten = (event.type, event.reason) not in news
                if unwritten and (event.teller not in ended or last[event.teller] > until):
                    wrong.append(f"{at}: {event.type} {event.reason} was told and not written, by one who lived on")
            if status is not None:
                before, since = status.conditions, status.version
    return wrong


def _by_uid(entries: Iterable[Any]) -> dict[str, list[Any]]:
    ordered = sorted(entries, key=lambda entry: (entry.uid, entry.version))
    return {uid: list(group) for uid, group in groupby(ordered, key=lambda entry: entry.uid)}


def _changes(statuses: Iterable[Written]) -> Iterator[Written]:
    """Leave out versions that somebody else wrote: nothing of the status changed."""
    before: tuple[Conditions, str] = ({}, "")
    for status in statuses:
        if (status.conditions, status.status) != before:
            before = (status.conditions, status.status)
            yield status


def _news(before: Conditions, after: Conditions) -> Counter[tuple[str, str]]:
    """Return type and reason of what changed; a first Unknown is no news."""
    return Counter(
        (type_, now[1])
        for type_, now in after.items()
        if before.get(type_) != now and not (type_ not in before and now[0] == "Unknown")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A bad revision of a model, by its counter, and what served when it was asked for."""

    app: str
    count: int
    before: int
    good: dict[str, Any]
    """Arguments of the application."""


def check_rollbacks(puts: Iterable[Put], bad: Iterable[Bad]) -> list[str]:
    """Complain of a bad revision that was put again after it was taken back, or of another one put in its place."""
    wrong: list[str] = []
    known = {(b.app, b.count): b for b in bad}
    taken: set[tuple[str, str, int]] = set()
    last: dict[tuple[str, str], int] = {}
    for number, put in enumerate(puts):
        for application in put.document["applications"]:
            name, count = application["name"], count_of(application)
            place = (put.machine, name)
            before = last.get(place, count)
            fallen = known.get((name, before))
            if count < before and fallen is not None:
                taken.add((*place, before))
                if application["args"] != fallen.good:
                    wrong.append(f"PUT {number} puts another {name} back than the one that served before {before}")
            if (*place, count) in taken and (name, count) in known:
                wrong.append(f"PUT {number} tries {name} of {count} again, which was taken back")
            last[place] = count
    return wrong


def rolled_back(puts: Iterable[Put], bad: Iterable[Bad]) -> int:
    """Return how many bad revisions were put and taken back."""
    known = {(b.app, b.count) for b in bad}
    last: dict[tuple[str, str], int] = {}
    found = set()
    for put in puts:
        for application in put.document["applications"]:
            place, count = (put.machine, application["name"]), count_of(application)
            if count < last.get(place, count):
                found.add((application["name"], last[place]))
            last[place] = count
    return len(found & known)
