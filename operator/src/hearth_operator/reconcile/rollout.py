"""Revisions on one endpoint: what served, what failed, and how the next one comes to its node."""

from dataclasses import dataclass, replace

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.model import Variant
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.errors import InvalidSpecError
from hearth_operator.facts import RayApp, RayNode
from hearth_operator.plan.capacity import Plan
from hearth_operator.plan.revisions import (
    SURGE,
    Application,
    Record,
    Setback,
    carries,
    dress,
    fingerprint,
    misplaced,
    plain,
    reloads,
    replicas_of,
    surge_of,
)
from hearth_operator.plan.rollout import (
    OLDEST_SURGE,
    Load,
    Sibling,
    Step,
    Way,
    choose_step,
    copy_memory,
    fits_instead,
    fits_twice,
    judge,
    load_of,
    setback_of,
)
from hearth_operator.plan.serve_document import build_application, pin_labels
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.observe import Fleet
from hearth_operator.reconcile.records import save_record
from hearth_operator.reconcile.world import EndpointState
from hearth_operator.status.messages import read_failure
from hearth_operator.status.node import node_ready, parse_version


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One variant that an endpoint is to serve, as its spec has it now."""

    model: ModelDeployment
    variant: Variant
    order: int
    app: Application
    mark: str
    """Fingerprint of the wanted revision."""

    @property
    def name(self) -> str:
        """Name of the application."""
        return str(self.app["name"])


async def note_revisions(ctx: Context, state: EndpointState, wants: list[Want]) -> bool:
    """Keep what served and what failed; return whether something is still on its way and will be looked at again."""
    on_the_way = False
    for want in wants:
        live = state.facts.apps.get(want.name)
        record = state.records.get(want.name, Record())
        alive = live is not None and _alive(ctx, live, state.facts.raylets)
        overdue = _overdue(ctx, state, want, live)
        noted = judge(record, live, want.app, alive=alive, overdue=overdue, failure=_failure(want, live, overdue))
        if noted != record:
            await save_record(ctx, state, want.model, want.variant.name, noted)
        pending = live is not None and carries(live.config, want.app) and noted.good != plain(want.app)
        waits = live is not None and (bool(live.replicas) or not overdue)
        on_the_way = on_the_way or (pending and waits and noted.bad != want.mark)
    return on_the_way


def _alive(ctx: Context, app: RayApp, raylets: tuple[RayNode, ...]) -> bool:
    """Whether the replicas of now were seen to compute, where they belong."""
    serving = ctx.world.serving.get(app.name)
    proven = serving is not None and serving.facts.alive and serving.replicas == app.replicas
    return proven and misplaced(app, raylets) is None


def _overdue(ctx: Context, state: EndpointState, want: Want, live: RayApp | None) -> bool:
    """Whether Ray has had the wanted revision for longer than its model's deadline."""
    if live is None or not carries(live.config, want.app):
        state.begun.pop(want.name, None)
        return False
    mark, since = state.begun.get(want.name, ("", 0.0))
    if mark != want.mark:
        since = ctx.clock()
        state.begun[want.name] = (want.mark, since)
    return ctx.clock() - since > want.model.spec.progress_deadline_seconds


def _failure(want: Want, live: RayApp | None, overdue: bool) -> Setback:
    said = read_failure(live.message) if live is not None else None
    if live is not None and said is not None and live.status == "DEPLOY_FAILED":
        return Setback(fingerprint=want.mark, reason=said.reason, message=said.message or "Ray could not start it")
    text = f"it did not serve within {want.model.spec.progress_deadline_seconds} s" if overdue else ""
    if said is not None and said.message:
        text = f"{text}: {said.message}"
    return Setback(fingerprint=want.mark, reason=Reason.DEADLINE_EXCEEDED, message=text)


def find_setbacks(state: EndpointState, wants: list[Want]) -> dict[str, Setback]:
    """Return which wanted revisions are not put, and forget refusals of others."""
    state.marks = marks = {want.name: want.mark for want in wants}
    state.refused = {n: s for n, s in state.refused.items() if marks.get(n) == s.fingerprint}
    found = dict(state.refused)
    for want in wants:
        record = state.records.get(want.name, Record())
        setback = setback_of(record, want.mark)
        if setback is None or record.good is None or record.good["args"].get("node") not in state.nodes:
            continue
        if not state.unputtable or fingerprint(record.good) not in state.unputtable:
            found[want.name] = setback
    return found


