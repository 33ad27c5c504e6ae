"""GGUF models through xllamacpp: llama.cpp's own server inside this process, with continuous batching.

Requests reach it over HTTP on a loopback port that demands a key made at start. Compared with its Python callbacks
this costs no thread and no lock per token, and closing a connection stops decoding. Two facts that shape the code:

- only streams are cancelled when their connection closes (a whole answer is computed to its end), so everything
  streams here and `hearth_serve.fold` makes whole answers;
- a prompt is read to its end even when its client is gone: cancelling takes effect at the first token.
"""

import json
import secrets
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import aiohttp

from hearth_api.wire.serve import ServeArgs, Task
from hearth_serve.engines.llama_asks import CallCollector, LlamaAsk, ask_chat, ask_completion
from hearth_serve.engines.protocol import Body, Embedded, EngineFacts, Reranked
from hearth_serve.errors import ApiError, StartError, context_exceeded, invalid
from hearth_serve.shapes.known import known_shape
from hearth_serve.sources import Weights, demand_magic, load_weights, locate

BATCH = 256
"""Tokens of a prompt per step: other slots decode between two steps. No slower than 2048 on CPU (measured)."""
FIRST_START_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class _Endpoint:
    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


class LlamaCppEngine:
    """Chat, completions and embeddings from one GGUF file."""

    def __init__(self, *, server: object, endpoint: _Endpoint, facts: EngineFacts, vocabulary: int) -> None:
        self.facts = facts
        self._vocabulary = vocabulary
        self.tokens_produced = 0
        self._server: object | None = server
        self._endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def load(cls, args: ServeArgs, *, threads: int) -> "LlamaCppEngine":
        """Find, check and load the file."""
        path = locate(args.model.source, pattern="*.gguf")
        demand_magic(path, b"GGUF", kind="GGUF")
        weights = load_weights(path, sha256=args.model.sha256)
        return cls.start(args, weights=weights, threads=threads)

    @classmethod
    def start(cls, args: ServeArgs, *, weights: Weights, threads: int) -> "LlamaCppEngine":
        """Start llama.cpp's server on weights that were checked."""
        import xllamacpp

        key = secrets.token_urlsafe(32)
        try:
            server = xllamacpp.Server(_parameters(args, weights=weights, threads=threads, key=key))
        except RuntimeError as error:
            raise StartError(f"llama.cpp cannot load {weights.path}: {_one_line(error)}.") from error
        endpoint = _Endpoint(server.listening_address, key)
        props = _get(endpoint, "/props")
        dimensions = None
        if args.task is Task.EMBED:
            dimensions = len(_get(endpoint, "/v1/embeddings", body={"input": "a"})["data"][0]["embedding"])
        facts = EngineFacts(
            version=f"xllamacpp {xllamacpp.__version__}",
            context_tokens=int(props["default_generation_settings"]["n_ctx"]),
            digest=weights.digest,
            dimensions=dimensions,
            shape=known_shape(weights.files),
        )
        vocabulary = int(_get(endpoint, "/v1/models")["data"][0]["meta"]["n_vocab"])
        return cls(server=server, endpoint=endpoint, facts=facts, vocabulary=vocabulary)

    def stream_chat(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        return self._answers("/v1/chat/completions", ask_chat(body, vocabulary=self._vocabulary))

    def stream_completion(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        return self._answers("/v1/completions", ask_completion(body, vocabulary=self._vocabulary))

    def _answers(self, path: str, ask: LlamaAsk) -> AsyncGenerator[bytes, None]:
        # What most requests are is handed over as it is: a generator around a generator costs every token.
        if len(ask.requests) == 1 and not ask.calls:
            return self._stream(path, ask.requests[0], schema_of=ask.schema_of)
        return self._composed(path, ask)

    async def _composed(self, path: str, ask: LlamaAsk) -> AsyncGenerator[bytes, None]:
        """Several answers one after the other, for each takes a slot; a call when it is whole."""
        last: dict[str, Any] = {}
        used = Counter[str]()
        for index, request in enumerate(ask.requests):
            collector = CallCollector() if ask.calls else None
            async with aclosing(self._stream(path, request, schema_of=ask.schema_of)) as chunks:
                async for raw in chunks:
                    chunk = json.loads(raw)
                    if not chunk.get("choices"):
                        last = chunk
                        used.update({k: v for k, v in (chunk.get("usage") or {}).items() if isinstance(v, int)})
                        continue
                    for choice in chunk["choices"]:
                        choice["index"] = index
                    if (made := collector.take(chunk) if collector is not None else chunk) is not None:
                        yield json.dumps(made, ensure_ascii=False).encode()
        # The prompt is one, however often it was read.
        prompt = used["prompt_tokens"] // len(ask.requests)
        total = prompt + used["completion_tokens"]
        usage = {"prompt_tokens": prompt, "completion_tokens": used["completion_tokens"], "total_tokens": total}
        yield json.dumps(last | {"usage": usage}, ensure_ascii=False).encode()

    async def _stream(self, path: str, request: Body, *, schema_of: str | None) -> AsyncGenerator[bytes, None]:
        async with self._open().post(path, json=request) as response:
            if response.status != 200:
                raise _api_error(response.status, await response.read(), schema_of=schema_of)
            unfinished = b""
            # Whole pieces, cut here: aiohttp's own lines cost more than all the rest of this loop.
            async for piece in response.content.iter_any():
                *lines, unfinished = (unfinished + piece).split(b"\n")
                for line in lines:
                    if not line.startswith(b"data: "):
                        if line.startswith(b"error: "):
                            raise _api_error(500, line[7:])
                        continue
                    data = line[6:].rstrip()
                    if data == b"[DONE]":
                        return
                    if data.startswith(b'{"error"'):
                        raise _api_error(500, data)
                    self.tokens_produced += _is_token(data)
                    yield data

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See the Protocol. Texts that do not fit are cut, as the other embedders do."""
        if self.facts.dimensions is None:
            raise invalid("This model chats; it does not embed.", param="model")
        tokens = [await self._tokenize(text) for text in texts]
        limit = self.facts.context_tokens
        truncated = tuple(n for n, ids in enumerate(tokens) if len(ids) > limit)
        # The last token closes the text ([SEP] or </s>): it stays when the text is cut.
        fitted = [ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]] for ids in tokens]
        async with self._open().post("/v1/embeddings", json={"input": fitted}) as response:
            raw = await response.read()
            if response.status != 200:
                raise _api_error(response.status, raw)
        answer = json.loads(raw)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        count = sum(len(ids) for ids in fitted)
        self.tokens_produced += count
        return Embedded(vectors=[row["embedding"] for row in rows], tokens=count, truncated=truncated)

    async def _tokenize(self, text: str) -> list[int]:
        async with self._open().post("/tokenize", json={"content": text, "add_special": True}) as response:
            raw = await response.read()
            if response.status != 200:
                raise _api_error(response.status, raw)
        ids: list[int] = json.loads(raw)["tokens"]
        return ids

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:  # made here because the session belongs to the loop that serves requests
            self._session = aiohttp.ClientSession(
                base_url=self._endpoint.url,
                headers=self._endpoint.headers,
                # llama.cpp closes connections after a stream: a fresh one each time costs 0.1 ms and never races that.
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                read_bufsize=2**20,
            )
        return self._session

    async def rerank(self, _query: object, _documents: object) -> Reranked:
        """Refuse: llama.cpp serves no cross-encoders here."""
        raise invalid("This engine does not rank: OnnxRuntime, Transformers and VLLM do.", param="model")

    async def close(self) -> None:
        """Close connections, then the server."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._server = None


def _parameters(args: ServeArgs, *, weights: Weights, threads: int, key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights.path)
    params.model_alias = {args.model_id}
    params.n_ctx = args.context_tokens * args.concurrency
    params.n_parallel = args.concurrency
    params.n_gpu_layers = args.gpu_layers
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.api_keys = [key]
    params.use_jinja = True
    params.fit_params = False  # what was declared holds, or loading fails: no silent smaller context
    params.cache_ram_mib = 0  # else up to 8 GiB of old prompts outside the declared memory
    params.ui = False
    params.verbosity = 0  # its log would hold prompts
    params.n_batch = params.n_ubatch = BATCH
    if args.cache_type is not None:
        kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{args.cache_type.value}")
        params.cache_type_k = params.cache_type_v = kind
    if args.task is Task.EMBED:
        params.embedding = True
        params.n_batch = params.n_ubatch = args.context_tokens  # a text is one step: attention looks both ways
    return params


def _get(endpoint: _Endpoint, path: str, *, body: Mapping[str, object] | None = None) -> Any:
    """Ask the fresh server from the thread that loads the model."""
    data = None if body is None else json.dumps(body).encode()
    headers = endpoint.headers | {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{endpoint.url}{path}", data=data, headers=headers)  # noqa: S310 own loopback
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=FIRST_START_TIMEOUT) as response:
            return json.load(response)
    except OSError as error:
        raise StartError(f"llama.cpp loaded the model but does not answer {path}: {_one_line(error)}.") from error


def _is_token(chunk: bytes) -> bool:
    """Tell a chunk with text (said, thought or called) from the first, the last, and the one with the usage."""
    said = b'content":"' in chunk or b'"text":"' in chunk
    return (said and b'content":""' not in chunk and b'"text":""' not in chunk) or b'"tool_calls"' in chunk


def _api_error(status: int, raw: bytes, *, schema_of: str | None = None) -> ApiError:
    """Translate llama.cpp's error bodies to OpenAI's."""
    try:
        error = json.loads(raw)["error"]
        message, kind, status = str(error["message"]), str(error["type"]), int(error["code"])
    except (ValueError, KeyError, TypeError):
        message, kind = "llama.cpp failed without an explanation.", "server_error"
    if kind == "exceed_context_size_error":
        return context_exceeded(f"The {message}.")
    if "input is not supported" in message:  # an image or a sound for a model that only reads text: not a fault of ours
        return invalid(message, param="messages")
    if status < 500:
        return ApiError(status, message, param=schema_of if "schema" in message else None)
    return ApiError(status, message, kind="server_error")


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
