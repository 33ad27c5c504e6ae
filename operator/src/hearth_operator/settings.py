"""Settings of the operator, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_KNOWLEDGE_URL = "http://hearth-knowledge:8080"
DEFAULT_MILVUS_IMAGE = "docker.io/milvusdb/milvus:v2.6.9"
DEFAULT_TOKEN_PATH = "/var/run/secrets/hearth/hearth-knowledge/token"


class SettingsError(Exception):
    """A variable that the operator cannot run without is missing or wrong."""

    def __init__(self, variable: str, problem: str) -> None:
        self.variable = variable
        super().__init__(f"{variable} {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Seconds between looks. Heartbeats are cheap and only metrics; status is written on change."""

    resync: float = 60.0
    heartbeat: float = 4.0
    heartbeat_timeout: float = 4.0
    nodes: float = 8.0
    loading: float = 2.0
    look: float = 4.0
    """Between two questions to a variant that answers."""
    look_again: float = 1.0
    """After one that it did not answer."""
    look_timeout: float = 3.0
    probe: float = 4.0
    """An idle variant proves itself again after this."""
    probe_timeout: float = 4.0
    """Or four times as long as its last probe took."""
    first_probe_timeout: float = 30.0
    stalled: float = 300.0
    """Busy for so long without one token is a hang, and no long prompt."""
    catalog: float = 10.0
    knowledge: float = 10.0
    knowledge_busy: float = 2.0
    not_yet: float = 15.0
    unreachable_first: float = 2.0
    unreachable_most: float = 10.0
    re_put: float = 10.0
    retry_first: float = 60.0
    retry_most: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds after which something counts as stuck, and only a restart helps. Every call has its own limit."""

    longest_pass: float = 900.0
    """One pass: longer than erasing a knowledge base may take."""
    untaken: float = 60.0
    """A key is due and no worker has taken any."""
    silence: float = 60.0
    """The watches' loop does not turn."""
    lag: float = 15.0
    """The workers' loop turns late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the operator runs and what it starts."""

    namespace: str
    control_image: str
    serve_image: str
    image_pull_policy: str = "IfNotPresent"
    knowledge_url: str = DEFAULT_KNOWLEDGE_URL
    knowledge_token_path: str = DEFAULT_TOKEN_PATH
    egress_url: str | None = None
    """CONNECT proxy of live accounts; None: they connect directly."""
    milvus_image: str = DEFAULT_MILVUS_IMAGE
    """Of knowledge bases with a managed store."""
    storage_class: str | None = None
    mirror_url: str | None = None
    """Where machines outside the cluster reach the mirror of weights; None: there is none, and they ask the world."""
    http_port: int = 8080
    intervals: Intervals = Intervals()
    bounds: Bounds = Bounds()

    @property
    def has_mirror(self) -> bool:
        """Whether weights come to pods too: they ask the mirror's Service."""
        return self.mirror_url is not None


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Return settings from `HEARTH_*` variables; raises SettingsError."""

    def need(variable: str) -> str:
        value = environ.get(variable, "")
        if not value:
            raise SettingsError(variable, "is not set")
        return value

    port = environ.get("HEARTH_HTTP_PORT", "8080")
    if not port.isdigit():
        raise SettingsError("HEARTH_HTTP_PORT", f"is not a port number: {port!r}")
    return Settings(
        namespace=need("HEARTH_NAMESPACE"),
        control_image=need("HEARTH_CONTROL_IMAGE"),
        serve_image=need("HEARTH_SERVE_IMAGE"),
        image_pull_policy=environ.get("HEARTH_IMAGE_PULL_POLICY") or "IfNotPresent",
        knowledge_url=(environ.get("HEARTH_KNOWLEDGE_URL") or DEFAULT_KNOWLEDGE_URL).rstrip("/"),
        knowledge_token_path=environ.get("HEARTH_KNOWLEDGE_TOKEN_PATH") or DEFAULT_TOKEN_PATH,
        egress_url=(environ.get("HEARTH_EGRESS_URL") or "").rstrip("/") or None,
        milvus_image=environ.get("HEARTH_MILVUS_IMAGE") or DEFAULT_MILVUS_IMAGE,
        mirror_url=(environ.get("HEARTH_MIRROR_URL") or "").rstrip("/") or None,
        storage_class=environ.get("HEARTH_STORAGE_CLASS") or None,
        http_port=int(port),
    )
