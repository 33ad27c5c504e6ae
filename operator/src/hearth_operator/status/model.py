"""Status of a ModelDeployment: the catalog that the gateway reads, and conditions from what was observed end to end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hearth_api.conditions import ConditionType
from hearth_api.kinds import ModelDeployment
from hearth_api.kinds.fields import SecretKeyRef
from hearth_api.kinds.model import ModelDeploymentStatus, Variant, VariantState, VariantStatus
from hearth_api.reasons import Reason
from hearth_operator.facts import NOTHING_SAID, RayApp, Reach, ServingFacts, WeightsFacts
from hearth_operator.restart import acted_restart
from hearth_operator.status.conditions import Verdict, false, true, unknown, write_conditions
from hearth_operator.status.memory import NOT_PLANNED, PlannedMemory, variant_memory
from hearth_operator.status.messages import clean_message, plain, read_failure
from hearth_operator.status.weights import judge_download

_UNREACHABLE = {Reach.OFFLINE: Reason.NODE_OFFLINE, Reach.GARBLED: Reason.UNEXPECTED_ANSWER}


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFacts:
    """All that is known of one variant."""

    variant: Variant
    node: str | None = None
    node_suspended: bool = False
    yielding: tuple[Reason, str] | None = None
    """Why the node is left to its owner now."""
    node_supported: bool = True
    reach: Reach = Reach.NOT_OBSERVED
    reach_message: str = ""
    url: str | None = None
    token_ref: SecretKeyRef | None = None
    ca_ref: SecretKeyRef | None = None
    fits: bool = False
    fit_reason: Reason = Reason.FITS
    fit_message: str = ""
    memory: PlannedMemory = NOT_PLANNED
    before: VariantStatus | None = None
    """What the status said so far."""
    invalid: str | None = None
    """Why this variant cannot be carried out on its node."""
    invalid_reason: Reason = Reason.INVALID_SPEC
    setback: str | None = None
    """Why the newest revision was taken back, or not put at all."""
    astray: tuple[Reason, str] | None = None
    """It runs where it should not, or otherwise than it was put."""
    weights: WeightsFacts | None = None
    """What its machine must bring first; None: nothing."""
    app: RayApp | None = None
    current: bool = False
    """Ray was given the newest spec of this variant."""
    serving: ServingFacts = NOTHING_SAID
    asked: bool = True
    """Whether `serving` is an answer: False just after a start."""
    silent: bool = False
    """Nothing of the machine answered since the variant fell silent: whether it serves is not known."""
    recovering: str | None = None
    """Why it has to wait although it answers: another variant serves."""
    overdue: bool = False


def variant_status(facts: VariantFacts, *, suspended: bool) -> VariantStatus:
    """Return the catalog's entry of one variant."""
    state, reason, message = _state(facts, suspended=suspended)
    info = facts.serving.info
    running = len(facts.app.replicas) if facts.app is not None else 0
    memory, shape = variant_memory(facts.variant, facts.memory, info=info, current=facts.current, before=facts.before)
    return VariantStatus(
        name=facts.variant.name,
        node=facts.node,
        engine=facts.variant.engine,
        url=facts.url,
        token_secret_ref=facts.token_ref,
        ca_secret_ref=facts.ca_ref,
        state=state,
        reason=reason.value,
        message=plain(message) or None,
        context_tokens=info.context_tokens if info is not None else None,
        slots=info.slots_total * max(1, running) if info is not None else None,
        replicas=running if facts.variant.replicas > 1 else None,
        model_digest=info.model_digest if info is not None else None,
        memory=memory,
        shape=shape,
    )


def _state(facts: VariantFacts, *, suspended: bool) -> tuple[VariantState, Reason, str]:
    if suspended or facts.node_suspended:
        what = "spec.suspend is true" if suspended else f"InferenceNode {facts.node} is suspended"
        return VariantState.SUSPENDED, Reason.SUSPENDED, what
    if facts.yielding is not None:
        return VariantState.SUSPENDED, *facts.yielding
    if facts.invalid is not None:
        return VariantState.FAILED, facts.invalid_reason, facts.invalid
    if facts.node is None or (not facts.fits and facts.app is None):
        return VariantState.PENDING, facts.fit_reason, facts.fit_message
    if facts.reach is Reach.NOT_OBSERVED:
        return VariantState.PENDING, Reason.NOT_OBSERVED, f"{facts.node} was not asked yet"
    if facts.reach is not Reach.REACHABLE:
        if facts.serving.alive:
            said = f"Ray on {facts.node} does not answer ({facts.reach_message}); the variant itself does"
            return _serving(facts, Reason.RAY_UNREACHABLE, said)
        reason = _UNREACHABLE.get(facts.reach, Reason.AUTHENTICATION_FAILED)
        return VariantState.UNREACHABLE, reason, f"{facts.node}: {facts.reach_message or 'does not answer'}"
    if not facts.node_supported:
        return VariantState.PENDING, Reason.NODE_NOT_READY, f"{facts.node} cannot take a model now"
    return _app_state(facts, facts.app)


