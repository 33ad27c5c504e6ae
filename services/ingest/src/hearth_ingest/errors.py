"""What can go wrong, from the whole run down to one item."""


class IngestError(Exception):
    """Base of everything that this package raises on purpose."""


class SourceError(IngestError):
    """The source as a whole cannot be used: missing, unreadable, unknown. The run fails, nothing is deleted."""

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(sentence)


class KnowledgeError(IngestError):
    """The knowledge service refused or could not be reached within the allowed attempts."""

    def __init__(self, sentence: str, *, status: int | None = None) -> None:
        self.sentence = sentence
        self.status = status
        super().__init__(sentence)


class ItemError(IngestError):
    """One item could not be read. `code` is one of the README's table; `detail` is for a person, without content."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}" if detail else code)


class RefusedError(ItemError):
    """One item was refused by a limit or a rule, not for being broken. Counted as quarantined."""
