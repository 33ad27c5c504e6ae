"""Helm, run as a user runs it."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hearth_hack.binaries import ensure_binaries

CHART = Path(__file__).resolve().parents[2] / "charts" / "hearth"


@pytest.fixture(scope="session")
def helm() -> Path:
    return ensure_binaries(["helm"]).path("helm")


@pytest.fixture(scope="session")
def render(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Return a function from values to the rendered objects; raises CalledProcessError with helm's words."""

    def run(values: dict[str, Any] | None = None, *, namespace: str = "hearth") -> list[dict[str, Any]]:
        file = tmp_path_factory.mktemp("values") / "values.yaml"
        file.write_text(yaml.safe_dump(values or {}))
        done = subprocess.run(
            [helm, "template", "hearth", CHART, "--namespace", namespace, "--values", file],
            capture_output=True,
            text=True,
            check=True,
        )
        return [item for item in yaml.safe_load_all(done.stdout) if item]

    return run
