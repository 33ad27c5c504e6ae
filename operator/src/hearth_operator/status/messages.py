"""Ray's messages, made fit for a condition: no colours, no traceback, no text that differs each time."""

import re
from dataclasses import dataclass

from hearth_api.reasons import Reason

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_ERROR_LINE = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Missing|Mismatch|NotFound))(?::\s*(.*))?$"
)
_NOISE = re.compile(r"pid=\d+,? ?|ip=[0-9.]+,? ?|actor_id=[0-9a-f]+,? ?|repr=\S*|0x[0-9a-f]{6,}|\b[0-9a-f]{32,}\b")
_STACK = re.compile(r'^\s*(File "|Traceback|\^+$|raise |return |await |self\.|[~^]+)')
_MOST = 500


_REASONS = {
    "WeightsMissingError": Reason.WEIGHTS_MISSING,
    "FileNotFoundError": Reason.WEIGHTS_MISSING,
    "DigestMismatchError": Reason.DIGEST_MISMATCH,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an application failed: a reason and one line."""

    reason: Reason
    message: str


def read_failure(text: str) -> Failure:
    """Return what a message of Ray says, without what changes from try to try.

    The innermost error is the last line that begins with an error's name; where there is none, it is the first line
    that is not part of a stack.
    """
    lines = [_ANSI.sub("", line).strip() for line in text.replace("\\n", "\n").splitlines()]
    reason = Reason.DEPLOY_FAILED
    found: str | None = None
    for line in lines:
        match = _ERROR_LINE.match(line)
        if match is None or match[1].startswith(("RayTask", "RayActor", "ActorDied")):
            continue
        reason = _REASONS.get(match[1], Reason.DEPLOY_FAILED)
        # Our own errors are sentences; of another's the name says more than half.
        found = match[2] if match[2] and line.startswith("hearth_serve.") else line
    if found is None:
        found = next((line for line in lines if line and not _STACK.match(line)), "")
    return Failure(reason, re.sub(r"\s+", " ", _NOISE.sub("", found)).strip()[:_MOST])


def clean_message(text: str) -> str:
    """Return the one line that says what went wrong."""
    return read_failure(text).message
