"""What the operator remembers between passes. Everything in it can be found out again: a restart loses nothing."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hearth_api.reasons import Reason
from hearth_api.wire.machine import MachineFacts
from hearth_api.wire.weights import MirrorAccess, WantedWeights, WeightsReport
from hearth_operator.clients.model import Access
from hearth_operator.facts import NOT_ASKED, NOTHING_SAID, EndpointFacts, RayApp, ServingFacts, SourceFacts
from hearth_operator.plan.failback import Memory
from hearth_operator.plan.guest import Stay
from hearth_operator.plan.revisions import Record, Setback
from hearth_operator.plan.wake_on_lan import Waking

HOSTING = Stay()


@dataclass(slots=True)
class FailedApp:
    """An application that Ray gave up. It is shown as failed until it serves, also while it is tried again."""

    app: RayApp
    tries: int
    next_at: float


@dataclass(slots=True)
class EndpointState:
    """One Ray endpoint. Only the holder of `lock` puts documents."""

    facts: EndpointFacts = NOT_ASKED
    misses: int = 0
    heard_at: float = float("-inf")
    """When (monotonic clock) the last question was sent that was answered."""
    raylets_at: float = float("-inf")
    dirty: bool = True
    version: int = 0
    """Counts what changed of what matters to others."""
    last_digest: str | None = None
    put_at: float = float("-inf")
    error: str | None = None
    """Why Ray refused the last document."""
    failed: dict[str, FailedApp] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    """By application, as its model's ConfigMap has it."""
    begun: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Application -> (fingerprint of the revision that Ray was given, when by the monotonic clock)."""
    marks: dict[str, str] = field(default_factory=dict)
    """Application -> fingerprint of the revision that is wanted now."""
    refused: dict[str, Setback] = field(default_factory=dict)
    """Revisions that Ray, or our own check, did not take."""
    unputtable: set[str] = field(default_factory=set)
    """Fingerprints of all revisions that Ray refused: also a former good one is not put twice in vain."""
    setbacks: dict[str, Setback] = field(default_factory=dict)
    """Why the wanted revision of an application is not put: for its status."""
    astray: dict[str, str] = field(default_factory=dict)
    """Applications that Ray keeps otherwise than they were put."""
    waiting: dict[str, float] = field(default_factory=dict)
    """Since when a change waits for another variant, by the monotonic clock."""
    nodes: set[str] = field(default_factory=set)
    token: Access | str | None = None
    serve_url: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class ServingState:
    """One variant's own routes, as the task that watches them found them. Times are by the monotonic clock."""

    facts: ServingFacts = NOTHING_SAID
    replicas: tuple[str, ...] = ()
    target: tuple[str, str] = ("", "")
    """Serve URL and name of the Secret that it is asked with."""
    task: asyncio.Task[None] | None = None
    access: Access | None = None
    tokens: dict[int, int] = field(default_factory=dict)
    """Counter of each replica by process id: Serve gives every question to another one."""
    alive_at: float = float("-inf")
    """Of the last proof."""
    alive_since: float | None = None
    alive_from: datetime | None = None
    """The same by the wall clock, for people."""
    busy_since: float | None = None
    """Since when slots are busy and no token came."""
    took: float = 0.0
    """Seconds of the last probe."""
    misses: int = 0
    silent_since: float | None = None
    proven: bool = False
    """These replicas computed something before, or the status of an earlier operator says so."""
    suspect: bool = False
    """It was asked to compute and did not: only a proof makes it good."""
    settled: bool = False
    """Whether `facts` are an answer, and not just empty."""


@dataclass(slots=True)
class WeightsWatch:
    """One machine's downloads, as the task that watches them found them."""

    url: str
    report: WeightsReport | None = None
    """None: it has not answered yet."""
    models: frozenset[str] = frozenset()
    """ModelDeployments that wait for them, or were started from them."""
    wanted: frozenset[WantedWeights] = frozenset()
    """What was ordered last."""
    access: Access | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class GuestWatch:
    """One machine outside the cluster, as the task that watches it found it."""

    url: str
    stay: Stay = field(default_factory=Stay)
    facts: MachineFacts | None = None
    trouble: tuple[Reason, str] | None = None
    """Why the rules cannot be judged; what was decided before stays."""
    access: Access | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class WakeWatch:
    """What was done to wake one machine."""

    waking: Waking = field(default_factory=Waking)
    acted: str | None = None
    """Value of the annotation that was acted upon last."""
    news: str = ""
    """What an Event has to tell yet."""
    counts: dict[str, int] = field(default_factory=dict)
    """Tries by result, since this process runs."""


@dataclass(slots=True)
class World:
    """All of it."""

    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    serving: dict[str, ServingState] = field(default_factory=dict)
    weights: dict[str, WeightsWatch] = field(default_factory=dict)
    """By node, where something must be brought."""
    mirror: MirrorAccess | None = None
    """What machines are told of the mirror; None: not read yet, or there is none."""
    guests: dict[str, GuestWatch] = field(default_factory=dict)
    """By node, of machines outside the cluster."""
    wakes: dict[str, WakeWatch] = field(default_factory=dict)
    """By node, of machines that can be woken."""
    failback: dict[str, Memory] = field(default_factory=dict)
    """uid of a model -> who served, and who came and went."""
    rollouts: dict[tuple[str, str], tuple[int | None, float]] = field(default_factory=dict)
    """(uid, variant) -> (generation, when it began by the monotonic clock)."""
    known: dict[str, set[str]] = field(default_factory=dict)
    """Names of resources by kind, from watching."""
    uses: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """(kind, name) of a knowledge base or source -> the models or knowledge base that it names, from watching."""
    fleet_seen: Mapping[Any, object] = field(default_factory=dict)
    """Key -> what it saw of the fleet when that was last looked at."""
    fleet_at: float = float("-inf")
    fleet_whole_at: float = float("-inf")
    """When (monotonic clock) the fleet was last looked at, and all documents computed anew."""
    owner: str = ""
    """Mark on everything that this release writes to Ray; empty: not read yet."""
    configured: dict[str, str] = field(default_factory=dict)
    """Knowledge base -> digest of the configuration that the service has."""
    certificates: dict[str, float] = field(default_factory=dict)
    """Joined machine -> when (monotonic clock) its certificate is looked at again."""
    sources: dict[str, SourceFacts] = field(default_factory=dict)
    """Source -> how fresh it is, as its last pass found."""

    def endpoint_of(self, node: str) -> EndpointState | None:
        """Return the endpoint of a node."""
        return next((e for e in self.endpoints.values() if node in e.nodes), None)

    def stay(self, node: str) -> Stay:
        """Return how it stands with a node's owner."""
        watch = self.guests.get(node)
        return watch.stay if watch is not None else HOSTING

    def names(self, kind: str) -> Iterable[str]:
        """Return the known resources of a kind."""
        return sorted(self.known.get(kind, ()))

    def users(self, kind: str, *, of: str) -> Iterable[str]:
        """Return the known resources of a kind that name another one, or might."""
        return [name for name in self.names(kind) if of in self.uses.get((kind, name), (of,))]

    def make_dirty(self) -> None:
        """Have every endpoint's document computed again."""
        for endpoint in self.endpoints.values():
            endpoint.dirty = True
