"""The sample's questions, and whether what was found answers one."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parents[1] / "data" / "work-month"
SOURCES = {
    "inbox": ("email", "mail.mbox"),
    "documents": ("documents", "documents"),
    "chats": ("teams", "teams"),
    "calendar": ("calendar", "calendar"),
}
"""The sample's sources: the type of each, and where its files are in the sample."""


@dataclass(frozen=True, slots=True)
class Question:
    """`answers` are origin keys of documents, or identities (`chat:...`) of messages in them; any of them counts."""

    id: str
    source: str
    kind: str
    text: str
    answers: frozenset[str]
    show: bool = False

    def is_answered_by(self, *, key: str, identities: Collection[str] = ()) -> bool:
        """Say whether a document is an answer; an attachment of one (`key#part`) carries the answer as well."""
        return key.split("#", maxsplit=1)[0] in self.answers or key in self.answers or not self.answers.isdisjoint(identities)


def load_questions(path: Path = SAMPLE / "questions.json") -> list[Question]:
    """Read questions.json."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [
        Question(
            id=row["id"],
            source=row["source"],
            kind=row["kind"],
            text=row["question"],
            answers=frozenset(answer["key"] for answer in row["answers"]),
            show=row.get("show", False),
        )
        for row in rows
    ]
