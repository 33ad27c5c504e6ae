"""The running product of `./hack/up`, seen as its user sees it: kubectl, HTTP, and the data folder."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from support.cluster import Cluster

ENV_FILE = Path(__file__).resolve().parents[2] / ".local" / "hearth.env"


def _read_env() -> dict[str, str]:
    if not ENV_FILE.exists():
        pytest.fail(f"{ENV_FILE.name} is missing: run ./hack/up first, or ./hack/test e2e, which does", pytrace=False)
    found = {}
    for line in ENV_FILE.read_text().splitlines():
        words = shlex.split(line, comments=True)
        for word in words[1:] if words[:1] == ["export"] else words:
            name, _, value = word.partition("=")
            found[name] = value.replace("$PATH", os.environ["PATH"]).replace("${PATH}", os.environ["PATH"])
    return found


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    env = _read_env()
    return Cluster(url=env["HEARTH_URL"], key=env["HEARTH_API_KEY"], data=Path(env["HEARTH_DATA"]), env=env)


@pytest.fixture(scope="session")
def client(cluster: Cluster) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{cluster.url}/v1", api_key=cluster.key, timeout=120, max_retries=0) as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Look at what `./hack/up` left behind first: later stories add models and documents of their own."""
    items.sort(key=lambda item: "quickstart" not in item.path.parts)
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))
