"""Bytes from a server into a `.partial` file: resumed, never given up while they come, and checked as they arrive."""

import asyncio
import errno
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import aiohttp

from hearth_api.wire.weights import WeightsCode
from hearth_serve.weights.errors import CutError, GivenUpError, WeightsError, shown
from hearth_serve.weights.remote import RemoteFile

_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)$")
_CHUNK = 1 << 20
_HEAD = 512
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_GIVEN_UP = 424
"""Failed Dependency: what the house's mirror answers for a file that does not come to it."""
_NO_WEIGHTS = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient a download is. Seconds."""

    stall: float = 60
    """Without a byte for so long the connection counts as cut; slow bytes are progress."""
    connect: float = 30
    tries: int = 8
    """Tries in a row that bring nothing, until the source counts as cut."""
    first_wait: float = 1
    most_wait: float = 60


@dataclass(slots=True)
class Progress:
    """Of one file, for whoever watches or follows it."""

    done: int = 0
    total: int | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, done: int, total: int | None) -> None:
        """Say how far it is, and wake who waits."""
        self.done, self.total = done, total
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()


@dataclass(slots=True)
class Fetcher:
    """Downloads one file at a time; several may run at once."""

    session: aiohttp.ClientSession
    policy: Policy = Policy()
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random

    async def fetch(
        self, file: RemoteFile, partial: Path, *, progress: Progress, room: Callable[[int], None] = lambda _: None
    ) -> None:
        """Fill `partial` to its end. `room` gets the bytes that are still to come before the first is written, and may
        raise. Raises WeightsError; what has come stays for the next time where it is worth something.
        """
        fruitless = 0
        while True:
            before = _size(partial)
            try:
                await self._attempt(file, partial, progress, room)
                return
            except CutError as error:
                fruitless = 0 if _size(partial) > before else fruitless + 1
                if fruitless >= self.policy.tries:
                    got = f"{shown(_size(partial))} of {shown(progress.total)}" if progress.total else "nothing whole"
                    raise WeightsError(
                        WeightsCode.DOWNLOAD_CUT,
                        f"{file.name}: {error.message} {self.policy.tries} tries in a row brought nothing; {got} came. "
                        "It goes on from there by itself when the server answers.",
                        passing=True,
                    ) from error
                wait = min(self.policy.first_wait * 2.0**fruitless, self.policy.most_wait)
                await self.sleep(max(wait * (0.5 + self.jitter()), error.retry_after or 0))

    async def _attempt(self, file: RemoteFile, partial: Path, progress: Progress, room: Callable[[int], None]) -> None:
        have, validator = _state(partial, known=file.sha256 is not None)
        if file.size is not None and have == file.size:
            progress.set(have, file.size)
            return
        headers = {**file.headers, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        timeout = aiohttp.ClientTimeout(sock_connect=self.policy.connect, sock_read=self.policy.stall)
        try:
            async with self.session.get(file.url, headers=headers, timeout=timeout) as answer:
                start = _start(answer, file, partial, have)
                if start is None:
                    progress.set(have, have)
                    return
                await _write(answer, file, partial, start=start, progress=progress, room=room)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise CutError(_said(error, self.policy)) from error
        except OSError as error:
            raise _disk(error, partial) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _state(partial: Path, *, known: bool) -> tuple[int, str | None]:
    """Return how much is there, and what proves that the server still has the same file. Without either proof or a
    digest to check by in the end, it begins anew.
    """
    have = _size(partial)
    try:
        validator = json.loads(_beside(partial).read_text()).get("validator")
    except (OSError, ValueError, AttributeError):
        validator = None
    if have and not validator and not known:
        return 0, None
    return have, validator


def _beside(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _start(answer: aiohttp.ClientResponse, file: RemoteFile, partial: Path, have: int) -> int | None:
    """Return at which byte the answer's body belongs; None when all of it is there."""
    status = answer.status
    if status == 206:
        found = _RANGE.match(answer.headers.get("Content-Range", ""))
        if found is not None and int(found[1]) == have:
            return have
        partial.unlink(missing_ok=True)
        raise CutError("the server answered with another part than the one it was asked for.")
    if status == 416:
        if answer.headers.get("Content-Range", "") == f"bytes */{have}" and have:
            return None
        partial.unlink(missing_ok=True)
        raise CutError("the file on the server is shorter than what had come of it.")
    if status == 200:
        if answer.content_type in _NO_WEIGHTS:
            raise WeightsError(
                WeightsCode.NOT_A_MODEL,
                f"{file.name}: the server sent a web page, not a model: give the address of the file itself.",
            )
        return 0
    raise refusal(status, file.name, host=answer.url.host or "", retry_after=answer.headers.get("Retry-After"))


