"""One run: observe, plan, parse, hand over, report.

What makes a crash harmless: ids are the same in every run; an item's own document is written after everything that
hangs on it; and the cursor names, before each batch, the items whose originals may be missing if we die in it. A name
stays there until its item was handed over whole, however many runs that takes.
"""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

import structlog

from hearth_api.wire.documents import BatchResult, ManifestLine, NormalDocument, Tombstone
from hearth_api.wire.ingest import RunCounts, RunReport
from hearth_ingest.errors import ItemError, KnowledgeError, RefusedError
from hearth_ingest.findings.apply import count_findings
from hearth_ingest.item import Item, Listing, Parsed, Source
from hearth_ingest.plan import Action, Plan, Verb, build_plan
from hearth_ingest.untrusted.apply import count_withheld

_log = structlog.get_logger(__name__)
_SPLIT_STATUS = frozenset({400, 413, 422})
_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """When a batch is full: items, documents, bytes of documents and originals together."""

    lines: int = 64
    line_bytes: int = 4 << 20
    held_bytes: int = 32 << 20


class Knowledge(Protocol):
    """What a run writes to; `KnowledgeClient` is one."""

    async def fetch_manifest(self) -> list[ManifestLine]:
        """Return what is stored."""
        ...

    async def fetch_cursor(self) -> str | None:
        """Return the cursor."""
        ...

    async def swap_cursor(self, value: str, *, previous: str | None) -> None:
        """Move the cursor if it is still `previous`."""
        ...

    async def put_batch(self, lines: Sequence[bytes]) -> list[BatchResult]:
        """Hand over lines."""
        ...

    async def put_original(self, document: str, data: bytes, *, media_type: str, name: str) -> None:
        """Store original bytes."""
        ...


@dataclass(slots=True)
class Tally:
    """Counts while a run goes on."""

    counts: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    errors: list[str] = field(default_factory=list)
    privacy: Counter[str] = field(default_factory=Counter)
    withheld: Counter[str] = field(default_factory=Counter)

    def look(self, document: NormalDocument) -> None:
        """Count findings and what is withheld in a document that this run added or changed."""
        self.privacy.update(count_findings(document))
        self.withheld.update(count_withheld(document))

    def add(self, state: str, number: int = 1) -> None:
        """Count documents by what happened to them."""
        self.counts[state] = self.counts.get(state, 0) + number

    def fail(self, what: str, *, quarantined: bool, problem: str) -> None:
        """Record one item that did not get through."""
        self.add("quarantined" if quarantined else "failed")
        self.errors.append(f"{what}: {problem}"[:300])

    def report(self, *, started: datetime, finished: datetime, fatal: str | None = None) -> RunReport:
        """Return the report. `fatal` is the sentence that ended the run."""
        outcome: Literal["Succeeded", "PartiallyFailed", "Failed"] = "Succeeded"
        if self.errors:
            outcome = "PartiallyFailed"
        if fatal is not None:
            outcome = "Failed"
        errors = ([fatal] if fatal else []) + self.errors
        return RunReport(
            started=started,
            finished=finished,
            outcome=outcome,
            counts=RunCounts(**self.counts),
            bytes=self.bytes,
            privacy=dict(sorted(self.privacy.items())),
            withheld=dict(sorted(self.withheld.items())),
            first_error=errors[0] if errors else None,
            errors=tuple(errors[:50]),
        )


@dataclass(frozen=True, slots=True)
class _Line:
    body: bytes
    what: str
    parsed: Parsed | None
    other_bytes: bool = False
    """True when what is stored was made from other bytes: they may say the same."""


@dataclass(slots=True)
class _Batch:
    keys: list[str] = field(default_factory=list)
    lines: list[_Line] = field(default_factory=list)
    resumed: set[str] = field(default_factory=set)
    held: int = 0


def read_pending(cursor: str | None) -> tuple[str, ...]:
    """Return the keys that a cursor names as begun. A cursor of an unknown form names none."""
    try:
        value = json.loads(cursor or "{}")
    except ValueError:
        return ()
    pending = value.get("pending", []) if isinstance(value, dict) else []
    return tuple(str(key) for key in pending) if isinstance(pending, list) else ()


def make_plan(
    source: Source, listing: Listing, manifest: Iterable[ManifestLine], *, pipeline: str, cursor: str | None
) -> Plan:
    """Return the plan for a listing."""
    pending = read_pending(cursor)
    return build_plan(listing, manifest, pipeline=pipeline, owner=source.owner, pending=pending)


