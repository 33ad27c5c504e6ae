"""Yielding: whether a machine is left to its owner, and why."""

from hearth_api.reasons import Reason
from hearth_operator.facts import GuestFacts
from hearth_operator.status.conditions import Verdict, false, true, unknown


def judge_guest(guest: GuestFacts) -> Verdict:
    """Return Yielding. What was decided stays true while the machine says nothing."""
    if guest.yields:
        silent = f"; now it cannot be asked: {guest.trouble[1]}" if guest.trouble is not None else ""
        return true(guest.reason, f"{guest.message}{silent}")
    if guest.trouble is not None:
        return unknown(*guest.trouble)
    if not guest.asked:
        return unknown(Reason.NOT_OBSERVED, "not asked yet")
    blind = ", ".join(guest.untold)
    return false(Reason.HOSTING, f"it does not tell what these rules ask for: {blind}" if blind else "")
