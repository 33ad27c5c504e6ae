"""What a source lists and what parsing an item gives: the values between the stages of a run."""

from dataclasses import dataclass
from typing import Protocol

from hearth_api.wire.documents import NormalDocument
from hearth_ingest.context import ParseContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing at the source: a mail or a file. `key` is its origin.key, `size` is in bytes."""

    key: str
    fingerprint: str
    uri: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An item that was listed but is not read, and why.

    `quarantined` tells a rule or limit (too large, a symbolic link) from a failure (unreadable).
    """

    uri: str
    code: str
    detail: str
    quarantined: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything that the source holds now.

    `skipped` are files of types that nothing here reads. `copies` counts items left out because the same thing is
    listed already. `complete` is False when a part of the source could not be looked into: what seems gone then may
    only be out of sight, and nothing is deleted.
    """

    items: tuple[Item, ...]
    refusals: tuple[Refusal, ...] = ()
    skipped: tuple[Refusal, ...] = ()
    copies: int = 0
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """One finished document with the bytes it was made from."""

    document: NormalDocument
    original: bytes
    media_type: str
    refusals: tuple[Refusal, ...] = ()
    """Members of an archive that were refused or are broken; the rest of it was read."""


class Source(Protocol):
    """A source of items. `kind` is the kind of its items' own documents."""

    def observe(self) -> Listing:
        """List the source. Raises SourceError where the source itself is missing or unreadable."""
        ...

    def parse(self, item: Item) -> list[Parsed]:
        """Read one item: its own document last, what hangs on it (attachments) before. Raises ItemError."""
        ...

    def use(self, context: ParseContext) -> None:
        """Take another context, as a run does when it has learnt the key for ids."""
        ...

    def owner(self, key: str) -> str:
        """Return the key of the item that a document's key belongs to (itself, or the mail of an attachment)."""
        ...