@dataclass(slots=True)
class Rollout:
    """Chooses the step of each application of one endpoint, one after the other: surges add up."""

    ctx: Context
    fleet: Fleet
    state: EndpointState
    placed: Plan
    extra: dict[str, tuple[int, int]]
    """Node -> bytes and millicores of copies that run beside their successors."""

    def step(self, want: Want) -> tuple[Application | None, Step]:
        """Return the application to put (None: nothing of it) and why."""
        live = self.state.facts.apps.get(want.name)
        chosen = self._choose(want, live)
        if chosen is None:
            return None, Step(way=Way.NOTHING)
        surges = live is not None and live.config is not None and self._may_surge(want, live, chosen)
        step = choose_step(
            live,
            chosen,
            surges=surges,
            serves=live is not None and bool(live.replicas) and _proven(self.ctx, live),
            order=want.order,
            siblings=() if surges else self._siblings(want),
            waited=self._waited(want),
        )
        if step.way is not Way.WAIT:
            self.state.waiting.pop(want.name, None)
        else:
            self.state.waiting.setdefault(want.name, self.ctx.clock())
            return (live.config if live is not None else None), step
        if live is not None and want.name in self.state.setbacks and step.sentence:
            step = replace(step, sentence=f"put the last good {want.name} back")
        return dress(chosen, owner=self.ctx.world.owner, surge=_surge(live, step)), step

    def _choose(self, want: Want, live: RayApp | None) -> Application | None:
        if want.name not in self.state.setbacks:
            return want.app
        good = self.state.records.get(want.name, Record()).good
        config = live.config if live is not None else None
        if want.name in self.state.refused and config is not None:
            return plain(config)  # Ray never had the refused one: what serves stays
        if good is None or good["args"].get("node") not in self.state.nodes:
            return None
        if self.state.unputtable and fingerprint(good) in self.state.unputtable:
            return None
        if not carries(config, good) and not surge_of(config) and not self._has_room(want, good):
            setback = self.state.setbacks[want.name]
            self.state.setbacks[want.name] = replace(setback, outcome="there is no room any more for the last good one")
            return None
        return good

    def _has_room(self, want: Want, good: Application) -> bool:
        node = self.fleet.nodes.get(str(good["args"].get("node")))
        placement = self.placed.get(want.name)
        memory = placement.memory if placement is not None and node is not None else None
        return node is not None and fits_instead(good, node, self._load(node), memory=memory)

    def _may_surge(self, want: Want, live: RayApp, chosen: Application) -> bool:
        config = live.config or {}
        if not reloads(config, chosen):
            return False
        if (parse_version(self.state.facts.version) or (0, 0)) < OLDEST_SURGE:
            return False
        if want.name in self.state.setbacks and surge_of(config):
            return True  # the old replica still runs: keep it
        node = self.fleet.nodes.get(str((config.get("args") or {}).get("node")))
        if node is None or node.metadata.name not in self.state.nodes:
            return False
        placement = self.placed.get(want.name)
        memory = copy_memory(config, placement.memory if placement is not None else None)
        load = self._load(node)
        if not fits_twice(config, node, load, memory=memory, raylets=self._raylets(node)):
            return False
        self._add(node.metadata.name, memory or 0, config)
        return True

    def note_surge(self, want: Want) -> None:
        """Count the old copy of a surge that is under way."""
        live = self.state.facts.apps.get(want.name)
        good = self.state.records.get(want.name, Record()).good
        if live is None or good is None or live.status != "DEPLOYING" or not surge_of(live.config):
            return
        placement = self.placed.get(want.name)
        memory = copy_memory(good, placement.memory if placement is not None else None)
        self._add(str(good["args"].get("node")), memory or 0, good)

    def _add(self, node: str, memory: int, copy: Application) -> None:
        before = self.extra.get(node, (0, 0))
        cores = round(1000 * float((copy.get("args") or {}).get("numCpus") or 0)) * replicas_of(copy)
        self.extra[node] = (before[0] + memory, before[1] + cores)

    def _load(self, node: InferenceNode) -> Load:
        pairs = (
            (variant, self.placed[app])
            for model in self.fleet.models
            for variant in model.spec.variants
            if (app := names.app_name(model.metadata.name, variant.name)) in self.placed
        )
        extra = self.extra.get(node.metadata.name, (0, 0))
        return replace(load_of(node.metadata.name, pairs), extra_memory=extra[0], extra_millicores=extra[1])

    def _raylets(self, node: InferenceNode) -> list[RayNode]:
        pin = pin_labels(node).items()
        return [r for r in self.state.facts.raylets if r.alive and pin <= dict(r.labels).items()]

    def _waited(self, want: Want) -> bool:
        since = self.state.waiting.get(want.name)
        return since is not None and self.ctx.clock() - since > want.model.spec.progress_deadline_seconds

    def _siblings(self, want: Want) -> list[Sibling]:
        return [
            self._sibling(want.model, variant, order)
            for order, variant in enumerate(want.model.spec.variants)
            if variant.name != want.variant.name
        ]

    def _sibling(self, model: ModelDeployment, variant: Variant, order: int) -> Sibling:
        name = names.app_name(model.metadata.name, variant.name)
        placement = self.placed.get(name)
        node = self.fleet.nodes.get((placement.node if placement is not None else None) or "")
        endpoint = self.ctx.world.endpoint_of(node.metadata.name) if node is not None else None
        if placement is None or node is None or endpoint is None or not placement.fits:
            return Sibling(app=name, order=order, able=False, serves=False, settled=False)
        live = endpoint.facts.apps.get(name) if endpoint.facts.reachable else None
        try:
            wanted = build_application(model, variant, node, mirror=self.ctx.settings.has_mirror)
        except InvalidSpecError:
            wanted = None
        settled = name in endpoint.setbacks or (
            live is not None and wanted is not None and carries(live.config, wanted)
        )
        failed = live is not None and live.status == "DEPLOY_FAILED" and not live.replicas
        return Sibling(
            app=name,
            order=order,
            able=node_ready(endpoint.facts, node, pin_labels(node)) and not failed,
            serves=live is not None and bool(live.replicas) and _proven(self.ctx, live),
            settled=settled,
        )


def _proven(ctx: Context, app: RayApp) -> bool:
    serving = ctx.world.serving.get(app.name)
    return serving is not None and serving.facts.alive


def _surge(live: RayApp | None, step: Step) -> bool | None:
    """Return what to say of the surge: it changes only with a reload, and is not mentioned where it never was."""
    if step.way is Way.SURGE:
        return True
    config = live.config if live is not None else None
    said = any(SURGE in d for d in (config or {}).get("deployments") or ())
    if not said:
        return None
    return surge_of(config) if step.way in {Way.NOTHING, Way.IN_PLACE} else False
