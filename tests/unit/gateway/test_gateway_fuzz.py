"""Any body, any header: a status below 500 or a known one, always OpenAI's shape, never a crash."""

import asyncio
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.gateway import FakeKnowledge, Harness, hit

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "assistant"]) | values, "content": values}),
    max_size=4,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["chat", "chat@work", "embed", "gpt-4o", "@", "chat@", "@work", "a@b@c"]) | values,
        "messages": messages | values,
        "stream": st.sampled_from([None, False]) | values,
        "knowledge_bases": st.lists(st.sampled_from(["work", "x"]), max_size=3) | values,
        "filters": st.dictionaries(st.sampled_from(["people", "after", "kind"]), values) | values,
        "as_of": values,
        "top_k": values,
        "max_tokens": values,
        "input": values,
        "query": values,
    },
)
paths = st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/search"])


# One gateway for all examples: building FastAPI costs more than a request.
gateway = Harness(knowledge=FakeKnowledge({"work": [hit("The pump arrives on 14 October.")]}))


def _check(path, raw):
    reply = asyncio.run(gateway.post(path, raw))
    assert reply.status < 500, reply.body
    if reply.status >= 400:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    busy = sum(gateway.admission.busy("chat", item) for item in gateway.source.catalog.models["chat"].variants)
    assert busy == 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(paths, bodies)
def test_any_json_object(path, body):
    _check(path, json.dumps(body).encode())


@settings(max_examples=50, deadline=None)
@given(paths, st.binary(max_size=200))
def test_any_bytes(path, raw):
    _check(path, raw)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60))
def test_any_authorization(value):
    reply = asyncio.run(
        gateway.call("GET", "/v1/models", key=None, headers={"authorization": value.decode("latin-1")})
        if value.isascii()
        else gateway.get("/v1/models", key=None)
    )
    assert reply.status == 401
