"""Bad input: a refusal with the field's name, or an OpenAI-shaped error. What fails later is told in ../trust."""

import pytest
import yaml

from support.cluster import Cluster
from support.pair import build, chat


def model(name: str, **spec) -> dict:
    return chat(name, build("only", {"name": "studio"}), **spec)


def test_a_malformed_resource_is_refused_with_the_fields_name(cluster: Cluster) -> None:
    bad = model("bad")
    bad["spec"]["variants"][0]["engine"] = "Steam"
    refused = cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(bad), check=False)
    assert refused.returncode != 0
    assert "spec.variants[0].engine" in refused.stderr

    typo = model("typo", taks="Chat")
    refused = cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(typo), check=False)
    assert refused.returncode != 0
    assert "taks" in refused.stderr


@pytest.mark.parametrize(
    ("path", "body", "key", "status"),
    [
        ("/v1/models", None, "", 401),
        ("/v1/models", None, "hearth_aaaaaaaaaa_wrong", 401),
        ("/v1/chat/completions", {"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}, None, 404),
        ("/v1/chat/completions", {"model": "chat@nowhere", "messages": [{"role": "user", "content": "hi"}]}, None, 404),
        ("/v1/chat/completions", {"model": "chat"}, None, 400),
        ("/v1/chat/completions", [], None, 400),
        ("/v1/embeddings", {"model": "embed"}, None, 400),
        ("/v1/search", {"query": "x", "knowledge_bases": ["work"], "top_k": 0}, None, 400),
    ],
)
def test_a_wrong_call_gets_an_openai_shaped_error(
    cluster: Cluster, path: str, body: object, key: str | None, status: int
) -> None:
    got, error = cluster.failure("GET" if body is None else "POST", path, body, key=key)
    assert got == status, error
    assert error["message"]
    assert error["type"]


def test_a_prompt_beyond_the_context_is_a_400(cluster: Cluster) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "many words " * 20_000}]}
    status, error = cluster.failure("POST", "/v1/chat/completions", body)
    assert status == 400, error
    assert "context" in error["message"].lower()
