"""Golden files: `pytest tests/unit/operator --update-golden` writes them anew."""

import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the operator's golden manifests anew")


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
