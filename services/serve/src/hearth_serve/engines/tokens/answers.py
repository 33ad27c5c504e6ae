"""Chat and completions of the Protocol over any source of tokens: the same behaviour for Transformers, VLLM and MLX."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from hearth_serve.engines.chunks import Stops, encode_chunk
from hearth_serve.engines.protocol import Body, EngineFacts
from hearth_serve.engines.tokens.calls import CALL_TOKENS, Tools, read_tools
from hearth_serve.engines.tokens.constraints import Constraints, read_schema
from hearth_serve.engines.tokens.detokenize import Detokenizer
from hearth_serve.engines.tokens.job import (
    Job,
    Sampling,
    TokenSource,
    mapping,
    number,
    read_sampling,
    sequence,
    stop_texts,
)
from hearth_serve.engines.tokens.templates import ChatTemplate
from hearth_serve.engines.tokens.vocabulary import Vocabulary
from hearth_serve.engines.tokens.writer import Kind, Writer, new_head
from hearth_serve.errors import context_exceeded, invalid

DEFAULT_MAX_TOKENS = 512
"""Where neither the request nor the deployment says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """One request, read."""

    prompt: tuple[int, ...]
    sampling: Sampling
    stops: tuple[str, ...]
    count: int
    tools: Tools
    schema: str | None
    kind: Kind


