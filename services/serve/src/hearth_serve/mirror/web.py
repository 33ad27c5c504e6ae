"""What the mirror answers machines: what a source consists of, and the bytes of its files. Nothing without a token."""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from hearth_api.wire.mirror import MirrorFile, MirrorSource, reader_mark
from hearth_api.wire.weights import WantedWeights, WeightsState
from hearth_serve.logs import log
from hearth_serve.mirror.follow import follow
from hearth_serve.mirror.orders import Orders
from hearth_serve.weights.downloads import Downloads, Job
from hearth_serve.weights.errors import CutError
from hearth_serve.weights.remote import RemoteFile

_RANGE = re.compile(r"^bytes=(\d{1,18})-$")
_RETRY = {"Retry-After": "5"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """The routes over the downloads. `sent` is told how many bytes went out."""

    downloads: Downloads
    orders: Orders
    sent: Callable[[int], None]

    def build(self) -> web.Application:
        """Return the application."""
        app = web.Application(client_max_size=1024)
        app.router.add_get("/v1/source", self._source)
        app.router.add_get("/v1/file", self._file)
        return app

    async def _source(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request)
        return web.json_response(describe(job).to_json_object())

    async def _file(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request)
        name = request.query.get("name", "")
        file = next((f for f in job.listing.files if f.name == name), None) if job.listing is not None else None
        if file is None:
            raise _problem(web.HTTPServiceUnavailable, "This file is not listed yet.", headers=_RETRY)
        if job.state is WeightsState.FAILED:
            raise _problem(web.HTTPFailedDependency, job.message or "It does not come.")
        size = size_of(job, file)
        tag = f'"{file.sha256 or file.git_sha1}"'
        start = _start(request, tag) if size is not None else 0  # a part of what has no known end has no name
        if size is not None and start >= size > 0:
            raise _problem(
                web.HTTPRequestRangeNotSatisfiable, "The file is shorter.", headers={"Content-Range": f"bytes */{size}"}
            )
        answer = web.StreamResponse(status=206 if start else 200, headers={"ETag": tag})
        answer.content_type = "application/octet-stream"
        if size is not None:
            answer.content_length = size - start
            if start:
                answer.headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        await answer.prepare(request)
        try:
            async for part in follow(job, self.downloads.store, file, start=start):
                await answer.write(part)
                self.sent(len(part))
        except CutError as error:
            log.info("mirror_file_cut", source=job.wanted.source, file=name, error=error.message)
            if request.transport is not None:
                request.transport.close()  # whoever reads asks for the rest
            return answer
        await answer.write_eof()
        return answer

    def _job(self, request: web.Request) -> Job:
        """Return the source that a machine asks for. Raises 401 for a stranger, 404 for what nobody ordered."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        mark = reader_mark(token.strip())
        known = [hmac.compare_digest(mark, reader) for reader in self.orders.current.readers]
        if scheme.lower() != "bearer" or not any(known):
            log.warning("mirror_refused", peer=request.remote)
            raise _problem(web.HTTPUnauthorized, "The mirror answers machines of this cluster.")
        wanted = WantedWeights(source=request.query.get("source", ""), sha256=request.query.get("sha256"))
        job = self.downloads.job(wanted) if wanted in self.orders.current.wanted else None
        if job is None:
            raise _problem(web.HTTPNotFound, "No model of the cluster wants this.")
        return job


def size_of(job: Job, file: RemoteFile) -> int | None:
    """Return a file's bytes, from wherever they are known."""
    if file.name in job.kept:
        return job.kept[file.name][1]
    progress = job.files.get(file.name)
    return file.size if file.size is not None or progress is None else progress.total


def describe(job: Job) -> MirrorSource:
    """Return what a source consists of. While its one file's length may still come, it is not listed."""
    files = job.listing.files if job.listing is not None else ()
    if job.state is WeightsState.WAITING and any(size_of(job, file) is None for file in files):
        files = ()
    return MirrorSource(
        state=job.state,
        resolved=job.resolved,
        files=tuple(
            MirrorFile(
                name=file.name,
                size=size_of(job, file),
                sha256=job.kept[file.name][0] if file.name in job.kept else file.sha256,
                git_sha1=file.git_sha1,
            )
            for file in files
        ),
        code=job.code,
        message=job.message,
    )


def _start(request: web.Request, tag: str) -> int:
    """Return from which byte on it is asked for."""
    found = _RANGE.match(request.headers.get("Range", ""))
    return int(found[1]) if found is not None and request.headers.get("If-Range", tag) == tag else 0


def _problem(kind: Any, message: str, *, headers: dict[str, str] | None = None) -> web.HTTPException:
    made: web.HTTPException = kind(text=message + "\n", headers=headers)
    return made
