"""One real kube-apiserver with Hearth's CRDs for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hearth_api.crd import build_crds
from hearth_hack.controlplane import ControlPlane
from integration.api.server import ApiServer, wait_established


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServer]:
    """The API server, every CRD applied with fieldValidation=Strict and established."""
    with ControlPlane() as plane, ApiServer(Path(plane.kubeconfig)) as server:
        for crd in build_crds().values():
            answer = server.create_crd(crd)
            assert answer.code == 201, answer.message
        wait_established(server, count=len(build_crds()))
        yield server
