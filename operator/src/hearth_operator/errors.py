"""What can go wrong, and the condition that each becomes (DESIGN section 7): one table, tested as a table."""

from dataclasses import dataclass
from enum import StrEnum


class OperatorError(Exception):
    """Carries a reason and one sentence for the condition."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message
        super().__init__(f"{reason}: {message}")


class InvalidSpecError(OperatorError):
    """The spec cannot be carried out until somebody changes it."""


class NotYetError(OperatorError):
    """Something that the resource refers to is missing or not ready."""


class NoCapacityError(OperatorError):
    """No node has room; the message holds the numbers."""


class UnreachableError(OperatorError):
    """An endpoint does not answer: nothing is known about what runs there."""


class ConflictError(OperatorError):
    """Somebody else wrote in between."""


class Retry(StrEnum):
    """When a key is looked at again after an error."""

    SPEC_CHANGE = "when the spec changes"
    LATER = "after a fixed delay, or when what it waits for changes"
    GROWING = "after a growing delay"
    AT_ONCE = "at once"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row: the condition that is set (None: none) and when to look again."""

    condition: str | None
    status: str
    retry: Retry


TABLE: dict[type[Exception], Outcome] = {
    InvalidSpecError: Outcome("Accepted", "False", Retry.SPEC_CHANGE),
    NotYetError: Outcome("Ready", "False", Retry.LATER),
    NoCapacityError: Outcome("Fits", "False", Retry.LATER),
    UnreachableError: Outcome("Ready", "Unknown", Retry.GROWING),
    ConflictError: Outcome(None, "", Retry.AT_ONCE),
}
ANYTHING_ELSE = Outcome("Ready", "Unknown", Retry.GROWING)
INTERNAL_ERROR = "InternalError"


def outcome_of(error: Exception) -> Outcome:
    """Return the row for an error: its own class's or its nearest base's."""
    for base in type(error).__mro__:
        if base in TABLE:
            return TABLE[base]
    return ANYTHING_ELSE


def first_line(error: Exception) -> str:
    """Return the class and first line of an error that nobody foresaw."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
