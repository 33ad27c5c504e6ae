"""How a new revision of an application comes to its node: beside the old one where both fit, else in its place.

Ray stops the old replica before the new one is ready unless it may surge; then both are in memory for a while.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hearth_api.kinds import InferenceNode
from hearth_api.quantities import to_millicores
from hearth_api.reasons import Reason
from hearth_operator.facts import RayApp, RayNode
from hearth_operator.plan.capacity import Placement, allocatable, planned_memory
from hearth_operator.plan.revisions import (
    Application,
    Record,
    Setback,
    carries,
    plain,
    reloads,
    replicas_of,
    surge_of,
)

OLDEST_SURGE = (2, 60)
"""The first Ray that knows max_surge_percent; older ones ignore it."""


class Way(StrEnum):
    """How a change is carried out."""

    NOTHING = "nothing to do"
    DEPLOY = "deploy"
    IN_PLACE = "change in place"
    SURGE = "start the new one beside the old one"
    SWAP = "take the old one away first"
    WAIT = "wait for another variant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do about one application, with a sentence."""

    way: Way
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """Another variant of the same model. `order`: its place in the spec; `settled`: nothing of it is to change."""

    app: str
    order: int
    able: bool
    serves: bool
    settled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is planned on a node beside the copy that a surge needs. `extra` are copies of surges under way."""

    millicores: int
    gpus: int
    memory: int
    extra_memory: int = 0
    extra_millicores: int = 0


def load_of(node: str, variants: Iterable[tuple[Any, Placement]]) -> Load:
    """Return what (variant, placement) pairs plan on a node."""
    here = [(v, p) for v, p in variants if p.fits and p.node == node]
    return Load(
        millicores=sum(to_millicores(v.resources.cpu) * v.replicas for v, _ in here),
        gpus=sum(v.resources.gpus * v.replicas for v, _ in here),
        memory=planned_memory((p for _, p in here), node),
    )


def copy_memory(old: Application, new: int | None) -> int | None:
    """Return the bytes of the old copy: what it was started with, or what the new one, all replicas, is to need."""
    declared = (old.get("args") or {}).get("memoryBytes")
    started = declared * replicas_of(old) if isinstance(declared, int) else None
    sizes = [s for s in (started, new) if s is not None and s > 0]
    return max(sizes) if sizes else None


def fits_twice(
    old: Application, node: InferenceNode, load: Load, *, memory: int | None, raylets: Sequence[RayNode]
) -> bool:
    """Whether the old copy fits beside everything planned on its node.

    What is not known does not fit: of several machines not on which one the copy would be put.
    """
    room = allocatable(node)
    if room.machines > 1:
        return False
    if memory is None or room.memory is None or load.memory + load.extra_memory + memory > room.memory:
        return False
    args = old.get("args") or {}
    cores = sum(r.cpus for r in raylets)
    millicores = round(1000 * float(args.get("numCpus") or 0)) * replicas_of(old)
    if load.millicores + load.extra_millicores + millicores > round(1000 * cores):
        return False
    gpus = (args.get("numGpus") or 0) * replicas_of(old)
    return not gpus or (room.gpus is not None and load.gpus + gpus <= room.gpus)


def fits_instead(good: Application, node: InferenceNode, load: Load, *, memory: int | None) -> bool:
    """Whether a former revision fits in the place of the wanted one, which needs `memory`: its room may be taken."""
    room = allocatable(node)
    former = copy_memory(good, None)
    if room.memory is None or former is None:
        return True
    return load.memory - (memory or 0) + load.extra_memory + former <= room.memory * room.machines


def choose_step(
    live: RayApp | None,
    wanted: Application,
    *,
    surges: bool,
    serves: bool,
    order: int,
    siblings: Sequence[Sibling],
    waited: bool,
) -> Step:
    """Decide. `surges`: both copies fit and Ray can; `serves`: it answers now; `waited`: long enough for others."""
    name = wanted["name"]
    if live is None or live.config is None:
        return Step(way=Way.DEPLOY, sentence=f"deploy {name}")
    if carries(live.config, wanted):
        return Step(way=Way.NOTHING)
    if not reloads(live.config, wanted):
        return Step(way=Way.IN_PLACE, sentence=f"change {name} in place")
    if surges:
        return Step(way=Way.SURGE, sentence=f"change {name}: the new one starts beside the old one")
    if not serves:
        return Step(way=Way.SWAP, sentence=f"change {name}: the old one does not serve")
    able = [s for s in siblings if s.able]
    if not able:
        return Step(way=Way.SWAP, sentence=f"change {name}: both do not fit, and no other variant could serve")
    for sibling in able:
        # Of two that change at once the first in the spec goes first, the other waits for it.
        if sibling.serves and (sibling.settled or sibling.order > order):
            return Step(way=Way.SWAP, sentence=f"change {name}: both do not fit, {sibling.app} serves meanwhile")
    if waited:
        return Step(way=Way.SWAP, sentence=f"change {name}: both do not fit, and no other variant served in time")
    return Step(way=Way.WAIT, sentence=f"{name} waits until {' or '.join(s.app for s in able)} serves")


def keep_surge(live: RayApp | None) -> bool:
    """Return the surge that an application has: it is changed only together with a reload."""
    return live is not None and surge_of(live.config)


def setback_of(record: Record, mark: str) -> Setback | None:
    """Return why the wanted revision is not tried, by its fingerprint: it failed before."""
    if record.bad != mark or record.good is None:
        return None
    reason = Reason.lookup(record.reason) or Reason.DEPLOY_FAILED
    return Setback(fingerprint=mark, reason=reason, message=record.message)


def judge(
    record: Record,
    live: RayApp | None,
    wanted: Application,
    *,
    alive: bool,
    overdue: bool,
    failure: Setback,
) -> Record:
    """Return the record after a look: the wanted revision served, or failed after another had served.

    `alive`: the replicas that run now computed something; `failure`: what to note if it is one.
    """
    if live is None or live.config is None:
        return record
    if not carries(live.config, wanted):
        # The spec changed again before what serves was noted: it is what there is to go back to.
        unnoted = record.bad is None and live.status == "RUNNING" and bool(live.replicas) and alive
        known = record.good is not None and carries(live.config, record.good)
        return Record(good=plain(live.config)) if unnoted and not known else record
    revision = plain(wanted)
    if live.status == "RUNNING" and live.replicas and alive:
        return record if record.good == revision and record.bad is None else Record(good=revision)
    if record.good is None or record.good == revision:
        return record
    if live.status == "DEPLOY_FAILED" or overdue:
        return Record(
            good=record.good, bad=failure.fingerprint, reason=failure.reason.value, message=failure.message[:500]
        )
    return record
