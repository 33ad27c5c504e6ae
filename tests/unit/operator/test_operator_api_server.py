"""What the API server's answers say of an object, and what they do not: one that has just started knows little."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from hearth_operator import names
from hearth_operator.clients.kubernetes import KubernetesClient
from hearth_operator.errors import InvalidSpecError, UnreachableError
from hearth_operator.handlers.watch import kopf_settings
from hearth_operator.reconcile.loop import Reconciler
from hearth_operator.reconcile.metrics import Metrics
from hearth_operator.reconcile.queue import Key, KeyedQueue
from hearth_operator.settings import Settings
from support.fake_kube import FakeKube

FORBIDDEN = 'pods is forbidden: User "system:serviceaccount:n:op" cannot list resource "pods" in API group ""'


class _Api:
    """The generated client, answering one thing."""

    def __init__(self, status: int, body: Any) -> None:
        self._status, self._text = status, body if isinstance(body, str) else json.dumps(body)

    async def param_serialize(self, *_: Any, **__: Any) -> tuple[str, ...]:
        return ()

    async def call_api(self, *_: Any, **__: Any) -> Any:
        async def read() -> bytes:
            return self._text.encode()

        return SimpleNamespace(status=self._status, read=read)


def get(status: int, body: Any) -> Any:
    return asyncio.run(KubernetesClient(_Api(status, body), namespace="n").get(names.MODEL, "chat"))  # type: ignore[arg-type]


def test_only_a_404_that_names_the_object_says_that_it_is_gone() -> None:
    assert get(404, {"message": 'modeldeployments "chat" not found', "details": {"name": "chat"}}) is None
    for body in ("404 page not found\n", {"message": "could not find the requested resource", "details": {}}, {}, "[]"):
        with pytest.raises(UnreachableError, match="ApiServerUnreachable"):
            get(404, body)


@pytest.mark.parametrize(
    ("status", "message", "error", "reason"),
    [
        (403, FORBIDDEN, UnreachableError, "Refused"),
        (403, 'pods "x" is forbidden: exceeded quota: q', InvalidSpecError, "Refused"),
        (401, "Unauthorized", UnreachableError, "ApiServerUnreachable"),
        (429, "storage is (re)initializing", UnreachableError, "ApiServerUnreachable"),
        (503, "the request has been made before all known HTTP paths", UnreachableError, "ApiServerUnreachable"),
    ],
)
def test_a_server_that_has_just_started_says_nothing_lasting(status, message, error, reason) -> None:
    with pytest.raises(error) as told:
        get(status, {"message": message})
    assert (type(told.value), told.value.reason) == (error, reason)


async def test_its_silence_is_told_of_no_resource_and_it_is_asked_again_soon() -> None:
    kube, wrote = FakeKube(), []
    kube.down = True
    ctx = SimpleNamespace(
        kube=kube, clock=lambda: 0.0, settings=Settings(namespace="n", control_image="c", serve_image="s"), wrote=wrote
    )
    reconciler = Reconciler(ctx, KeyedQueue(clock=lambda: 0.0), Metrics())  # type: ignore[arg-type]
    delays = [await reconciler.reconcile(Key(names.MODEL, "chat")) for _ in range(6)]
    assert delays == [1.0, 2.0, 3.0, 4.0, 4.0, 4.0]
    assert kube.writes == []


def test_watches_come_back_within_five_seconds_however_long_it_was_away() -> None:
    backoffs = list(kopf_settings().networking.error_backoffs)  # type: ignore[arg-type]
    assert max(backoffs) == 5.0
    assert 60 < sum(backoffs) < 75, "a minute of errors is borne; a right that lacks ends the process soon"