def _serving(facts: VariantFacts, reason: Reason, message: str) -> tuple[VariantState, Reason, str]:
    if facts.recovering is not None:
        return VariantState.LOADING, Reason.RECOVERING, facts.recovering
    return VariantState.AVAILABLE, reason, message


def _app_state(facts: VariantFacts, app: RayApp | None) -> tuple[VariantState, Reason, str]:
    if app is not None and app.replicas:
        if facts.astray is not None:
            return VariantState.FAILED, *facts.astray
        if facts.serving.alive:
            return _serving(facts, Reason.SERVING, "")
        if facts.serving.error is not None and facts.silent:
            return VariantState.UNREACHABLE, Reason.NODE_OFFLINE, f"{facts.node}: {facts.serving.error}"
        if facts.serving.error is not None:
            return VariantState.FAILED, Reason.PROBE_FAILED, facts.serving.error
        return VariantState.LOADING, Reason.LOADING, f"a replica runs on {facts.node} and was not probed yet"
    if app is not None and app.status == "DEPLOY_FAILED":
        failure = read_failure(app.message)
        message = failure.message or "Ray Serve could not start the application"
        return VariantState.FAILED, failure.reason, message
    if app is None and facts.weights is not None and not facts.weights.there:
        return judge_download(facts.weights, node=facts.node or "")
    if facts.overdue:
        detail = clean_message(app.message) if app is not None else ""
        return VariantState.FAILED, Reason.DEADLINE_EXCEEDED, detail or "no replica within progressDeadlineSeconds"
    if app is None:
        return VariantState.PENDING, Reason.ROLLING_OUT, f"{facts.node} is about to be told"
    return VariantState.LOADING, Reason.LOADING, f"{facts.node} loads the model"


def model_status(
    model: ModelDeployment,
    *,
    facts: Sequence[VariantFacts],
    refused: Verdict | None,
    now: datetime,
) -> ModelDeploymentStatus:
    """Return the status. `refused` says why the resource was not accepted."""
    entries = tuple(variant_status(f, suspended=model.spec.suspend) for f in facts)
    if refused is not None:
        entries = tuple(
            e.model_copy(update={"state": VariantState.PENDING, "reason": refused.reason.value, "url": None})
            for e in entries
        )
    available = [(f, e) for f, e in zip(facts, entries, strict=True) if e.state is VariantState.AVAILABLE]
    verdicts = {
        ConditionType.ACCEPTED: refused or true(Reason.ACCEPTED),
        ConditionType.FITS: _judge_fits(facts),
        ConditionType.WEIGHTS_READY: _judge_weights(facts, entries),
        ConditionType.AVAILABLE: _judge_available(entries),
        ConditionType.DEGRADED: _judge_degraded(facts, entries),
        ConditionType.PROGRESSING: _judge_progress(facts, entries),
    }
    required: tuple[ConditionType, ...] = (ConditionType.ACCEPTED, ConditionType.AVAILABLE)
    if not available:  # the cause is what came before
        required = (ConditionType.ACCEPTED, *_causes(verdicts), ConditionType.AVAILABLE)
    if model.spec.suspend:
        verdicts[ConditionType.READY] = false(Reason.SUSPENDED, "spec.suspend is true")
    generation = model.metadata.generation
    info = available[0][0].serving.info if available else None
    return ModelDeploymentStatus(
        observed_generation=generation,
        conditions=write_conditions(
            verdicts, before=model.status.conditions, required=required, generation=generation, now=now
        ),
        variants=entries,
        serving=available[0][1].name if available else None,
        # What an index was made with stays known while its model sleeps.
        model_digest=info.model_digest if info is not None else model.status.model_digest,
        dimensions=(info.dimensions if info is not None else None) or model.status.dimensions,
        last_restart=acted_restart(model, (f.app for f in facts)),
    )


def _causes(verdicts: dict[ConditionType, Verdict]) -> tuple[ConditionType, ...]:
    """Return the earlier conditions that explain why nothing serves."""
    return tuple(t for t in (ConditionType.FITS, ConditionType.WEIGHTS_READY) if verdicts[t].status.value == "False")


def _judge_fits(facts: Sequence[VariantFacts]) -> Verdict:
    missing = [f for f in facts if f.fit_reason is Reason.NODE_NOT_FOUND]
    too_big = [f for f in facts if not f.fits and f.fit_reason in {Reason.INSUFFICIENT_MEMORY, Reason.NO_CAPACITY}]
    if too_big:
        return false(too_big[0].fit_reason, "; ".join(f.fit_message for f in too_big))
    if missing:
        return false(Reason.NODE_NOT_FOUND, "; ".join(f.fit_message for f in missing))
    if any(not f.fits for f in facts):
        return unknown(Reason.NOT_OBSERVED, "not planned yet")
    unsized = any(f.fit_reason is Reason.SIZE_UNKNOWN for f in facts)
    return true(Reason.SIZE_UNKNOWN if unsized else Reason.FITS, "; ".join(f.fit_message for f in facts))


