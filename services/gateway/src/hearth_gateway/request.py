"""What a body asks for. Only what the gateway needs is read; the rest is the model's business."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Never

from pydantic import Field, ValidationError

from hearth_api.base import SnakeModel
from hearth_api.wire.knowledge import SearchFilters, SearchMode
from hearth_gateway.errors import BadRequestError

OWN_FIELDS = ("knowledge_bases", "filters", "as_of", "top_k", "search_mode")
MAX_KNOWLEDGE_BASES = 16


class KnowledgeAsk(SnakeModel):
    """Hearth's own fields of a chat body."""

    knowledge_bases: tuple[str, ...] = Field(default=(), max_length=MAX_KNOWLEDGE_BASES)
    filters: SearchFilters = SearchFilters()
    as_of: datetime | None = None
    top_k: int | None = Field(default=None, ge=1, le=100)
    search_mode: SearchMode = SearchMode.HYBRID


@dataclass(frozen=True, slots=True)
class Ask:
    """A parsed body. `raw` may travel on as it is when `untouched`."""

    raw: bytes
    payload: Mapping[str, Any]
    model: str
    stream: bool
    knowledge: KnowledgeAsk

    @property
    def untouched(self) -> bool:
        """Whether the body has no field that is Hearth's own."""
        return not any(name in self.payload for name in OWN_FIELDS)


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. BadRequestError for anything else."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("The request body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise BadRequestError("The request body must be a JSON object.")
    return value


def parse_ask(raw: bytes) -> Ask:
    """Read model, stream and Hearth's own fields."""
    payload = parse_object(raw)
    model = payload.get("model")
    if not isinstance(model, str) or not model.strip():
        raise BadRequestError("The field 'model' must be the name of a model.", param="model")
    stream = payload.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BadRequestError("The field 'stream' must be true or false.", param="stream")
    own = {name: payload[name] for name in OWN_FIELDS if payload.get(name) is not None}
    knowledge = KnowledgeAsk()
    if own:
        try:
            # From JSON, so that text becomes dates and enums as on any other edge.
            knowledge = KnowledgeAsk.model_validate_json(json.dumps(own))
        except ValidationError as error:
            raise bad_fields(error) from error
    return Ask(raw=raw, payload=payload, model=model, stream=bool(stream), knowledge=knowledge)


def bad_fields(error: ValidationError) -> BadRequestError:
    """Turn pydantic's first complaint into an OpenAI error that names the field and never repeats its value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])[:120] or None
    where = f"The field '{name}'" if name else "The body"
    return BadRequestError(f"{where} is wrong: {first['msg'][:200]}.", param=name)


def message_list(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return `messages`; BadRequestError unless it is a non-empty list of objects."""
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        raise BadRequestError("The field 'messages' must be a list of messages.", param="messages")
    return messages


def max_tokens(payload: Mapping[str, Any]) -> int | None:
    """Return the answer's limit under either of OpenAI's names."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = payload.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
