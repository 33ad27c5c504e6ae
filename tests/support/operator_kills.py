"""What may not be found in the history of an operator that is killed at any moment: lost, doubled or disordered acts.

Pure: what was seen goes in, sentences about what is wrong come out.
`tests/unit/operator/test_operator_kills.py` shows it bad histories.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A document that one life of the operator put to a machine's Ray."""

    machine: str
    life: int
    document: Object


@dataclass(slots=True, kw_only=True)
class History:
    """What was seen, in the order in which it was seen."""

    puts: list[Put] = field(default_factory=list)
    observed: list[tuple[str, int]] = field(default_factory=list)
    """UID of a resource, its status.observedGeneration."""
    jobs: dict[str, set[str]] = field(default_factory=dict)
    """Source -> UIDs of all Jobs that it ever had."""
    written: list[Any] = field(default_factory=list)
    """`Written`: every version of every resource."""
    told: list[Any] = field(default_factory=list)
    """`Told`: every Event."""


def count_of(application: Object) -> int:
    """Return the driver's counter, which it writes into spec.sampling.maxTokens; 0 of a model that embeds."""
    return int(application["deployments"][0]["user_config"].get("maxTokens") or 0)


def check_puts(puts: Iterable[Put], *, bad: Mapping[tuple[str, int], int] | None = None) -> list[str]:
    """Complain of a document put twice in a row in one life, and of a model's spec that goes back on a machine.

    `bad`: a bad revision, by application and counter -> the only counter that may follow it there although it is less.
    """
    back = bad or {}
    wrong: list[str] = []
    last: dict[str, tuple[int, str]] = {}
    counts: dict[tuple[str, str], int] = {}
    for number, put in enumerate(puts):
        text = json.dumps(put.document, sort_keys=True)
        if last.get(put.machine) == (put.life, text):
            wrong.append(f"PUT {number} to {put.machine} repeats the one before it in life {put.life}")
        last[put.machine] = (put.life, text)
        for application in put.document["applications"]:
            key = (put.machine, application["name"])
            count = count_of(application)
            newest = counts.get(key, count)
            if count < newest and back.get((key[1], newest)) != count:
                wrong.append(f"PUT {number} takes {key[1]} on {put.machine} back from {counts[key]} to {count}")
            counts[key] = max(count, counts.get(key, count))
    return wrong


def check_restarts(puts: Iterable[Put], asked: Mapping[str, int]) -> list[str]:
    """Complain of models whose replicas were not restarted exactly as often as `asked`, or by an old mark again."""
    marks: dict[str, list[str]] = {}
    for put in puts:
        for application in put.document["applications"]:
            seen = marks.setdefault(application["name"].partition(".")[0], [])
            mark = application["args"].get("restart")
            if mark is not None and seen[-1:] != [mark]:
                seen.append(mark)
    wrong = []
    for model in sorted({*asked, *marks}):
        found = marks.get(model, [])
        if len(found) != asked.get(model, 0) or len(set(found)) != len(found):
            wrong.append(
                f"{model} was restarted {len(found)} times ({len(set(found))} marks), not {asked.get(model, 0)}"
            )
    return wrong


def check_observed(observed: Iterable[tuple[str, int]]) -> list[str]:
    """Complain of a status that has observed an older generation after a newer one."""
    newest: dict[str, int] = {}
    wrong = []
    for uid, generation in observed:
        if generation < newest.get(uid, generation):
            wrong.append(f"{uid} observed generation {generation} after {newest[uid]}")
        newest[uid] = max(generation, newest.get(uid, generation))
    return wrong


def check_jobs(jobs: Mapping[str, set[str]], asked: Mapping[str, int]) -> list[str]:
    """Complain of sources that had not exactly one Job per request."""
    return [
        f"{source} had {len(jobs.get(source, ()))} Jobs for {asked.get(source, 0)} requests"
        for source in sorted({*jobs, *asked})
        if len(jobs.get(source, ())) != asked.get(source, 0)
    ]


def check_end(wanted: Mapping[str, Mapping[str, tuple[int, int]]], found: Mapping[str, Iterable[Object]]) -> list[str]:
    """Complain where a machine's applications, as (counter, context tokens) by name, are not the wanted ones."""
    wrong = []
    for machine in sorted({*wanted, *found}):
        has = {a["name"]: (count_of(a), a["args"]["contextTokens"]) for a in found.get(machine, ())}
        if has != (want := dict(wanted.get(machine, {}))):
            wrong.append(f"{machine} has {has}, not {want}")
    return wrong
