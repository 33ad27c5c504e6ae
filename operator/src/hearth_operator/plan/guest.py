"""Whether a machine is left to its owner now. Pure: rules, what the machine tells, and the time.

It is left at once and taken back late, so that nobody sees models come and go: every reason must be gone for
`returnSeconds`. Memory must suffice for what comes back, or coming back would be the next reason to go.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hearth_api.kinds.node import Availability, OwnerHours, Weekday
from hearth_api.quantities import to_bytes
from hearth_api.reasons import Reason
from hearth_api.wire.machine import MachineFacts
from hearth_operator.plan.fit.estimate import show

_DAYS = tuple(Weekday)


class Phase(StrEnum):
    """Where a node's models are."""

    HOSTING = "Hosting"
    DRAINING = "Draining"
    """Nothing new is begun there; what was begun may end."""
    AWAY = "Away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """How it stands with one machine."""

    phase: Phase = Phase.HOSTING
    reason: Reason = Reason.HOSTING
    message: str = ""
    since: datetime | None = None
    """Of the phase."""
    quiet_since: datetime | None = None
    """Since when nothing calls for the machine while its models are away."""

    @property
    def yields(self) -> bool:
        """Whether nothing new may begin there."""
        return self.phase is not Phase.HOSTING


def reasons_to_go(
    rules: Availability, facts: MachineFacts, *, now: datetime, away: bool, needed: int
) -> Iterator[tuple[Reason, str]]:
    """Yield every reason to leave the machine, the strongest first. `needed`: bytes of main memory that models would
    take there; counted while they are `away`. Raises ValueError for a time zone that nobody knows.
    """
    idle = facts.owner_idle_seconds
    if rules.owner_active_seconds is not None and idle is not None and idle < rules.owner_active_seconds:
        yield Reason.OWNER_ACTIVE, f"somebody used it within {rules.owner_active_seconds} s"
    if rules.others_gpu_memory is not None:
        limit = to_bytes(rules.others_gpu_memory)
        for gpu in facts.gpus:
            if gpu.memory_others is not None and gpu.memory_others > limit:
                yield Reason.GPU_IN_USE, f"other programs hold more than {show(limit)} of {gpu.name}"
    if rules.free_memory is not None:
        limit = to_bytes(rules.free_memory)
        if facts.memory_available < limit + (needed if away else 0):
            beside = f" beside the {show(needed)} of its models" if away and needed else ""
            yield Reason.MEMORY_SHORT, f"less than {show(limit)} of its memory are free{beside}"
    if rules.on_battery and facts.on_battery:
        yield Reason.ON_BATTERY, "it runs on its battery"
    if (said := owner_hours(rules, now=now)) is not None:
        yield Reason.OWNER_HOURS, said


def owner_hours(rules: Availability, *, now: datetime) -> str | None:
    """Return which hours of the owner's it is; None: of none. Raises ValueError for a time zone that nobody knows."""
    for hours in rules.hours:
        if is_within(hours, now=now, zone=rules.time_zone):
            return f"{hours.begin} to {hours.end} ({rules.time_zone}) is its owner's"
    return None


def is_within(hours: OwnerHours, *, now: datetime, zone: str) -> bool:
    """Whether a moment lies in the hours. Raises ValueError for a time zone that nobody knows."""
    try:
        local = now.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"availability.timeZone {zone!r} is not known") from error
    minute = local.hour * 60 + local.minute
    begin, end = _minutes(hours.begin), _minutes(hours.end)
    today, yesterday = _DAYS[local.weekday()], _DAYS[local.weekday() - 1]
    days = frozenset(hours.days or _DAYS)
    if begin < end:
        return today in days and begin <= minute < end
    return (today in days and minute >= begin) or (yesterday in days and minute < end)


def _minutes(text: str) -> int:
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


def step(stay: Stay, why: tuple[Reason, str] | None, rules: Availability, *, now: datetime, computing: bool) -> Stay:
    """Return how it stands now. `why` is the strongest reason to go; `computing`: answers that were begun go on."""
    if stay.phase is Phase.HOSTING:
        if why is None:
            return Stay()
        stay = Stay(phase=Phase.DRAINING, reason=why[0], message=why[1], since=now)
    elif why is not None:
        stay = replace(stay, reason=why[0], message=why[1], quiet_since=None)
    elif stay.quiet_since is None:
        stay = replace(stay, quiet_since=now)
    elif now - stay.quiet_since >= timedelta(seconds=rules.return_seconds):
        return Stay()
    drained = stay.since is None or now - stay.since >= timedelta(seconds=rules.drain_seconds)
    if stay.phase is Phase.DRAINING and (drained or not computing):
        return replace(stay, phase=Phase.AWAY, since=now)
    return stay


def untold(rules: Availability, facts: MachineFacts) -> tuple[str, ...]:
    """Return the rules that never make the machine be left, for it cannot tell what they ask for."""
    missing = []
    if rules.owner_active_seconds is not None and facts.owner_idle_seconds is None:
        missing.append("ownerActiveSeconds")
    if rules.others_gpu_memory is not None and all(gpu.memory_others is None for gpu in facts.gpus):
        missing.append("othersGpuMemory")
    if rules.on_battery and facts.on_battery is None:
        missing.append("onBattery")
    return tuple(missing)
