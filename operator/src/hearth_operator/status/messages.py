"""Ray's messages, made fit for a condition: no colours, no traceback, no text that differs each time."""

import re

from hearth_api.reasons import Reason

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_ERROR_LINE = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Missing|Mismatch|NotFound))(?::\s*(.*))?$"
)
_NOISE = re.compile(r"pid=\d+,? ?|ip=[0-9.]+,? ?|actor_id=[0-9a-f]+,? ?|repr=\S*|0x[0-9a-f]{6,}|\b[0-9a-f]{32,}\b")
_STACK = re.compile(r'^\s*(File "|Traceback|\^+$|raise |return |await |self\.|[~^]+)')
_MOST = 500


def clean_message(text: str) -> str:
    """Return the one line that says what went wrong, without what changes from try to try.

    The innermost error is the last line of a traceback that begins with an error's name; without one it is the first
    line that is not part of a stack.
    """
    lines = [_ANSI.sub("", line).strip() for line in text.replace("\\n", "\n").splitlines()]
    found: str | None = None
    for line in lines:
        match = _ERROR_LINE.match(line)
        if match is not None and not match[1].startswith(("RayTask", "RayActor", "ActorDied", "RuntimeErrorGroup")):
            found = line if match[2] else match[1]
    if found is None:
        found = next((line for line in lines if line and not _STACK.match(line)), "")
    found = _NOISE.sub("", found)
    return re.sub(r"\s+", " ", found).strip()[:_MOST]


def failure_reason(message: str) -> Reason:
    """Return the reason that a cleaned message stands for."""
    lower = message.lower()
    if "digest" in lower or "sha256" in lower or "sha-256" in lower:
        return Reason.DIGEST_MISMATCH
    if "filenotfound" in lower or "no such file" in lower or "weightsmissing" in lower or "no file" in lower:
        return Reason.WEIGHTS_MISSING
    return Reason.DEPLOY_FAILED
