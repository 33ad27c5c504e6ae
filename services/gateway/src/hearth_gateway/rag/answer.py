"""Retrieval for one chat request: search, select, prompt; later the citations of its answer."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hearth_api.wire.knowledge import NotReranked, SearchHit, SearchRequest
from hearth_gateway.catalog.model import Model
from hearth_gateway.errors import BadRequestError
from hearth_gateway.knowledge import Knowledge
from hearth_gateway.rag.cite import annotations, cite, details
from hearth_gateway.rag.prompt import build_messages, search_query, text_of
from hearth_gateway.rag.select import Passage, context_budget, merge, select
from hearth_gateway.rag.text import estimate_tokens
from hearth_gateway.request import OWN_FIELDS, Ask, max_tokens, message_list

MESSAGE_OVERHEAD = 8
RULES_TOKENS = 100


class ContextTooLongError(BadRequestError):
    """The conversation leaves no room for passages."""

    code = "context_length_exceeded"


@dataclass(frozen=True, slots=True)
class Grounded:
    """A chat request with its passages. `body` is what the model gets."""

    body: bytes
    passages: tuple[Passage, ...]
    question: str

    def attach(self, answer: Mapping[str, Any], *, base: str, variant: str, degraded: bool) -> bytes:
        """Return the answer with annotations in each choice's message and Hearth's detail beside them."""
        choices = []
        first = ""
        for number, choice in enumerate(answer.get("choices") or ()):
            message = dict(choice.get("message") or {})
            text = text_of(message)
            first = text if number == 0 else first
            found = cite(text, passages=self.passages, question=self.question)
            message["annotations"] = annotations(found, answer=text, base=base)
            choices.append({**choice, "message": message})
        hearth = self._hearth(first, variant=variant, degraded=degraded)
        return json.dumps({**answer, "choices": choices, "hearth": hearth}).encode()

    def last_chunk(
        self, texts: Mapping[int, str], *, head: Mapping[str, Any], base: str, variant: str, degraded: bool
    ) -> dict[str, Any]:
        """Return the chunk that goes before `[DONE]`."""
        choices = []
        for index, text in texts.items():
            found = cite(text, passages=self.passages, question=self.question)
            delta = {"annotations": annotations(found, answer=text, base=base)}
            choices.append({"index": index, "delta": delta, "finish_reason": None})
        first = next(iter(texts.values()), "")
        hearth = self._hearth(first, variant=variant, degraded=degraded)
        return {**head, "object": "chat.completion.chunk", "choices": choices, "hearth": hearth}

    def _hearth(self, text: str, *, variant: str, degraded: bool) -> dict[str, Any]:
        found = cite(text, passages=self.passages, question=self.question)
        return {"citations": details(found), "variant": variant, "degraded": degraded}


@dataclass(frozen=True, slots=True)
class Found:
    """Hits of several knowledge bases, best first; per knowledge base whose reranker did not order them, why."""

    hits: list[SearchHit]
    unranked: Mapping[str, str]


async def search_all(knowledge: Knowledge, *, names: Sequence[str], request: SearchRequest) -> Found:
    """Search several knowledge bases at once and interleave their results; the first error ends all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(knowledge.search(name, request=request)) for name in names]
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    answers = {name: task.result() for name, task in zip(names, tasks, strict=True)}
    return Found(
        hits=merge(
            [
                [hit.model_copy(update={"knowledge_base": name}) for hit in answer.results]
                for name, answer in answers.items()
            ]
        ),
        unranked={
            name: answer.rerank_reason or NotReranked.NOT_CONFIGURED  # a release before it was one says nothing
            for name, answer in answers.items()
            if not answer.reranked
        },
    )


async def ground(
    ask: Ask, *, knowledge_bases: Sequence[str], model: Model, knowledge: Knowledge, default_top_k: int
) -> Grounded:
    """Search all knowledge bases at once and build the prompt.

    Raises
    ------
    BadRequestError
        No message to search for, or no room for passages.
    GatewayError
        What the knowledge client raises.

    """
    messages = message_list(ask.payload)
    query = search_query(messages)
    if query is None:
        raise BadRequestError("There is no message of the user to search for.", param="messages")
    used = sum(estimate_tokens(text_of(message)) + MESSAGE_OVERHEAD for message in messages)
    budget = context_budget(model, prompt_tokens=used + RULES_TOKENS, max_tokens=max_tokens(ask.payload))
    if budget == 0:
        raise ContextTooLongError("The conversation and max_tokens leave no room for passages.", param="messages")
    request = SearchRequest(
        query=query,
        top_k=ask.knowledge.top_k or default_top_k,
        mode=ask.knowledge.search_mode,
        filters=ask.knowledge.filters,
        as_of=ask.knowledge.as_of,
    )
    found = await search_all(knowledge, names=knowledge_bases, request=request)
    passages = select(found.hits, budget=budget)
    payload = {name: value for name, value in ask.payload.items() if name not in OWN_FIELDS}
    payload |= {"model": model.name, "messages": build_messages(messages, passages=passages)}
    return Grounded(body=json.dumps(payload).encode(), passages=passages, question=query)
