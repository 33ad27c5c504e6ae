"""What a machine is told about its weights: environment variables, never arguments, for credentials are among them."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from hearth_serve.weights.downloads import Downloads
from hearth_serve.weights.fetch.http import Fetcher
from hearth_serve.weights.fetch.mirror import MirrorClient
from hearth_serve.weights.resolve import Resolver
from hearth_serve.weights.store import HEADROOM, Store

CREDENTIALS = Path("/var/run/secrets/hearth/weights")
"""The mounted Secret, one file for each variable; the environment comes first."""
_SECRET_NAMES = ("HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SIZE = re.compile(r"^(\d+)(k|M|G|T|Ki|Mi|Gi|Ti)?$")
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


@dataclass(frozen=True, slots=True)
class Credentials(Mapping[str, str]):
    """The environment, and behind it the files of a Secret, read anew each time: a Secret may be set later."""

    env: Mapping[str, str]
    folder: Path = CREDENTIALS

    def __getitem__(self, name: str) -> str:
        """Return a value. Raises KeyError."""
        if name in self.env:
            return self.env[name]
        if name in _SECRET_NAMES:
            try:
                return (self.folder / name).read_text().strip()
            except OSError:
                pass  # not set: public sources need none
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Return the names of the environment."""
        return iter(self.env)

    def __len__(self) -> int:
        """Return how many these are."""
        return len(self.env)


def store_path(env: Mapping[str, str]) -> Path:
    """Return the machine's store."""
    if named := env.get("HEARTH_WEIGHTS_STORE"):
        return Path(named)
    return Path.home() / ".cache" / "hearth" / "weights"


def read_size(text: str | None) -> int | None:
    """Return bytes for `200Gi`, `40G` or a number; None for nothing. Raises ValueError."""
    if not text:
        return None
    found = _SIZE.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size like 200Gi")
    return int(found[1]) * _UNITS.get(found[2] or "", 1)


def open_store(env: Mapping[str, str]) -> Store:
    """Return the store as the environment describes it. Raises ValueError."""
    headroom = read_size(env.get("HEARTH_WEIGHTS_HEADROOM"))
    return Store(
        root=store_path(env),
        quota=read_size(env.get("HEARTH_WEIGHTS_QUOTA")),
        headroom=HEADROOM if headroom is None else headroom,
    )


def open_downloads(
    session: aiohttp.ClientSession, env: Mapping[str, str] | None = None, *, mirror: MirrorClient | None = None
) -> Downloads:
    """Return the downloads of this machine. Raises ValueError for a setting that cannot be read."""
    env = os.environ if env is None else env
    return Downloads(
        store=open_store(env),
        resolver=Resolver(session=session, env=Credentials(env), mirror=mirror),
        fetcher=Fetcher(session=session),
        offline=env.get("HEARTH_OFFLINE", "") in {"1", "true", "True"},
    )


def open_session() -> aiohttp.ClientSession:
    """Return a session that keeps to the proxy of the environment and takes files as they are."""
    return aiohttp.ClientSession(trust_env=True, auto_decompress=False)