class Runner:
    """Carries out one plan."""

    def __init__(
        self,
        source: Source,
        knowledge: Knowledge,
        *,
        tally: Tally,
        keep_originals: bool,
        limits: BatchLimits | None = None,
        run_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._source = source
        self._knowledge = knowledge
        self._tally = tally
        self._keep = keep_originals
        self._limits = limits or BatchLimits()
        self._run = run_id()
        self._cursor: str | None = None
        self._unfinished: dict[str, None] = {}

    async def carry_out(self, plan: Plan, *, cursor: str | None) -> None:
        """Bring the knowledge base to what the plan says. Raises KnowledgeError when that cannot go on."""
        self._cursor = cursor
        self._unfinished = dict.fromkeys(read_pending(cursor))
        batch = _Batch()
        for action in plan.actions:
            if action.verb is Verb.UNCHANGED:
                self._tally.add("unchanged", len(action.held))
                continue
            lines = self._lines_of(action)
            if not lines:
                continue
            size = sum(len(line.body) + (len(line.parsed.original) if line.parsed else 0) for line in lines)
            full = len(batch.lines) + len(lines) > self._limits.lines or batch.held + size > self._limits.held_bytes
            if batch.lines and full:
                await self._hand_over(batch)
                batch = _Batch()
            batch.keys.append(action.key)
            batch.lines.extend(lines)
            batch.held += size
            if action.resume:
                batch.resumed.add(action.key)
        if batch.lines:
            await self._hand_over(batch)
        # What could not be read or seen this time is still half done if it was before.
        held = {action.key for action in plan.actions if action.held}
        left = [key for key in self._unfinished if key in held]
        await self._move_cursor({"run": self._run, "done": True, **({"pending": left} if left else {})})

    def _lines_of(self, action: Action) -> list[_Line]:
        """Return an action's lines: tombstones, then what hangs on the item, then the item's own document."""
        if action.item is None:
            return [_tombstone(line, "gone-at-source") for line in action.held]
        parsed = self._parse(action.item)
        if parsed is None:
            return []
        produced = {one.document.id for one in parsed}
        gone = [line for line in action.held if line.id not in produced]
        prints = {line.id: line.fingerprint for line in action.held}
        return [_tombstone(line, "gone-from-mail") for line in gone] + [
            _Line(
                one.document.model_dump_json(by_alias=True, exclude_none=True).encode(),
                action.key,
                one,
                other_bytes=prints.get(one.document.id) != one.document.origin.fingerprint,
            )
            for one in parsed
        ]

    def _parse(self, item: Item) -> list[Parsed] | None:
        try:
            parsed = self._source.parse(item)
        except ItemError as error:
            self._tally.fail(item.key, quarantined=isinstance(error, RefusedError), problem=str(error))
            return None
        for refusal in (refusal for one in parsed for refusal in one.refusals):
            problem = f"{refusal.code}: {refusal.detail}"
            self._tally.fail(refusal.uri, quarantined=refusal.quarantined, problem=problem)
        self._tally.bytes += item.size
        return parsed

    async def _hand_over(self, batch: _Batch) -> None:
        pending = list(dict.fromkeys((*batch.keys, *self._unfinished)))
        await self._move_cursor({"run": self._run, "pending": pending})
        for lines in self._cut(batch.lines):
            await self._take_results(await self._put(lines), resumed=batch.resumed)
        for key in batch.keys:
            self._unfinished.pop(key, None)
        _log.info("batch_done", items=len(batch.keys), lines=len(batch.lines))

    def _cut(self, lines: list[_Line]) -> Iterator[list[_Line]]:
        """Yield the lines in order in pieces of at most `line_bytes` (a single longer line goes alone)."""
        piece: list[_Line] = []
        size = 0
        for line in lines:
            if piece and (size + len(line.body) > self._limits.line_bytes or len(piece) >= self._limits.lines):
                yield piece
                piece, size = [], 0
            piece.append(line)
            size += len(line.body)
        if piece:
            yield piece

    async def _put(self, lines: list[_Line]) -> list[tuple[_Line, BatchResult]]:
        """Hand over lines; a batch that is refused as a whole is halved until the line at fault stands alone."""
        try:
            results = await self._knowledge.put_batch([line.body for line in lines])
        except KnowledgeError as error:
            if error.status not in _SPLIT_STATUS:
                raise
            if len(lines) == 1:
                self._tally.fail(lines[0].what, quarantined=False, problem=error.sentence)
                return []
            half = len(lines) // 2
            return await self._put(lines[:half]) + await self._put(lines[half:])
        return list(zip(lines, results, strict=True))

    async def _take_results(self, results: list[tuple[_Line, BatchResult]], *, resumed: Collection[str]) -> None:
        """Count what happened to each line and store the originals of what changed, a few at a time."""
        wanted: list[_Line] = []
        for line, result in results:
            if result.state == "refused":
                problem = result.error or "refused by the knowledge service"
                self._tally.fail(line.what, quarantined=False, problem=problem)
                continue
            self._tally.add(result.state)
            if line.parsed is not None and result.changed:
                self._tally.look(line.parsed.document)
            if line.parsed is not None and self._keep and (result.changed or line.other_bytes or line.what in resumed):
                wanted.append(line)
        for start in range(0, len(wanted), _AT_ONCE):
            puts = [self._put_original(line) for line in wanted[start : start + _AT_ONCE]]
            problems = [problem for problem in await asyncio.gather(*puts, return_exceptions=True) if problem]
            if problems:
                raise problems[0]

    async def _put_original(self, line: _Line) -> None:
        parsed = line.parsed
        if parsed is None:
            return
        try:
            await self._knowledge.put_original(
                parsed.document.id, parsed.original, media_type=parsed.media_type, name=parsed.document.title or "mail"
            )
        except KnowledgeError as error:
            if error.status not in _SPLIT_STATUS:
                raise
            self._tally.fail(line.what, quarantined=False, problem=error.sentence)

    async def _move_cursor(self, value: dict[str, object]) -> None:
        text = json.dumps(value)
        await self._knowledge.swap_cursor(text, previous=self._cursor)
        self._cursor = text


def _tombstone(line: ManifestLine, reason: str) -> _Line:
    stone = Tombstone(id=line.id, deleted=True, reason=reason)
    return _Line(stone.model_dump_json(by_alias=True).encode(), line.key, None)
