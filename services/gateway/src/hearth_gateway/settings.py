"""Configuration: environment variables with the prefix HEARTH_, read once at start."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field

from hearth_api.base import SnakeModel
from hearth_api.names import AUDIENCE_GATEWAY, AUDIENCE_KNOWLEDGE, SECRET_API_KEYS
from hearth_api.wire.keys import Priority
from hearth_common.kube import pod_namespace
from hearth_common.tokens import token_path

PREFIX = "HEARTH_"


class Timeouts(SnakeModel):
    """Seconds. They are the gateway's alone: Ray Serve is told of none."""

    connect: float = Field(default=5, gt=0)
    first_byte: float = Field(default=120, gt=0)
    between_tokens: float = Field(default=60, gt=0)
    total: float = Field(default=600, gt=0)
    knowledge: float = Field(default=30, gt=0)


class Limits(SnakeModel):
    """Sizes and waiting rooms."""

    body_bytes: int = Field(default=16 << 20, ge=1024)
    queue_per_model: int = Field(default=64, ge=1)
    queue_seconds_interactive: float = Field(default=30, gt=0)
    queue_seconds_normal: float = Field(default=60, gt=0)
    queue_seconds_background: float = Field(default=120, gt=0)

    def queue_seconds(self, priority: Priority) -> float:
        """Return how long a request of this class may wait for a slot."""
        if priority is Priority.INTERACTIVE:
            return self.queue_seconds_interactive
        return self.queue_seconds_normal if priority is Priority.NORMAL else self.queue_seconds_background


class Settings(SnakeModel):
    """Everything the gateway is told."""

    listen_host: str = "0.0.0.0"  # noqa: S104 (a container's only interface)
    listen_port: int = Field(default=8080, ge=0, le=65535)
    log_level: str = "INFO"
    namespace: str = "hearth"
    knowledge_url: str = "http://hearth-knowledge:8080"
    knowledge_token_path: str = str(token_path(AUDIENCE_KNOWLEDGE))
    audience: str = AUDIENCE_GATEWAY
    keys_secret: str = SECRET_API_KEYS
    public_url: str = ""
    """Where users reach the gateway, for links in citations; empty: paths without a host."""
    retrieval_top_k: int = Field(default=8, ge=1, le=100)
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Self:
        """Read HEARTH_* variables; a variable that is not set keeps the default. ValidationError names bad ones."""
        named = {name: env[PREFIX + name.upper()] for name in cls.model_fields if env.get(PREFIX + name.upper())}
        groups: dict[str, SnakeModel] = {
            "timeouts": Timeouts.model_validate(_group(Timeouts, env, prefix="TIMEOUT_")),
            "limits": Limits.model_validate(_group(Limits, env, prefix="LIMIT_")),
        }
        return cls.model_validate({**named, "namespace": pod_namespace(env), **groups})


def _group(model: type[SnakeModel], env: Mapping[str, str], *, prefix: str) -> dict[str, str]:
    names = {name: PREFIX + prefix + name.upper() for name in model.model_fields}
    return {name: env[variable] for name, variable in names.items() if env.get(variable)}
