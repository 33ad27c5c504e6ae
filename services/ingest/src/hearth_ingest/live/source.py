"""From a RunSpec without a path to the source of its account, and its end."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Protocol, runtime_checkable

from hearth_api.wire.documents import ManifestLine
from hearth_api.wire.ingest import RunSpec
from hearth_ingest.calendars.build import Frame
from hearth_ingest.calendars.caldav import CalDavSource
from hearth_ingest.calendars.dav import DavClient
from hearth_ingest.context import ParseContext
from hearth_ingest.errors import SourceError
from hearth_ingest.item import Source
from hearth_ingest.live.account import Credentials
from hearth_ingest.mail.imap import ImapSource
from hearth_ingest.mail.imap_session import Account


@runtime_checkable
class Closeable(Protocol):
    """A source that holds a connection."""

    def close(self) -> None:
        """Sign out."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A source that lists without fetching what the knowledge service holds already."""

    def remember(self, manifest: Iterable[ManifestLine]) -> None:
        """Take what is stored, before the source is listed."""
        ...


def open_account(spec: RunSpec, *, context: ParseContext, frame: Frame | None = None) -> Source:
    """Return the source of the account that a spec names; nothing is connected yet. Raises SourceError."""
    if spec.type == "email" and spec.imap is not None:
        account = Account(spec=spec.imap, credentials=Credentials.read(spec.credentials_path), proxy=spec.proxy)
        return ImapSource(account, context=context, include=spec.include, exclude=spec.exclude)
    if spec.type == "calendar" and spec.caldav is not None and frame is not None:
        credentials = Credentials.read(spec.credentials_path)
        client = DavClient(spec.caldav.url, credentials=credentials, proxy=spec.proxy, limits=context.limits)
        globs = ((spec.caldav.include, spec.caldav.exclude), (spec.include, spec.exclude))
        return CalDavSource(client, context=context, frame=frame, globs=globs)
    raise SourceError(f"the run names neither a path nor an account for a source of type {spec.type}")


@asynccontextmanager
async def closing(source: Source) -> AsyncIterator[None]:
    """Sign out of the account, if the source is one, when the block ends."""
    try:
        yield
    finally:
        if isinstance(source, Closeable):
            source.close()
