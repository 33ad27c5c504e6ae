"""What the stories share: a model that is loaded once, and Ray's own view of both machines."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.cluster import Cluster
from support.machines import RayEye
from support.pair import pair, wait_whole

NODES = ("studio", "gpu")


@pytest.fixture(scope="package")
def eyes(cluster: Cluster) -> dict[str, RayEye]:
    """Ray's own view of each machine."""
    return {node: RayEye.of(cluster, node) for node in NODES}


@pytest.fixture(scope="package")
def replicas(eyes: dict[str, RayEye]) -> Callable[..., dict[str, Any]]:
    """All replicas of both machines, without those of the models that are named."""
    return lambda *apart: {name: found for eye in eyes.values() for name, found in eye.replicas(*apart).items()}


@pytest.fixture(scope="package", autouse=True)
def house(cluster: Cluster) -> Iterator[None]:
    """Load both builds once for all stories."""
    with cluster.applied(pair()):
        wait_whole(cluster)
        yield
