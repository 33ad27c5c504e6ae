"""Golden files: `pytest tests/unit/operator --update-golden` writes them anew."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hearth_api.condition_reasons import may_carry
from hearth_api.conditions import set_condition

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the operator's golden manifests anew")


@pytest.fixture(autouse=True)
def known_reasons(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold every condition that any test writes against the table that crds/README.md shows."""
    found: set[tuple[str, str]] = set()

    def noting(conditions: Any, type_: Any, **said: Any) -> Any:
        found.add((str(type_), str(said["reason"])))
        return set_condition(conditions, type_, **said)

    monkeypatch.setattr("hearth_operator.status.conditions.set_condition", noting)
    yield
    missing = {(type_, reason) for type_, reason in found if not may_carry(type_, reason)}
    assert not missing, f"not listed in hearth_api.condition_reasons: {sorted(missing)}"


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """Compare an object with the golden file of a name."""

    def compare(name: str, value: Any) -> None:
        path = GOLDEN / f"{name}.json"
        text = json.dumps(value, indent=2, sort_keys=True) + "\n"
        if request.config.getoption("--update-golden", default=False):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.exists(), f"no golden file {path.name}: run with --update-golden"
        assert text == path.read_text(), f"{path.name} differs: look at the change, then run with --update-golden"

    return compare