class Answers:
    """What an engine answers with, given tokens."""

    def __init__(
        self,
        *,
        model_id: str,
        facts: EngineFacts,
        source: TokenSource,
        words: Vocabulary,
        template: ChatTemplate | None,
        constraints: Constraints,
    ) -> None:
        self.tokens_produced = 0
        self._model_id = model_id
        self._facts = facts
        self._source = source
        self._words = words
        self._template = template
        self._constraints = constraints

    async def stream_chat(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        ask = await asyncio.to_thread(self._read_chat, body)
        async with aclosing(self._stream(body, ask)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stream_completion(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        prompt = self._words.encode(str(body["prompt"]), special=True)
        ask = self._ask(body, prompt=prompt, tools=Tools(), schema=None, kind="text_completion")
        async with aclosing(self._stream(body, ask)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def check(self) -> None:
        """Raise EngineFailedError where the engine computes no more."""
        self._source.check()

    async def close(self) -> None:
        """See the Protocol."""
        await self._source.close()
        if self._template is not None:
            await asyncio.to_thread(self._template.close)

    def _read_chat(self, body: Body) -> _Ask:
        if self._template is None:
            raise invalid("This model has no chat template.", param="model")
        tools = read_tools(sequence(body.get("tools")), body.get("tool_choice"))
        schema = read_schema(mapping(body.get("response_format")))
        messages = [plain_message(message) for message in sequence(body["messages"])]
        if tools.given and not self._template.knows_tools:
            messages = told_of(tools, messages)
        text = self._template.render(
            messages,
            tools=tools.given if self._template.knows_tools else (),
            options=_options(body),
            go_on=bool(body.get("continue_final_message")),
        )
        if tools.forced:
            schema = _as_json(tools.schema())
        prompt = self._words.encode(text, special=False)
        return self._ask(body, prompt=prompt, tools=tools, schema=schema, kind="chat.completion.chunk")

    def _ask(self, body: Body, *, prompt: tuple[int, ...], tools: Tools, schema: str | None, kind: Kind) -> _Ask:
        if schema is not None:
            self._constraints.matcher(schema)  # what cannot be kept to is refused before anything is computed
        return _Ask(
            prompt=prompt,
            sampling=read_sampling(body, vocabulary=self._words.size),
            stops=tuple(stop_texts(body)),
            count=int(number(body, "n", 1)),
            tools=tools,
            schema=schema,
            kind=kind,
        )

    async def _stream(self, body: Body, ask: _Ask) -> AsyncGenerator[bytes, None]:
        room = self._facts.context_tokens - len(ask.prompt)
        if room < 1 or not ask.prompt:
            given = len(ask.prompt)
            where = "messages" if ask.kind == "chat.completion.chunk" else "prompt"
            if not given:
                raise invalid("The prompt is empty.", param=where)
            raise context_exceeded(
                f"The request has {given} tokens; the context is {self._facts.context_tokens} with the answer.",
                param=where,
            )
        job = Job(
            prompt=ask.prompt,
            limit=min(int(number(body, "max_tokens", DEFAULT_MAX_TOKENS)), room),
            ends=self._words.ends,
            sampling=ask.sampling,
            schema=ask.schema,
        )
        head = new_head(ask.kind, model=self._model_id)
        counted = [0]
        if ask.count == 1:
            async with aclosing(self._choice(job, ask, head, index=0, counted=counted)) as chunks:
                async for chunk in chunks:
                    yield chunk
        else:
            async with aclosing(self._choices(job, ask, head, counted=counted)) as chunks:
                async for chunk in chunks:
                    yield chunk
        used = {
            "prompt_tokens": len(ask.prompt),
            "completion_tokens": counted[0],
            "total_tokens": len(ask.prompt) + counted[0],
        }
        yield encode_chunk(head | {"usage": used}, [])

    async def _choice(
        self, job: Job, ask: _Ask, head: dict[str, object], *, index: int, counted: list[int]
    ) -> AsyncGenerator[bytes, None]:
        writer = self._writer(job, ask, head, index=index)
        produced, last = 0, None
        async with aclosing(self._source.generate(job)) as tokens:
            async for token in tokens:
                if not produced:
                    yield writer.first()
                produced, last = produced + 1, token.id
                counted[0] += 1
                self.tokens_produced += 1
                if token.id in job.ends:
                    break
                for chunk in writer.push(token):
                    yield chunk
                if writer.stopped:
                    break
        if not produced:
            yield writer.first()
        cut = produced >= job.limit and last not in job.ends and not writer.stopped
        for chunk in writer.end("length" if cut else "stop"):
            yield chunk

    async def _choices(
        self, job: Job, ask: _Ask, head: dict[str, object], *, counted: list[int]
    ) -> AsyncGenerator[bytes, None]:
        """Several answers to one prompt, each with a seed of its own, as they come."""
        merged: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()

        async def run(index: int) -> None:
            sampling = job.sampling
            if sampling.seed is not None:
                sampling = replace(sampling, seed=sampling.seed + index)
            try:
                chunks = self._choice(replace(job, sampling=sampling), ask, head, index=index, counted=counted)
                async with aclosing(chunks) as running:
                    async for chunk in running:
                        merged.put_nowait(chunk)
                merged.put_nowait(None)
            except Exception as error:  # noqa: BLE001 told to the one who reads all of them
                merged.put_nowait(error)

        tasks = [asyncio.create_task(run(index)) for index in range(ask.count)]
        try:
            async for chunk in _until(merged, ends=ask.count):
                yield chunk
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _writer(self, job: Job, ask: _Ask, head: dict[str, object], *, index: int) -> Writer:
        skip = self._words.special - (self._words.named(CALL_TOKENS) if ask.tools.given else frozenset())
        return Writer(
            head=head,
            index=index,
            text=Detokenizer(self._words.decode, prompt=job.prompt, skip=skip),
            stops=Stops(ask.stops),
            tools=ask.tools,
            spell=self._words.spell if ask.sampling.logprobs is not None else None,
        )


async def _until(merged: "asyncio.Queue[bytes | BaseException | None]", *, ends: int) -> AsyncIterator[bytes]:
    while ends:
        item = await merged.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            ends -= 1
        else:
            yield item


def _options(body: Body) -> dict[str, Any]:
    reserved = {"messages", "tools", "add_generation_prompt"}
    return {name: value for name, value in mapping(body.get("chat_template_kwargs")).items() if name not in reserved}


def _as_json(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema)


def told_of(tools: Tools, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Describe the tools in the system message, and write calls and results of before as text."""
    plain: list[dict[str, Any]] = []
    for message in messages:
        role, content = message.get("role"), str(message.get("content") or "")
        if role == "tool":
            plain.append({"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"})
        elif message.get("tool_calls"):
            plain.append({"role": "assistant", "content": content + _written(message["tool_calls"])})
        else:
            plain.append(message)
    first = plain[0] if plain and plain[0].get("role") in ("system", "developer") else None
    text = tools.described()
    if first is None:
        return [{"role": "system", "content": text}, *plain]
    return [{**first, "content": f"{first.get('content') or ''}\n\n{text}"}, *plain[1:]]


def _written(calls: object) -> str:
    lines = []
    for call in sequence(calls):
        function = mapping(mapping(call).get("function"))
        made = f'{{"name": "{function.get("name")}", "arguments": {_arguments(function)}}}'
        lines.append(f"\n<tool_call>\n{made}\n</tool_call>")
    return "".join(lines)


def _arguments(function: Mapping[str, Any]) -> str:
    given = function.get("arguments") or {}
    return given if isinstance(given, str) else _as_json(given)


def plain_message(message: object) -> dict[str, Any]:
    """Templates of text models take text only: parts are joined, an image is refused. Arguments become objects."""
    fields = dict(mapping(message))
    content = fields.get("content")
    if isinstance(content, list):
        if any(not isinstance(part, Mapping) or part.get("type") != "text" for part in content):
            raise invalid("This model reads text only.", param="messages")
        fields["content"] = "".join(str(part.get("text", "")) for part in content)
    elif content is None and not fields.get("tool_calls"):
        fields["content"] = ""
    return fields
