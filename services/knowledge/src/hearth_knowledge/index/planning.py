"""What must happen so that a collection holds a document as it is. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hearth_knowledge.index.ledger import IndexedVersion
from hearth_knowledge.storage.documents import VersionRow


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """Steps in this order: index (new rows in), then close (old rows leave the present), then remove."""

    index: tuple[tuple[VersionRow, bool], ...]
    """versions to cut, embed and write, each with whether its quoted text is indexed"""
    close: tuple[VersionRow, ...]
    remove: tuple[int, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing to do."""
        return not (self.index or self.close or self.remove)


def plan_document(
    versions: Sequence[VersionRow], indexed: Sequence[IndexedVersion], *, parent_present: bool, again: bool = False
) -> IndexPlan:
    """Compare a document's versions with what a collection holds of it.

    Replaced versions stay in the index with the end of their validity, because a search may ask for an earlier day.
    The present version's quoted text is indexed only while the document it answers is not there; earlier ones stay.
    With `again` every version is cut anew: something in the document was released.
    """
    held = {entry.version: entry for entry in indexed}
    wanted = [row for row in versions if not row.tombstone]
    newest = max((row.version for row in versions), default=0)
    index, close = [], []
    for row in wanted:
        entry = held.get(row.version)
        quoted = not (parent_present and row.parent)
        if again or entry is None or (row.version == newest and entry.quoted != quoted):
            index.append((row, quoted))
        elif entry.valid_to != row.valid_to:
            close.append(row)
    known = {row.version for row in wanted}
    return IndexPlan(
        index=tuple(index), close=tuple(close), remove=tuple(version for version in held if version not in known)
    )
