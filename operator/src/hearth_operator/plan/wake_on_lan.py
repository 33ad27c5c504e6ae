"""When a machine that sleeps is woken. Pure: who needs it, whose it is now, what was sent before, and the time.

A packet is not acknowledged and a machine takes a while to wake: a few tries, then a long pause, and all over again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hearth_api.conditions import ConditionStatus, ConditionType, find_condition
from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.node import Availability
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.plan.aliases import taken_by
from hearth_operator.plan.capacity import Placement
from hearth_operator.plan.guest import Stay, owner_hours

EVERY = timedelta(seconds=60)
TRIES = 5
PAUSE = timedelta(minutes=30)
GRACE = timedelta(seconds=60)
"""A variant that starts anew, or a switch, is no reason to wake a machine: so long nothing must have served."""
_ENDS_ASLEEP = frozenset({Reason.OWNER_ACTIVE, Reason.OWNER_HOURS})
"""Nobody sits at a machine that sleeps. A game holds its card, and memory its programs, over a sleep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waking:
    """What was done for one machine since it stopped answering."""

    sent: int = 0
    sent_at: datetime | None = None
    tried_at: datetime | None = None
    """Also where nothing could be sent."""
    trouble: str = ""
    """Why the last try sent nothing."""

    @property
    def pauses(self) -> bool:
        """Whether the tries of one round are over."""
        return self.sent > 0 and self.sent % TRIES == 0

    def wait(self, *, asked: bool, now: datetime) -> timedelta:
        """Return how long the next try has to wait. What somebody asked for does not wait for the pause."""
        paused = self.pauses and not asked
        return max(_left(self.tried_at, EVERY, now=now), _left(self.sent_at if paused else None, PAUSE, now=now))

    def after(self, trouble: str, *, now: datetime) -> "Waking":
        """Return how it stands after another try; no `trouble`: the packet was sent."""
        if trouble:
            return replace(self, tried_at=now, trouble=trouble)
        return Waking(sent=self.sent + 1, sent_at=now, tried_at=now)


def _left(since: datetime | None, span: timedelta, *, now: datetime) -> timedelta:
    """Return what is left of a span; nothing where it began in the future: the clock was set back."""
    if since is None or since > now:
        return timedelta()
    return max(timedelta(), since + span - now)


def models_in_need(
    node: str, models: Iterable[ModelDeployment], placed: Mapping[str, Placement], *, now: datetime
) -> tuple[ModelDeployment, ...]:
    """Return the models that have a variant on a machine and, for longer than a restart takes, none that serves."""
    everything = tuple(models)
    refused = taken_by(everything)
    return tuple(
        model
        for model in everything
        if model.status.serving is None
        and _is_unserved_for_long(model, now=now)
        and not model.spec.suspend
        and model.metadata.name not in refused
        and any(_is_on(node, placed.get(names.app_name(model.metadata.name, v.name))) for v in model.spec.variants)
    )


def _is_unserved_for_long(model: ModelDeployment, *, now: datetime) -> bool:
    told = find_condition(model.status.conditions, ConditionType.AVAILABLE)
    if told is None:
        return True
    return told.status is not ConditionStatus.TRUE and not _left(told.last_transition_time, GRACE, now=now)


def _is_on(node: str, placement: Placement | None) -> bool:
    return placement is not None and placement.fits and placement.node == node


def owners_claim(rules: Availability | None, stay: Stay, *, gone_since: datetime, now: datetime) -> str | None:
    """Return why a machine that sleeps is its owner's now; None: it is not.

    What it told before it fell asleep counts on, but for what a sleeping machine cannot be: used. Raises ValueError for
    a time zone that nobody knows.
    """
    if rules is None:
        return None
    if (said := owner_hours(rules, now=now)) is not None:
        return said
    if not stay.yields:
        return None
    quiet_since = stay.quiet_since or (gone_since if stay.reason in _ENDS_ASLEEP else None)
    if quiet_since is None or now - quiet_since < timedelta(seconds=rules.return_seconds):
        return f"{stay.message}, by what it told last"
    return None


def asked_wake(node: InferenceNode) -> str | None:
    """Return the value of the wake annotation; an empty one counts as none."""
    return node.metadata.annotations.get(names.ANNOTATION_WAKE, "")[:1024] or None
