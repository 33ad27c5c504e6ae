"""A file that is read while it still comes: nobody waits for its end to have its beginning."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from hearth_api.wire.weights import WeightsState
from hearth_serve.weights.downloads import Job
from hearth_serve.weights.errors import CutError
from hearth_serve.weights.remote import RemoteFile
from hearth_serve.weights.store import Store

_CHUNK = 1 << 20
_LOOK_SECONDS = 0.5


async def follow(job: Job, store: Store, file: RemoteFile, *, start: int) -> AsyncIterator[bytes]:
    """Yield a file from the byte `start` on, as it comes.

    Its last byte is held back until the whole is verified: what was damaged on the way never ends. Raises CutError
    where it cannot go on now: the source failed, is not wanted any more, or began anew before `start`.
    """
    at = start
    while True:
        kept = job.kept.get(file.name)
        progress = job.files.get(file.name)
        come = kept[1] if kept is not None else max(0, (progress.done if progress is not None else 0) - 1)
        if kept is not None and at == come:
            return
        if at < come:
            path = store.blob(kept[0]) if kept is not None else store.partial(file)
            part = await asyncio.to_thread(_read, path, at, min(_CHUNK, come - at))
            at += len(part)
            if part:
                yield part
                continue
        elif at > come + 1:
            raise CutError("the file began anew.")
        if job.state is WeightsState.FAILED or (job.task is not None and job.task.cancelled()):
            raise CutError(job.message or "it is not brought any more.")
        if progress is None:
            await asyncio.sleep(_LOOK_SECONDS)
        else:  # that a file was verified is not told: it is looked for
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await progress.moved.wait()


def _read(path: Path, at: int, count: int) -> bytes:
    """Return some bytes; none where the file has just moved to its content's place, or went."""
    try:
        with path.open("rb") as opened:
            opened.seek(at)
            return opened.read(count)
    except FileNotFoundError:
        return b""
