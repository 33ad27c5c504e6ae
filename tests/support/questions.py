"""The sample's questions, and whether what was found answers one."""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
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
        return (
            key.split("#", maxsplit=1)[0] in self.answers
            or key in self.answers
            or not self.answers.isdisjoint(identities)
        )


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


def parse_source(source: str) -> list[bytes]:
    """Return a source's documents in normal form, as `hearth-ingest parse` prints them."""
    kind, path = SOURCES[source]
    command = str(Path(sys.executable).with_name("hearth-ingest"))
    done = subprocess.run(
        [command, "parse", "--source", source, "--type", kind, str(SAMPLE / path)], check=True, capture_output=True
    )
    return done.stdout.splitlines()


def read_identities(lines: Iterable[bytes]) -> dict[str, frozenset[str]]:
    """Return the names that each document goes by besides its origin key, by its id."""
    rows = [json.loads(line) for line in lines]
    return {row["id"]: frozenset(row.get("identities", ())) for row in rows}


@dataclass
class Recall:
    """Which questions were answered within the first five results."""

    mode: str
    found: dict[str, bool] = field(default_factory=dict)

    @property
    def figure(self) -> float:
        return sum(self.found.values()) / len(self.found)

    def of(self, questions: Iterable[Question], *, kind: str) -> float:
        found = [self.found[question.id] for question in questions if question.kind == kind]
        return sum(found) / len(found)

    @property
    def missed(self) -> list[str]:
        return [name for name, found in self.found.items() if not found]


Search = Callable[[str, str], Awaitable[list[dict[str, Any]]]]


async def measure_recall(
    questions: Iterable[Question], *, mode: str, search: Search, identities: dict[str, frozenset[str]]
) -> Recall:
    """Ask each question. `search(text, mode)` answers the first five results."""
    recall = Recall(mode)
    for question in questions:
        rows = await search(question.text, mode)
        recall.found[question.id] = any(
            question.is_answered_by(key=row["origin_key"], identities=identities.get(row["document"], ()))
            for row in rows
        )
    return recall


def recall_table(questions: list[Question], recalls: list[Recall]) -> str:
    """Return recall by kind and mode as a Markdown table."""
    kinds = sorted({question.kind for question in questions})
    lines = ["| recall@5 | questions | " + " | ".join(recall.mode for recall in recalls) + " |"]
    lines.append("| --- | ---: |" + " ---: |" * len(recalls))
    for kind in kinds:
        number = sum(question.kind == kind for question in questions)
        figures = " | ".join(f"{recall.of(questions, kind=kind):.2f}" for recall in recalls)
        lines.append(f"| {kind} | {number} | {figures} |")
    total = " | ".join(f"**{recall.figure:.2f}**" for recall in recalls)
    return "\n".join([*lines, f"| all | {len(questions)} | {total} |"])
