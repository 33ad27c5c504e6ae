"""A folder of files as a source."""

import re
from datetime import UTC, datetime
from pathlib import Path

from hearth_ingest.context import ParseContext
from hearth_ingest.documents.archive import OPENED_TYPES
from hearth_ingest.documents.body import PARSED_TYPES, media_type_of
from hearth_ingest.documents.build import build_document
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.files import Found, check_root, printable, walk
from hearth_ingest.item import Item, Listing, Parsed, Refusal

_MAIL_PART = re.compile(r"#\d+(?:\.\d+)*$")


class DocumentSource:
    """Files below the given roots (or single files). Keys are `file:<path relative to its root>`."""

    def __init__(
        self,
        roots: tuple[Path, ...],
        *,
        context: ParseContext,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
    ) -> None:
        self._roots = roots
        self._context = context
        self._include = include
        self._exclude = exclude
        self._found: dict[str, Found] = {}

    def observe(self) -> Listing:
        """List the files that a parser reads. Raises SourceError."""
        items: list[Item] = []
        refusals: list[Refusal] = []
        skipped: list[Refusal] = []
        self._found.clear()
        for root in self._roots:
            check_root(root)
            for found in walk(root, include=self._include, exclude=self._exclude):
                if isinstance(found, Refusal):
                    refusals.append(found)
                    continue
                item = _item(found)
                if media_type_of(found.name) not in PARSED_TYPES:
                    skipped.append(Refusal(uri=item.uri, code="no-parser", detail=media_type_of(found.name)))
                elif item.key not in self._found:
                    self._found[item.key] = found
                    items.append(item)
        complete = all(refusal.quarantined for refusal in refusals)
        return Listing(items=tuple(items), refusals=tuple(refusals), skipped=tuple(skipped), complete=complete)

    def parse(self, item: Item) -> list[Parsed]:
        """Read one file. Raises ItemError."""
        if item.size > self._context.limits.item_bytes:
            raise RefusedError("too-large", f"{item.size} bytes, {self._context.limits.item_bytes} allowed")
        found = self._found[item.key]
        try:
            data = found.path.read_bytes()
        except OSError as error:
            raise ItemError("file-unreadable", error.strerror or "cannot be read") from error
        modified = datetime.fromtimestamp(found.mtime_ns // 1_000_000_000, tz=UTC)
        return build_document(item, data, name=printable(found.name), modified=modified, context=self._context)

    def use(self, context: ParseContext) -> None:
        """Take another context for what is parsed from now on."""
        self._context = context

    def owner(self, key: str) -> str:
        """Return the key of the file that a member of an archive or an attachment of a mail in it came from."""
        if key in self._found:
            return key
        bare = _MAIL_PART.sub("", key)
        pieces = bare.split("!")
        for end in range(1, len(pieces)):
            prefix = "!".join(pieces[:end])
            # A file's own name may hold "!", too; only what can be opened has members.
            if prefix in self._found or media_type_of(prefix) in OPENED_TYPES:
                return prefix
        return bare if media_type_of(bare) in OPENED_TYPES else key


def _item(found: Found) -> Item:
    name = f"file:{printable(found.name)}"
    return Item(key=name, fingerprint=f"size:{found.size};mtime:{found.mtime_ns}", uri=name, size=found.size)
