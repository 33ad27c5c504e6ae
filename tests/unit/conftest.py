"""Unit tests reach no network: a socket that is not a Unix socket raises."""

import gc

import pytest
from pytest_socket import disable_socket


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: they need not be walked in search of garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True)
def _no_network() -> None:
    disable_socket(allow_unix_socket=True)
