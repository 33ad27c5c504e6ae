"""From a RunSpec without a path to the source of its account, and its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, runtime_checkable

from hearth_api.wire.ingest import RunSpec
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


def open_account(spec: RunSpec, *, context: ParseContext) -> Source:
    """Return the source of the account that a spec names; nothing is connected yet. Raises SourceError."""
    if spec.type == "email" and spec.imap is not None:
        account = Account(spec=spec.imap, credentials=Credentials.read(spec.credentials_path), proxy=spec.proxy)
        return ImapSource(account, context=context, include=spec.include, exclude=spec.exclude)
    raise SourceError(f"the run names neither a path nor an account for a source of type {spec.type}")


@asynccontextmanager
async def closing(source: Source) -> AsyncIterator[None]:
    """Sign out of the account, if the source is one, when the block ends."""
    try:
        yield
    finally:
        if isinstance(source, Closeable):
            source.close()
