"""From a wanted source to its files: the hub, a bucket, or a plain address."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath

import aiohttp

from hearth_api.wire.weights import WantedWeights, WeightsCode
from hearth_serve.weights.errors import WeightsError
from hearth_serve.weights.fetch.hf import list_hub
from hearth_serve.weights.fetch.mirror import MirrorClient
from hearth_serve.weights.fetch.s3 import list_object
from hearth_serve.weights.remote import Listing, Remote, RemoteFile, parse_remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Lists sources. `env` holds endpoints and credentials and is read at each question; a mirror is asked instead."""

    session: aiohttp.ClientSession
    env: Mapping[str, str]
    mirror: MirrorClient | None = None

    async def resolve(self, wanted: WantedWeights, *, now: datetime) -> Listing:
        """Return the files of a source, pinned. Raises WeightsError."""
        remote = parse_remote(wanted.source)
        if self.mirror is not None:
            return _pinned(await self.mirror.list_source(wanted), wanted)
        return _pinned(await self._list(remote, now), wanted)

    async def _list(self, remote: Remote, now: datetime) -> Listing:
        if remote.scheme == "hf":
            return await list_hub(remote, session=self.session, env=self.env)
        if remote.scheme == "s3":
            return list_object(remote, env=self.env, now=now)
        return Listing(files=(RemoteFile(name=PurePosixPath(remote.path).name, url=remote.source),))


def _pinned(listing: Listing, wanted: WantedWeights) -> Listing:
    """Return the listing with the declared digest where it names one file, compared with what the server says."""
    declared = (wanted.sha256 or "").removeprefix("sha256:").lower()
    if len(listing.files) != 1:
        return listing  # of several files the hub's own digests are checked; the replica compares the declared one
    file = listing.files[0]
    if not declared:
        if file.sha256 is None and file.git_sha1 is None:
            raise WeightsError(
                WeightsCode.SOURCE_INVALID,
                f"{wanted.source} is not pinned: give model.sha256 (`sha256sum {file.name}` prints it).",
            )
        return listing
    if file.sha256 is not None and file.sha256 != declared:
        raise WeightsError(
            WeightsCode.DIGEST_MISMATCH,
            f"{file.name}: the server says SHA-256 {file.sha256}, model.sha256 is {declared}: nothing was downloaded.",
        )
    return replace(listing, files=(replace(file, sha256=declared),))
