"""`hf://`: one question to the hub's API gives commit, files, sizes and digests; the bytes come through `http`."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from hearth_api.wire.weights import WeightsCode
from hearth_serve.weights.errors import CutError, WeightsError
from hearth_serve.weights.fetch.http import refusal
from hearth_serve.weights.remote import COMMIT, SHA256, Listing, Remote, RemoteFile, choose_files, is_safe_name

ENDPOINT = "https://huggingface.co"
_SECONDS = aiohttp.ClientTimeout(total=60)
_MAX_INDEX = 32 * 2**20


async def list_hub(remote: Remote, *, session: aiohttp.ClientSession, env: Mapping[str, str]) -> Listing:
    """Return the files of a repository at one commit. Raises WeightsError."""
    endpoint = env.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if (token := env.get("HF_TOKEN", "").strip()) else {}
    revision = quote(remote.revision or "main", safe="")
    index = await _ask(session, f"{endpoint}/api/models/{remote.host}/revision/{revision}?blobs=true", headers, remote)
    commit = index.get("sha")
    siblings = index.get("siblings")
    if not isinstance(commit, str) or not COMMIT.match(commit) or not isinstance(siblings, list):
        raise WeightsError(WeightsCode.SOURCE_INVALID, f"{endpoint} does not speak the hub's API.")
    if remote.revision is not None and COMMIT.match(remote.revision) and commit != remote.revision:
        raise WeightsError(
            WeightsCode.DIGEST_MISMATCH, f"{remote.source}: the hub answered with commit {commit} instead."
        )
    entries = {e["rfilename"]: e for e in siblings if isinstance(e, dict) and is_safe_name(e.get("rfilename"))}
    chosen = choose_files(list(entries), remote.path)
    if not chosen:
        shown = ", ".join(sorted(entries)[:6]) or "nothing"
        raise WeightsError(
            WeightsCode.SOURCE_NOT_FOUND,
            f"{remote.host} has no file {remote.path or 'of a model'!r} at {commit[:12]}; it has {shown}.",
        )
    base = f"{endpoint}/{remote.host}/resolve/{commit}"
    files = [_file(entries[n], f"{base}/{quote(n)}", name, headers) for n, name in sorted(chosen.items())]
    return Listing(files=tuple(files), resolved=commit)


async def _ask(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], remote: Remote) -> dict[str, Any]:
    try:
        async with session.get(url, headers=headers, timeout=_SECONDS) as answer:
            if answer.status != 200:
                why = answer.headers.get("X-Error-Code", "")
                status = 403 if why == "GatedRepo" else answer.status
                if why in {"RevisionNotFound", "RepoNotFound"} and headers:
                    status = 404
                raise refusal(status, _named(remote), host=answer.url.host or "hub")
            body = await answer.content.read(_MAX_INDEX)
            while len(body) < _MAX_INDEX and (more := await answer.content.read(_MAX_INDEX)):
                body += more
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CutError(f"the hub does not answer ({type(error).__name__}: {str(error)[:200]}).") from error
    try:
        index = json.loads(body)
    except ValueError as error:
        raise CutError("the hub's answer is not JSON.") from error
    if not isinstance(index, dict):
        raise CutError("the hub's answer is not an index.")
    return index


def _named(remote: Remote) -> str:
    return f"{remote.host} at {remote.revision or 'main'}"


def _file(entry: Mapping[str, Any], url: str, name: str, headers: Mapping[str, str]) -> RemoteFile:
    lfs = entry.get("lfs")
    digest = lfs.get("sha256") if isinstance(lfs, dict) else None
    size = entry.get("size")
    if not isinstance(size, int) and isinstance(lfs, dict):
        size = lfs.get("size")
    blob = entry.get("blobId")
    return RemoteFile(
        name=name,
        url=url,
        size=size if isinstance(size, int) and size >= 0 else None,
        sha256=digest if isinstance(digest, str) and SHA256.match(digest) else None,
        git_sha1=blob if digest is None and isinstance(blob, str) and COMMIT.match(blob) else None,
        headers=headers,
    )