def _judge_weights(facts: Sequence[VariantFacts], entries: Sequence[VariantStatus]) -> Verdict:
    for fact in facts:
        if fact.weights is not None and not fact.weights.there and fact.invalid is None:
            _, reason, message = judge_download(fact.weights, node=fact.node or "")
            return false(reason, f"variant {fact.variant.name}: {message}")
    for entry in entries:
        if entry.state is VariantState.AVAILABLE:
            return true(Reason.WEIGHTS_FOUND, entry.model_digest or "")
    for entry in entries:
        if entry.reason in {Reason.WEIGHTS_MISSING, Reason.DIGEST_MISMATCH}:
            return false(_reason(entry), f"variant {entry.name}: {entry.message or ''}")
    return unknown(Reason.NOT_OBSERVED, "no variant has loaded its weights yet")


def _judge_available(entries: Sequence[VariantStatus]) -> Verdict:
    for entry in entries:
        if entry.state is VariantState.AVAILABLE:
            ray = f"; {entry.message}" if entry.message else ""
            return true(Reason.SERVING, f"variant {entry.name} on {entry.node} answered a probe{ray}")
    said = "; ".join(f"variant {e.name}: {e.message or e.reason}" for e in entries)
    if entries and all(e.state is VariantState.SUSPENDED for e in entries):
        return false(_reason(entries[0]), said)
    unreachable = [e for e in entries if e.state is VariantState.UNREACHABLE]
    if unreachable or any(e.reason == Reason.NOT_OBSERVED for e in entries):
        return unknown(_reason(unreachable[0]) if unreachable else Reason.NOT_OBSERVED, said)
    return false(_reason(entries[0]) if len(entries) == 1 else Reason.NO_VARIANT_AVAILABLE, said)


def _reason(entry: VariantStatus) -> Reason:
    return Reason.lookup(entry.reason or "") or Reason.NO_VARIANT_AVAILABLE


def _judge_degraded(facts: Sequence[VariantFacts], entries: Sequence[VariantStatus]) -> Verdict:
    serving = [i for i, e in enumerate(entries) if e.state is VariantState.AVAILABLE]
    if not serving:
        return false(Reason.NO_VARIANT_AVAILABLE, "nothing serves")
    if serving[0] != 0:
        first, used = entries[0], entries[serving[0]]
        return true(
            Reason.FALLBACK_SERVING, f"variant {used.name} serves; {first.name}: {first.message or first.reason}"
        )
    if taken_back := _setbacks(facts):
        return true(Reason.ROLLED_BACK, taken_back)
    if entries[0].reason == Reason.RAY_UNREACHABLE:
        return true(Reason.RAY_UNREACHABLE, entries[0].message or "")
    app, wanted = facts[0].app, facts[0].variant.replicas
    if not facts[0].current or (app is not None and app.status == "DEPLOY_FAILED"):
        why = clean_message(app.message) if app is not None else ""
        return true(Reason.OLD_REVISION_SERVING, why or "the newest spec is not served yet")
    running = entries[0].replicas
    if running is not None and running < wanted:
        return true(Reason.REPLICAS_MISSING, f"variant {entries[0].name}: {running} of {wanted} replicas run")
    return false(Reason.PREFERRED_SERVING, f"variant {entries[0].name} serves")


def _answers(entry: VariantStatus) -> bool:
    return entry.state is VariantState.AVAILABLE or entry.reason == Reason.RECOVERING


def _setbacks(facts: Sequence[VariantFacts]) -> str:
    return "; ".join(f"variant {f.variant.name}: {f.setback}" for f in facts if f.setback)


def _judge_progress(facts: Sequence[VariantFacts], entries: Sequence[VariantStatus]) -> Verdict:
    if taken_back := _setbacks(facts):
        return false(Reason.ROLLED_BACK, taken_back)
    late = [f.variant.name for f in facts if f.overdue]
    if late:
        return false(Reason.DEADLINE_EXCEEDED, f"not available within the deadline: {', '.join(late)}")
    waiting = [
        e.name
        for f, e in zip(facts, entries, strict=True)
        # What a silent Ray was given last is not known: nothing is said to be on its way there.
        if e.state is not VariantState.SUSPENDED
        and e.reason != Reason.RAY_UNREACHABLE
        and (not _answers(e) or not f.current)
    ]
    if waiting:
        return true(Reason.ROLLING_OUT, f"waits for {', '.join(waiting)}")
    return true(Reason.ROLLED_OUT, "")
