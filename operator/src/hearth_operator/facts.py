"""What was observed, as values: read by plan and status, made by clients and reconcile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from hearth_api.reasons import Reason
from hearth_api.wire.serve import ServeInfo
from hearth_api.wire.weights import SourceStatus


@dataclass(frozen=True, slots=True)
class RayNode:
    """One raylet."""

    node_id: str
    alive: bool
    labels: Mapping[str, str]
    cpus: float
    memory: int


@dataclass(frozen=True, slots=True)
class RayApp:
    """One Serve application as Ray sees it. `config` is what was put; None for an imperative one."""

    name: str
    status: str
    message: str = ""
    replicas: tuple[str, ...] = ()
    """Ids of running replicas, sorted."""
    importing: bool = False
    """Ray takes in what it was given, and names no deployment meanwhile: what ran goes on."""
    node_ids: tuple[str, ...] = ()
    """Raylets that they run on, sorted; a replica that has not told is left out."""
    config: dict[str, Any] | None = None


class Reach(StrEnum):
    """Whether an endpoint answers."""

    NOT_OBSERVED = "NotObserved"
    REACHABLE = "Reachable"
    OFFLINE = "Offline"
    REFUSED = "Refused"
    """It answered, and did not accept the token."""
    GARBLED = "Garbled"
    """It answered with something that is not Ray's API."""
    NO_SECRET = "NoSecret"
    """There is no token to ask it with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """What one Ray endpoint said last."""

    reach: Reach = Reach.NOT_OBSERVED
    message: str = ""
    version: str = ""
    raylets: tuple[RayNode, ...] = ()
    apps: Mapping[str, RayApp] = field(default_factory=dict)
    taken: str = ""
    """Why nothing is written there: another operator writes to the same Ray."""

    @property
    def reachable(self) -> bool:
        """Whether it answered the last time."""
        return self.reach is Reach.REACHABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """A managed node's pod. `failure` is a container's state that does not pass by itself."""

    exists: bool = False
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFacts:
    """What a variant's own routes said last."""

    info: ServeInfo | None = None
    alive: bool = False
    """It computed something: a probe succeeded, or its token counter grew."""
    error: str | None = None
    silent_since: float | None = None
    """Since when (monotonic clock) it gives no answer at all. None: it answers, be it with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFacts:
    """Weights that its machine must bring before a variant can start."""

    source: str
    there: bool
    told: SourceStatus | None = None
    """What the machine says of them; None: nothing yet."""
    trouble: str | None = None
    """Why the machine's downloads could not be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """How it stands with a machine's owner."""

    yields: bool
    reason: Reason
    message: str = ""
    asked: bool = True
    """Whether the machine told anything yet."""
    trouble: tuple[Reason, str] | None = None
    """Why the rules cannot be judged now."""
    untold: tuple[str, ...] = ()
    """Rules whose matter the machine cannot tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeFacts:
    """What is done to wake a machine. Everything but `acted` is of one that does not answer."""

    sender: str = ""
    sent: int = 0
    last_sent: datetime | None = None
    trouble: str = ""
    """Why the last try sent nothing."""
    pause_until: datetime | None = None
    """Until when nothing is sent although a model needs it."""
    claim: str = ""
    """Why it is left asleep although a model needs it."""
    acted: str | None = None
    """Value of the annotation that was acted upon last."""
    next_in: float | None = None
    """Seconds until the next try; None: none is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """How fresh a source is. `fresh` is None where nothing is scheduled or known."""

    knowledge_base: str
    fresh: bool | None = None
    last_success: datetime | None = None


NOT_ASKED = EndpointFacts()
NOTHING_SAID = ServingFacts()
