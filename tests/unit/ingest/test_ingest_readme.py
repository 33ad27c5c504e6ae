"""The README names every code that the package gives."""

import ast
from collections.abc import Iterator
from pathlib import Path

import hearth_ingest
from hearth_ingest.findings.scan import TYPES

PACKAGE = Path(hearth_ingest.__file__).parent
README = (PACKAGE.parents[1] / "README.md").read_text()
CALLS = {"ItemError": 0, "RefusedError": 0, "warn": 0, "DocumentWarning": "code", "Refusal": "code", "note": "reason"}


def _literals(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def _codes() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            where = CALLS.get(name)
            if isinstance(where, int) and call.args and isinstance(call.args[where], ast.Constant):
                yield from _literals(call.args[where])
            for keyword in call.keywords:
                if keyword.arg == where and isinstance(keyword.value, ast.Constant):
                    yield from _literals(keyword.value)


def test_every_code_is_in_the_readme() -> None:
    codes = set(_codes())
    assert {"too-large", "hidden-text", "inline-image"} <= codes
    assert [code for code in sorted(codes) if f"`{code}`" not in README] == []


def test_every_type_of_finding_is_in_the_readme() -> None:
    assert [kind for kind in TYPES if f"`{kind}`" not in README] == []
