"""The wanted sources, brought to the store in the background: started, watched, tried again and called off."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hearth_api.wire.weights import SourceStatus, WantedWeights, WeightsCode, WeightsState
from hearth_serve.logs import log
from hearth_serve.weights.errors import GivenUpError, WeightsError
from hearth_serve.weights.fetch.http import Fetcher, Progress
from hearth_serve.weights.remote import Listing, RemoteFile, source_key
from hearth_serve.weights.resolve import Resolver
from hearth_serve.weights.store import Store, exclusive

_AT_ONCE = 2
_RATE_SECONDS = 10.0
_LOCK_SECONDS = 1.0
_FIRST_AGAIN, _MOST_AGAIN = 15.0, 900.0
"""Seconds until a source that failed is tried again: what a person repairs is seen without a restart."""
Key = tuple[str, str | None]


@dataclass(slots=True)
class Job:
    """One source on its way."""

    wanted: WantedWeights
    state: WeightsState = WeightsState.WAITING
    files: dict[str, Progress] = field(default_factory=dict)
    growing: frozenset[str] = frozenset()
    """Names of its half files in the store."""
    listing: Listing | None = None
    """Its files, as soon as they are known."""
    kept: dict[str, tuple[str, int]] = field(default_factory=dict)
    """SHA-256 and bytes of each file that is whole and verified, by name."""
    total: int | None = None
    resolved: str | None = None
    code: WeightsCode | None = None
    message: str | None = None
    failures: int = 0
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """Name of the source in the store."""
        return source_key(self.wanted.source)

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return sum(progress.done for progress in self.files.values())

    def tell(self, now: float) -> SourceStatus:
        """Return what it is doing."""
        self.samples.append((now, self.done))
        while len(self.samples) > 2 and now - self.samples[0][0] > _RATE_SECONDS:
            self.samples.popleft()
        (since, then), span = self.samples[0], now - self.samples[0][0]
        moving = self.state is WeightsState.DOWNLOADING and span > 0
        return SourceStatus(
            source=self.wanted.source,
            sha256=self.wanted.sha256,
            resolved=self.resolved,
            state=self.state,
            done=self.done,
            total=self.total,
            rate=max(0.0, (self.done - then) / (now - since)) if moving else 0.0,
            code=self.code,
            message=self.message,
        )


@dataclass(slots=True)
class Downloads:
    """All sources of one machine."""

    store: Store
    resolver: Resolver
    fetcher: Fetcher
    offline: bool = False
    clock: Callable[[], float] = lambda: asyncio.get_running_loop().time()
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    jitter: Callable[[], float] = random.random
    jobs: dict[Key, Job] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def want(self, wanted: Iterable[WantedWeights]) -> None:
        """Bring these, and call off all others. What is there already costs nothing."""
        asked = {(w.source, w.sha256): w for w in wanted}
        for key in [key for key in self.jobs if key not in asked]:
            await _end(self.jobs.pop(key))
        for key, one in asked.items():
            if key not in self.jobs:
                job = self.jobs[key] = Job(wanted=one)
                job.task = asyncio.create_task(self._run(job))

    async def close(self) -> None:
        """Stop; what has come stays."""
        await asyncio.gather(*(_end(job) for job in self.jobs.values()))
        self.jobs.clear()

    def status(self) -> tuple[SourceStatus, ...]:
        """Return all wanted sources, in the order of their names."""
        now = self.clock()
        return tuple(job.tell(now) for _, job in sorted(self.jobs.items(), key=lambda item: str(item[0])))

    def job(self, wanted: WantedWeights) -> Job | None:
        """Return a source on its way or there; None: nobody wants it."""
        return self.jobs.get((wanted.source, wanted.sha256))

    def wanted_keys(self) -> frozenset[str]:
        """Return what must not be evicted."""
        return frozenset(job.key for job in self.jobs.values())

    async def _run(self, job: Job) -> None:
        """Until it is there: it never ends with an error, only with a sentence and a later try."""
        while True:
            try:
                await self._once(job)
                return
            except WeightsError as error:
                self._failed(job, error.code, error.message)
            except OSError as error:
                self._failed(job, WeightsCode.DISK_FULL, f"The store {self.store.root}: {error.strerror or error}.")
            again = min(_FIRST_AGAIN * 2.0 ** max(0, job.failures - 1), _MOST_AGAIN)
            await self.sleep(again * (0.75 + self.jitter() / 2))

    def _failed(self, job: Job, code: WeightsCode, message: str) -> None:
        job.failures += 1
        changed = job.message != message
        job.state, job.code, job.message = WeightsState.FAILED, code, message
        if changed:
            log.warning("weights_failed", source=job.wanted.source, code=code.value, error=message)

    async def _once(self, job: Job) -> None:
        await asyncio.to_thread(self.store.prepare)
        if await self._there(job):
            return
        if self.offline:
            raise WeightsError(
                WeightsCode.OFFLINE,
                f"{job.wanted.source} is not in the store {self.store.root}, and this machine is set to be offline "
                "(HEARTH_OFFLINE): bring it there while online, or take a file:// source.",
            )
        async with self._slots:
            # A failure is told until bytes come again: a state that flickers helps nobody.
            try:
                await self._download(job, await self.resolver.resolve(job.wanted, now=self.now()))
            except GivenUpError:  # while it was read there: asked once more, the mirror has the reason
                await self._download(job, await self.resolver.resolve(job.wanted, now=self.now()))
        job.state, job.code, job.message = WeightsState.READY, None, None
        log.info("weights_ready", source=job.wanted.source, resolved=job.resolved, bytes=job.done)

    async def _there(self, job: Job) -> bool:
        entry = await asyncio.to_thread(self.store.entry, job.key)
        declared = (job.wanted.sha256 or "").removeprefix("sha256:").lower()
        if entry is None or (declared and len(entry.files) == 1 and entry.files[0][1] != declared):
            return False
        await asyncio.to_thread(self.store.touch, entry.key)
        job.files = {name: Progress(done=size, total=size) for name, _, size in entry.files}
        job.kept = {name: (digest, size) for name, digest, size in entry.files}
        files = (RemoteFile(name=name, url="", size=size, sha256=digest) for name, digest, size in entry.files)
        job.listing = Listing(files=tuple(files), resolved=entry.resolved)
        job.state, job.total, job.resolved = WeightsState.READY, entry.size, entry.resolved
        job.code = job.message = None
        return True

    async def _download(self, job: Job, listing: Listing) -> None:
        job.resolved, job.listing, job.kept = listing.resolved, listing, {}
        job.files = {file.name: self._begun(file) for file in listing.files}
        job.growing = frozenset(self.store.partial(file).name for file in listing.files)
        sizes = [file.size for file in listing.files]
        job.total = sum(size for size in sizes if size is not None) if None not in sizes else None
        if job.total is not None:
            self._make_room(job, job.total - job.done)
        digests: set[str] = set()
        try:
            kept = []
            for file in listing.files:
                one = await self._file(job, file)
                digests.add(one[1])
                job.kept[file.name] = one[1:]
                kept.append(one)
            await asyncio.to_thread(self.store.publish, job.wanted.source, listing, tuple(kept))
        finally:
            self.store.busy -= digests
        job.total = job.done

    def _begun(self, file: RemoteFile) -> Progress:
        for path in (self.store.blob(file.sha256) if file.sha256 else None, self.store.partial(file)):
            if path is not None and path.exists():
                return Progress(done=path.stat().st_size, total=file.size)
        return Progress(total=file.size)

    def _make_room(self, job: Job, size: int) -> None:
        growing = frozenset().union(*(other.growing for other in self.jobs.values()), job.growing)
        self.store.make_room(max(0, size), wanted=self.wanted_keys(), what=job.wanted.source, growing=growing)

    async def _file(self, job: Job, file: RemoteFile) -> tuple[str, str, int]:
        """Bring one file. What came damaged is asked for once more from its start."""
        if file.sha256 is not None and (path := self.store.blob(file.sha256)).exists():
            self.store.busy.add(file.sha256)
            job.files[file.name].set(path.stat().st_size, path.stat().st_size)
            return (file.name, file.sha256, path.stat().st_size)
        partial = self.store.partial(file)
        async with self._alone(partial.with_name(f"{partial.name}.lock")):
            for last in (False, True):
                await self.fetcher.fetch(
                    file, partial, progress=_Shown(job, job.files[file.name]), room=lambda n: self._make_room(job, n)
                )
                try:
                    return await asyncio.to_thread(self.store.keep, file, partial)
                except WeightsError:
                    if last:
                        raise
        raise AssertionError  # the loop returns or raises

    @contextlib.asynccontextmanager
    async def _alone(self, path: Path) -> AsyncIterator[None]:
        """Wait until no other process writes the same file."""
        while True:
            with exclusive(path) as alone:
                if alone:
                    yield
                    return
            await self.sleep(_LOCK_SECONDS)


class _Shown(Progress):
    """Progress of a file that turns its source's state when bytes come."""

    def __init__(self, job: Job, inner: Progress) -> None:
        super().__init__(done=inner.done, total=inner.total)
        self._job, self._inner = job, inner

    def set(self, done: int, total: int | None) -> None:
        """Pass it on."""
        grew = done > self.done
        self.done, self.total = done, total
        self._inner.set(done, total)
        if self._job.total is None and len(self._job.files) == 1:
            self._job.total = total
        if grew or self._job.state is WeightsState.WAITING:
            self._job.state, self._job.code, self._job.message = WeightsState.DOWNLOADING, None, None
            if grew:
                self._job.failures = 0


async def _end(job: Job) -> None:
    if job.task is not None:
        job.task.cancel()
        await asyncio.gather(job.task, return_exceptions=True)
