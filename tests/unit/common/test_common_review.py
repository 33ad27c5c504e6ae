"""TokenReview: cached, coalesced, bound to the audience."""

import asyncio
import base64
import json

import pytest

from hearth_common.errors import KubeStatusError, KubeUnreachableError, TokenRefusedError
from hearth_common.review import Identity, TokenReviewer, parse_review, seconds_left

AUDIENCE = "hearth-knowledge"
USER = "system:serviceaccount:hearth:hearth-ingest-inbox"


def _answer(username: str = USER, *, authenticated: bool = True, audiences: tuple[str, ...] = (AUDIENCE,)):
    return {"status": {"authenticated": authenticated, "audiences": list(audiences), "user": {"username": username}}}


class FakeApi:
    def __init__(self, answer=None, error=None):
        self.answer, self.error = answer or _answer(), error
        self.calls = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def create(self, path, body):
        self.calls.append((path, body))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.answer


class Clock:
    def __init__(self):
        self.value = 1000.0

    def __call__(self):
        return self.value


def _reviewer(api, clock=None):
    clock = clock or Clock()
    return TokenReviewer(api, audience=AUDIENCE, monotonic=clock, now=clock)


async def test_a_known_token_gives_its_account():
    api = FakeApi()
    identity = await _reviewer(api).review("t1")
    assert identity == Identity(username=USER, namespace="hearth", account="hearth-ingest-inbox")
    path, body = api.calls[0]
    assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert body["spec"] == {"token": "t1", "audiences": [AUDIENCE]}


async def test_an_accepted_token_is_believed_for_a_minute_and_no_longer():
    api, clock = FakeApi(), Clock()
    reviewer = _reviewer(api, clock)
    await reviewer.review("t1")
    clock.value += 59
    await reviewer.review("t1")
    assert len(api.calls) == 1
    clock.value += 2
    await reviewer.review("t1")
    assert len(api.calls) == 2


async def test_a_token_is_not_believed_beyond_its_own_expiry():
    clock = Clock()
    payload = base64.urlsafe_b64encode(json.dumps({"exp": clock.value + 10}).encode()).decode().rstrip("=")
    api = FakeApi()
    reviewer = _reviewer(api, clock)
    await reviewer.review(f"h.{payload}.s")
    clock.value += 11
    await reviewer.review(f"h.{payload}.s")
    assert len(api.calls) == 2


async def test_a_refused_token_is_remembered_shortly():
    api, clock = FakeApi(answer=_answer(authenticated=False)), Clock()
    reviewer = _reviewer(api, clock)
    for _ in range(3):
        with pytest.raises(TokenRefusedError):
            await reviewer.review("bad")
    assert len(api.calls) == 1
    clock.value += 6
    api.answer = _answer()
    await reviewer.review("bad")
    assert len(api.calls) == 2


async def test_equal_questions_at_one_time_are_one_call_and_survive_an_impatient_caller():
    api = FakeApi()
    api.gate.clear()
    reviewer = _reviewer(api)
    tasks = [asyncio.create_task(reviewer.review("t1")) for _ in range(20)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    api.gate.set()
    results = await asyncio.gather(*tasks[1:])
    assert {item.account for item in results} == {"hearth-ingest-inbox"}
    assert len(api.calls) == 1


@pytest.mark.parametrize(
    "error",
    [KubeUnreachableError(path="/x", reason="down"), KubeStatusError(path="/x", status=403, message="no")],
    ids=["no answer", "our account may not review"],
)
async def test_an_api_server_that_cannot_say_is_not_a_refusal_and_is_not_cached(error):
    api = FakeApi(error=error)
    reviewer = _reviewer(api)
    with pytest.raises(KubeUnreachableError):
        await reviewer.review("t1")
    api.error = None
    assert (await reviewer.review("t1")).namespace == "hearth"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": None},
        _answer(audiences=()),
        _answer(audiences=("hearth-gateway",)),
        _answer("admin"),
        _answer("system:serviceaccount:hearth"),
        _answer("system:serviceaccount:a:b:c"),
        _answer("system:node:t40"),
    ],
    ids=["empty", "null", "no audience", "another audience", "a person", "no account", "too many parts", "a node"],
)
def test_only_a_service_account_for_our_audience_is_an_identity(answer):
    with pytest.raises(TokenRefusedError):
        parse_review(answer, audience=AUDIENCE)


@pytest.mark.parametrize("token", ["", "ü", "x" * 20000], ids=["empty", "not ascii", "too long"])
async def test_what_cannot_be_a_token_is_refused_without_asking(token):
    api = FakeApi()
    with pytest.raises(TokenRefusedError):
        await _reviewer(api).review(token)
    assert api.calls == []


async def test_the_cache_is_bounded():
    api = FakeApi()
    reviewer = _reviewer(api)
    for number in range(1100):
        await reviewer.review(f"t{number}")
    assert len(reviewer._entries) <= 1024


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "a.e30.c", "a.W10.c"])
def test_a_token_without_expiry_gets_the_usual_time(token):
    assert seconds_left(token, now=0) == 60
