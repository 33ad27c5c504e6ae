"""What is said of a machine that does not answer and can be woken."""

from hearth_operator.facts import WakeFacts


def say_wake(wake: WakeFacts) -> str:
    """Return the end of the condition's message; empty where nothing was done and nothing is to be said."""
    said = []
    if wake.sent and wake.last_sent is not None:
        times = "once" if wake.sent == 1 else f"{wake.sent} times"
        said.append(f"woken {times} by {wake.sender}, last at {wake.last_sent:%H:%M:%SZ}")
    if wake.trouble:
        said.append(f"it cannot be woken now: {wake.trouble}")
    elif wake.pause_until is not None:
        said.append(
            f"tried again at {wake.pause_until:%H:%M:%SZ}: see that wake-on-LAN is on in its firmware and its network "
            "card, and that spec.wake.macAddress is that card's"
        )
    if wake.claim:
        said.append(f"not woken for its models now: {wake.claim}")
    return "; ".join(said)