def refusal(status: int, name: str, *, host: str, retry_after: str | None = None) -> WeightsError:
    """Return the error for a status that brings no bytes."""
    if status in {401, 403}:
        return WeightsError(
            WeightsCode.GATED,
            f"{name}: {host} answered {status}: it wants an account that may read this. Accept the model's licence on "
            "its page where it has one, and put a token (hf: HF_TOKEN; s3: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY) into the environment of the service that downloads, or into a file of that name in "
            "/var/run/secrets/hearth/weights.",
        )
    if status in {404, 410}:
        return WeightsError(WeightsCode.SOURCE_NOT_FOUND, f"{name}: {host} answered {status}: there is no such file.")
    if status == _GIVEN_UP:
        return GivenUpError(f"{name}: {host} answered {status}: it could not bring it.")
    if status in _BUSY:
        wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
        return CutError(f"{host} answered {status}.", retry_after=min(wait, 600) if wait is not None else None)
    return WeightsError(WeightsCode.SOURCE_NOT_FOUND, f"{name}: {host} answered {status}.")


async def _write(
    answer: aiohttp.ClientResponse,
    file: RemoteFile,
    partial: Path,
    *,
    start: int,
    progress: Progress,
    room: Callable[[int], None],
) -> None:
    length = answer.content_length
    total = start + length if length is not None else file.size
    if file.size is not None and total is not None and total != file.size:
        if start:
            _forget(partial)
        raise WeightsError(
            WeightsCode.DIGEST_MISMATCH,
            f"{file.name}: the server sends {total} bytes, its index says {file.size}.",
            passing=True,
        )
    if total is not None:
        room(total - start)
    _note(partial, answer)
    done = start
    progress.set(done, total)
    with _opened(partial, start) as out:
        async for chunk in _chunks(answer, file.name, start):
            if total is not None and done + len(chunk) > total:
                raise WeightsError(WeightsCode.TOO_LARGE, f"{file.name}: more than the announced {total} bytes came.")
            if total is None:
                room(len(chunk))
            out.write(chunk)
            out.flush()
            done += len(chunk)
            progress.set(done, total)
    if total is not None and done < total:
        raise CutError(f"the connection ended after {done} of {total} bytes.")
    progress.set(done, done)


async def _chunks(answer: aiohttp.ClientResponse, name: str, start: int) -> AsyncIterator[bytes]:
    """Yield the body; a file's first bytes together, however small the parts are in which they come."""
    head = b""
    while start == 0 and len(head) < _HEAD and (more := await answer.content.read(_HEAD)):
        head += more
    if head:
        demand_content(head, name)
        yield head
    async for chunk in answer.content.iter_chunked(_CHUNK):
        yield chunk


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)


def _opened(partial: Path, start: int) -> BinaryIO:
    out = partial.open("r+b" if partial.exists() else "w+b")
    out.truncate(start)
    out.seek(start)
    return out


def _note(partial: Path, answer: aiohttp.ClientResponse) -> None:
    etag = answer.headers.get("ETag", "")
    strong = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
    _beside(partial).write_text(json.dumps({"validator": strong}))


def demand_content(head: bytes, name: str) -> None:
    """Refuse what is plainly no model, by its first bytes. Raises WeightsError NotAModel."""
    begins = head[:_HEAD].lstrip().lower()
    wrong = None
    if begins.startswith((b"<!doctype", b"<html", b"<?xml")):
        wrong = "a web page"
    elif begins.startswith(b"version https://git-lfs"):
        wrong = "a Git LFS pointer"
    elif name.endswith(".gguf") and head[:4] and not b"GGUF".startswith(head[:4]):
        wrong = "no GGUF file"
    elif name.endswith(".safetensors") and len(head) >= 9 and head[8:9] != b"{":
        wrong = "no safetensors file"
    if wrong is not None:
        raise WeightsError(WeightsCode.NOT_A_MODEL, f"{name}: what came is {wrong}: check the source.")


def _said(error: Exception, policy: Policy) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {policy.stall:.0f} s."
    text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return f"the connection failed ({text})."


def _disk(error: OSError, partial: Path) -> WeightsError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return WeightsError(
            WeightsCode.DISK_FULL,
            f"The disk of {partial.parent.parent} is full: free some space, or give it a larger volume. What has come "
            "is kept, and it goes on by itself.",
            passing=True,
        )
    return WeightsError(
        WeightsCode.DISK_FULL, f"{partial.parent.parent} cannot be written: {error.strerror}.", passing=True
    )
