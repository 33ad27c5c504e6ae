"""What the readers of office formats share: text that is collected while hidden words are counted, and tables."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hearth_api.wire.documents import DocumentWarning
from hearth_ingest.charset import clean
from hearth_ingest.hidden import strip_invisible

MAX_LINK_CHARS = 500


@dataclass(slots=True)
class Notes:
    """What a reader should know about a file: words that nobody sees, and other remarks."""

    hidden: Counter[str] = field(default_factory=Counter)
    warnings: list[DocumentWarning] = field(default_factory=list)

    def hide(self, reason: str, text: str) -> None:
        """Count the characters of a hidden text."""
        size = len(" ".join(text.split()))
        if size:
            self.hidden[reason] += size

    def warn(self, code: str, detail: str = "") -> None:
        """Add a warning once."""
        warning = DocumentWarning(code=code, detail=detail)
        if warning not in self.warnings:
            self.warnings.append(warning)

    def tidy(self, text: str) -> str:
        """Return text without control characters and characters that have no width; the latter are counted."""
        if text.isascii() and text.isprintable():
            return text
        stripped, invisible = strip_invisible(clean(text))
        if invisible:
            self.hidden["zero-width"] += invisible
        return stripped

    def all(self, *, empty: bool) -> tuple[DocumentWarning, ...]:
        """Return the warnings of a file whose text was read."""
        out = list(self.warnings)
        if self.hidden:
            detail = ", ".join(f"{reason}: {count} characters" for reason, count in sorted(self.hidden.items()))
            out.append(DocumentWarning(code="hidden-text", detail=detail))
        if empty:
            out.append(DocumentWarning(code="no-text"))
        return tuple(out)


def row_text(cells: Iterable[str]) -> str:
    """Return a table's row in one line."""
    return " | ".join(" ".join(cell.split()) for cell in cells)


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows of a table, empty ones left out."""
    return "\n".join(row_text(row) for row in rows if any(cell.strip() for cell in row))


def with_address(text: str, address: str | None) -> str:
    """Return a link's words, followed by its address where that says something else."""
    if not address or not address.lower().startswith(("http://", "https://", "mailto:")):
        return text
    short = address[:MAX_LINK_CHARS]
    bare = short.removeprefix("mailto:").partition("://")[2] or short.removeprefix("mailto:")
    if not text.strip() or bare.rstrip("/") in text:
        return text
    return f"{text} ({short})"
