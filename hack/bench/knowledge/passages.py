# ruff: noqa: INP001 (a script's module, not a package)
"""Passages with a question each, from the descriptions in Python packages: no download is needed.

Every docstring whose first line is a sentence gives a question (that line) and a passage (the rest, with the name of
its module as title). The choice depends only on the texts of what is installed.
"""

import ast
import hashlib
import math
import re
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WORDS = range(25, 120)  # a passage of this length is one chunk


@dataclass(frozen=True, slots=True)
class Item:
    """One passage and the question that it answers."""

    question: str
    title: str
    text: str

    @property
    def order(self) -> str:
        """Return what the passages are sorted by."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def collect(*, limit: int) -> list[Item]:
    """Return passages in an order that depends on their text only."""
    found: dict[str, Item] = {}
    paths = sysconfig.get_paths()
    for root in (Path(paths["stdlib"]), Path(paths["purelib"])):
        for path in sorted(root.rglob("*.py")):
            if root.name != "site-packages" and "site-packages" in path.parts:
                continue
            if not {"test", "tests"} & set(path.parts):
                title = ".".join(path.relative_to(root).with_suffix("").parts)
                for item in read_items(path, title=title):
                    found.setdefault(item.question.lower(), item)
    texts: dict[str, Item] = {item.text: item for item in found.values()}
    return sorted(texts.values(), key=lambda item: item.order)[:limit]


def read_items(path: Path, *, title: str) -> Iterator[Item]:
    """Yield the passages of one file."""
    try:
        source = path.read_text(encoding="utf-8")
        if len(source) > 400_000:
            return
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            head, _, body = (ast.get_docstring(node) or "").partition("\n")
            text = body.strip()
            if len(head.split()) >= 5 and len(text.split()) in WORDS and re.search(r"[a-z]{3}", head):
                yield Item(question=head.strip(), title=title, text=text)


def summarise(ranks: Sequence[int | None]) -> dict[str, float]:
    """Return recall@1, 5, 10 and nDCG@10 (one right answer: 1 / log2(rank + 1))."""
    found = {f"recall@{k}": sum(rank is not None and rank <= k for rank in ranks) / len(ranks) for k in (1, 5, 10)}
    gains = [1 / math.log2(rank + 1) for rank in ranks if rank is not None and rank <= 10]
    return {name: round(value, 3) for name, value in {**found, "nDCG@10": sum(gains) / len(ranks)}.items()}
