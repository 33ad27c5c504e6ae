"""Foreign texts, made fit for a condition: no colours, no traceback, no credential, no text that differs each time.

All expressions run over at most `_READ` characters, and none scans far ahead: a text may be a megabyte of anything.
"""

import re
import unicodedata
from dataclasses import dataclass

from hearth_api.reasons import Reason
from hearth_common.logs import redact_text

MESSAGE_LENGTH = 2048
"""Longest message that the operator writes into a condition."""
_READ = 32_768
_LINE = 4096
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]?"  # colours and cursors
    r"|\x1b[\]PX^_][^\x07\x1b]{0,1024}(?:\x07|\x1b\\)?"  # titles, links
    r"|\x1b[ -/]{0,4}[0-~]?"
)
_TRACE = "Traceback (most recent call last)"
_FRAME = re.compile(r'File "[^"\n]{0,1024}", line \d+(?:, in \S{0,256})?')
_ERROR_TEXT = re.compile(r"\b[A-Za-z_][\w.]{0,200}(?:Error|Exception)\b:? ?")
_GOOD = r"!-~\u00a1-\u00ac\u00ae-\u024f\u2010-\u2027"
_PLAIN = re.compile(f"[{_GOOD}](?:[ {_GOOD}]*[{_GOOD}])?")
_ERROR_LINE = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Missing|Mismatch|NotFound))(?::\s*(.*))?$"
)
_NOISE = re.compile(
    r"pid=\d+,? ?|ip=[0-9.]+,? ?|actor_id=[0-9a-f]+,? ?|repr=\S*|0x[0-9a-f]{6,}|"
    r"\b(?![0-9a-f]{64}\b)[0-9a-f]{32,}\b"  # Ray's ids; a SHA-256 has 64 digits and is what a reader needs
)
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
    lines = [_ANSI.sub("", line[:_LINE]).strip() for line in redact_text(_ends(text)).replace("\\n", "\n").splitlines()]
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
    return Failure(reason, plain(_NOISE.sub("", found), limit=_MOST))


def clean_message(text: str) -> str:
    """Return the one line that says what went wrong."""
    return read_failure(text).message


def plain(text: str, *, limit: int = MESSAGE_LENGTH) -> str:
    """Return any text as one line that may be shown: what a terminal would obey, stacks and credentials are gone.

    What is plain already stays as it is, so that cleaning twice is cleaning once.
    """
    if len(text) <= limit and _PLAIN.fullmatch(text) and "  " not in text and not _has_stack(text):
        return redact_text(text)
    text = _ends(_ANSI.sub("", redact_text(_ends(text))))
    if _has_stack(text):
        text = _without_stack(text)
    text = "".join(_shown(c) for c in text)
    text = re.sub(r"\s+", " ", redact_text(text)).strip()
    if _has_stack(text):  # it became one only now
        text = re.sub(r"\s+", " ", _without_stack(text)).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _ends(text: str) -> str:
    """Return a long text's beginning and end: what is being done stands first, what went wrong last."""
    return text if len(text) <= _READ else f"{text[: _READ // 4]} … {text[-_READ * 3 // 4 + 3 :]}"


def _has_stack(text: str) -> bool:
    return _TRACE in text or _FRAME.search(text) is not None


def _without_stack(text: str) -> str:
    """Return what stands before the stack, and the last error in it."""
    start = min((i for i in (text.find(_TRACE), _first_frame(text)) if i >= 0), default=len(text))
    errors = list(_ERROR_TEXT.finditer(text, start))
    head, tail = text[:start].strip(), text[errors[-1].start() :] if errors else ""
    tail = _FRAME.sub("", tail.replace(_TRACE, ""))
    return f"{head} {tail}" if tail else head or "an error whose text is only a stack"


def _first_frame(text: str) -> int:
    frame = _FRAME.search(text)
    return frame.start() if frame is not None else -1


def _shown(character: str) -> str:
    """Return a character, or nothing or a blank for what has no shape: controls, direction marks, half characters."""
    if character.isprintable():
        return character
    return " " if character.isspace() or unicodedata.category(character) == "Cc" else ""
