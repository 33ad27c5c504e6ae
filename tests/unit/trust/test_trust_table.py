"""The table of failures names tests that exist, and says where each failure was reported."""

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
TABLE = REPO / "tests" / "e2e" / "trust" / "README.md"
TEST_ID = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
REPORT = re.compile(r"\[[\w.-]+#\d+\]\(https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+\)")


def rows() -> list[str]:
    text = TABLE.read_text()
    (_, table) = text.split("| failure | test | reported |\n")
    return [line for line in table.splitlines()[1:] if line.startswith("|")]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_failure_has_its_test_and_its_report(row: str) -> None:
    _, failure, tests, reported, _ = row.split("|")
    assert failure.strip()
    named = TEST_ID.findall(tests)
    assert named
    assert len(named) == tests.count("::"), "an id is written otherwise than `path::name`"
    for path, name in named:
        assert name in functions(REPO / path), f"{path} has no {name}"
    assert REPORT.search(reported)


def test_the_table_is_not_empty() -> None:
    assert len(rows()) >= 20


def test_every_story_is_in_the_table() -> None:
    stories = TABLE.parent.glob("test_*.py")
    wanted = {name for path in stories for name in functions(path) if name.startswith("test_")}
    assert len(wanted) == 5
    assert wanted <= {name for row in rows() for _, name in TEST_ID.findall(row)}
