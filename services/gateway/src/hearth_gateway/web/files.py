"""The page's files, read once: compressed, and named by what they hold so that browsers may keep them for ever."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

INDEX = "index.html"
PLACEHOLDER = b"{{assets}}"
MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "html": "text/html; charset=utf-8",
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "svg": "image/svg+xml",
    }
)


@dataclass(frozen=True, slots=True)
class File:
    """One file. `packed` is its gzip form."""

    body: bytes
    packed: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Site:
    """All files. `version` is a hash over them; modules import each other relatively below `/assets/<version>/`."""

    version: str
    index: File
    assets: Mapping[str, File]


@cache
def load_site() -> Site:
    """Read the package's files."""
    folder = files(__package__).joinpath("static")
    found = {item.name: item.read_bytes() for item in folder.iterdir() if item.name.partition(".")[2] in MEDIA_TYPES}
    version = hashlib.sha256(b"".join(name.encode() + found[name] for name in sorted(found))).hexdigest()[:16]
    index = found.pop(INDEX).replace(PLACEHOLDER, f"/assets/{version}".encode())
    assets = {name: build_file(name, body=body) for name, body in found.items()}
    return Site(version=version, index=build_file(INDEX, body=index), assets=MappingProxyType(assets))


def build_file(name: str, *, body: bytes) -> File:
    """Return a file with its compressed form; the same bytes give the same file."""
    return File(
        body=body,
        packed=gzip.compress(body, compresslevel=9, mtime=0),
        media_type=MEDIA_TYPES[name.rpartition(".")[2]],
        etag=f'"{hashlib.sha256(body).hexdigest()[:24]}"',
    )
