"""A knowledge service in memory, for unit tests of a run, which can die at any call."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from hearth_api.wire.documents import BatchLine, BatchResult, ManifestLine, Tombstone
from hearth_ingest.errors import KnowledgeError


class Killed(Exception):
    """The run was ended from outside, as by kill -9."""


@dataclass
class FakeKnowledge:
    """Keeps what a run hands over. `die_at` counts calls that write; `before` dies with the call not done."""

    documents: dict[str, dict[str, object]] = field(default_factory=dict)
    manifest: dict[str, ManifestLine] = field(default_factory=dict)
    originals: dict[str, bytes] = field(default_factory=dict)
    cursor: str | None = None
    die_at: int | None = None
    before: bool = False
    writes: int = 0
    refuse: frozenset[str] = frozenset()
    puts: list[str] = field(default_factory=list)

    async def fetch_manifest(self) -> list[ManifestLine]:
        return list(self.manifest.values())

    async def fetch_cursor(self) -> str | None:
        return self.cursor

    async def swap_cursor(self, value: str, *, previous: str | None) -> None:
        self._write(before=True)
        if self.cursor != previous:
            raise KnowledgeError("another run of this source is at work", status=409)
        self.cursor = value
        self._write(before=False)

    async def put_batch(self, lines: Sequence[bytes]) -> list[BatchResult]:
        self._write(before=True)
        for line in lines:
            if any(word.encode() in line for word in self.refuse):
                raise KnowledgeError("a line is refused", status=422)
        results = [self._take(line) for line in lines]
        self._write(before=False)
        return results

    async def put_original(self, document: str, data: bytes, *, media_type: str, name: str) -> None:
        self._write(before=True)
        self.originals[document] = data
        self.puts.append(document)
        self._write(before=False)

    def state(self) -> tuple[dict[str, object], dict[str, bytes]]:
        """Return what two runs are compared by: documents and originals, not when they came."""
        documents = {key: json.dumps(value, sort_keys=True) for key, value in self.documents.items()}
        return dict(sorted(documents.items())), dict(sorted(self.originals.items()))

    def _take(self, line: bytes) -> BatchResult:
        value = BatchLine.validate_json(line)
        known = self.manifest.get(value.id)
        if isinstance(value, Tombstone):
            self.documents.pop(value.id, None)
            self.manifest.pop(value.id, None)
            self.originals.pop(value.id, None)
            return BatchResult(id=value.id, changed=True, state="deleted")
        self.documents[value.id] = json.loads(line)
        self.manifest[value.id] = ManifestLine(
            id=value.id,
            key=value.origin.key,
            fingerprint=value.origin.fingerprint,
            pipeline=value.pipeline,
            content_hash=value.content_hash,
        )
        if known is None:
            return BatchResult(id=value.id, changed=True, state="added")
        changed = known.content_hash != value.content_hash
        return BatchResult(id=value.id, changed=changed, state="updated" if changed else "unchanged")

    def _write(self, *, before: bool) -> None:
        if before:
            self.writes += 1
        if self.die_at == self.writes and before == self.before:
            raise Killed
