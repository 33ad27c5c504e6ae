"""Base classes of all models.

`StrictModel` refuses unknown fields: what a person or another part of this release wrote.
`LenientModel` ignores them: what comes from the API server, where a newer release may have written
fields that this one does not know, and a rollback must still work.
"""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class StrictModel(BaseModel):
    """Frozen, camelCase in JSON, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid"
    )

    def to_json_object(self) -> dict[str, object]:
        """Return the JSON object with aliases, without fields that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class LenientModel(StrictModel):
    """As `StrictModel`, but unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")


class SnakeModel(BaseModel):
    """Frozen, snake_case in JSON as OpenAI's API has it, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json_object(self) -> dict[str, object]:
        """Return the JSON object, without fields that are None."""
        return self.model_dump(mode="json", exclude_none=True)


class LenientSnakeModel(SnakeModel):
    """As `SnakeModel`, but unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")
