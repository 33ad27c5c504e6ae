"""OpenAI's request bodies: checked here, once for all engines, so that each engine sees known fields of known types."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hearth_api.wire.serve import ServeTunables
from hearth_serve.errors import StartError, invalid

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant. Answer truthfully and briefly."
"""Sent when a chat has no system message: the quickstart's small model talks nonsense without one."""
MAX_TEXTS = 2048
"""Texts per embeddings request, as OpenAI has it."""

MAX_DOCUMENTS = 1000
"""Per rerank request, as Cohere has it."""

Text = Annotated[str, Field(min_length=1)]


class _Body(BaseModel):
    # Unknown fields are dropped: llama.cpp has options (slots, adapters, files) that are not for callers.
    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Return the body. Raises ApiError 400 that names the field."""
        try:
            return cls.model_validate(json.loads(raw))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = str(first["loc"][0]) if first["loc"] else None
            raise invalid(f"{where or 'The body'}: {first['msg']}.", param=where) from error
        except (ValueError, RecursionError) as error:
            raise invalid("The body is not JSON.") from error


class StreamOptions(_Body):
    """How a stream ends."""

    include_usage: bool = False


class GenerateRequest(_Body):
    """What chat and completions share."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=4)] | None = None
    seed: int | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    logit_bias: dict[str, float] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def for_engine(self, tunables: ServeTunables) -> dict[str, Any]:
        """Return what the engine computes from, with the deployment's defaults in the gaps."""
        body = self.model_dump(exclude_none=True, exclude={"stream", "stream_options", "max_completion_tokens"})
        for name in ("temperature", "top_p", "max_tokens"):
            default = getattr(tunables, name)
            if default is not None:
                body.setdefault(name, default)
        return body


class Message(BaseModel):
    """One message of a chat. Other fields (name, tool_calls, tool_call_id) pass through."""

    model_config = ConfigDict(frozen=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(GenerateRequest):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    continue_final_message: bool | None = None
    """Go on from the last message, which must be the assistant's; only what is added comes back."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _final_message(self) -> Self:
        if self.continue_final_message and self.messages[-1].role != "assistant":
            raise ValueError("continue_final_message demands that the last message is the assistant's")
        return self

    def for_engine(self, tunables: ServeTunables) -> dict[str, Any]:
        """Return the body with a system message and one name for the token limit."""
        body = super().for_engine(tunables)
        if self.max_completion_tokens is not None:
            body["max_tokens"] = self.max_completion_tokens
        if not any(message.role in ("system", "developer") for message in self.messages):
            prompt = DEFAULT_SYSTEM_PROMPT if tunables.system_prompt is None else tunables.system_prompt
            if prompt:
                body["messages"] = [{"role": "system", "content": prompt}, *body["messages"]]
        return body


class CompletionRequest(GenerateRequest):
    """`POST /v1/completions`."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]

    def for_engine(self, tunables: ServeTunables) -> dict[str, Any]:
        """Return the body with the prompt as one text."""
        prompt = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        return super().for_engine(tunables) | {"prompt": prompt}


class EmbeddingRequest(_Body):
    """`POST /v1/embeddings`."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: Literal["query", "document"] = "document"
    """Which of the deployment's prefixes goes before each text."""

    def texts(self, tunables: ServeTunables) -> list[str]:
        """Return the texts to embed."""
        prefix = tunables.query_prefix if self.input_type == "query" else tunables.document_prefix
        given = [self.input] if isinstance(self.input, str) else self.input
        return [f"{prefix}{text}" for text in given]


class RerankDocument(_Body):
    """A document as some clients send it."""

    text: Text


class RerankRequest(_Body):
    """`POST /v1/rerank`, as Jina, Cohere and vLLM have it."""

    query: Text
    documents: Annotated[list[Text | RerankDocument], Field(min_length=1, max_length=MAX_DOCUMENTS)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False

    def texts(self) -> list[str]:
        """Return the documents' texts."""
        return [each if isinstance(each, str) else each.text for each in self.documents]


Args = TypeVar("Args", bound=BaseModel)


def parse_settings(model: type[Args], given: Mapping[str, Any], *, what: str) -> Args:
    """Return arguments or tunables of an application. Raises StartError in one sentence."""
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StartError(f"{what} field {where!r}: {first['msg']}.") from error


def demand_dimensions(request: EmbeddingRequest, *, dimensions: int | None) -> None:
    """Refuse another vector length than the model has."""
    if request.dimensions is not None and request.dimensions != dimensions:
        raise invalid(f"This model has {dimensions} dimensions, not {request.dimensions}.", param="dimensions")
