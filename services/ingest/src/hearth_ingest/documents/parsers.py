"""One entry for all file types."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pydantic import TypeAdapter, ValidationError

from hearth_api.wire.documents import DocumentWarning, Part
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import DOCX, ODF_TYPES, PPTX, RTF, UNREAD_TYPES, XLSX, Body, Parser
from hearth_ingest.documents.markdown import read_markdown
from hearth_ingest.documents.text import read_csv, read_text
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.sandbox.process import SANDBOX

# Python that works through text; everything else, and every library in C, runs in the sandbox.
_HERE: dict[str, Parser] = {
    "text/plain": read_text,
    "text/markdown": read_markdown,
    "text/csv": read_csv,
    "text/tab-separated-values": read_csv,
}
SANDBOXED = frozenset(("text/html", "application/pdf", DOCX, PPTX, XLSX, RTF, *ODF_TYPES.values()))
_BODY: TypeAdapter[Body] = TypeAdapter(Body)


def _in_sandbox(media_type: str) -> Parser:
    def parser(data: bytes, limits: RunLimits) -> Body:
        arguments = {"type": media_type, "limits": limits.to_json_object()}
        ((_, blob),) = SANDBOX.ask(
            "body", data, seconds=limits.seconds_per_item, max_output=limits.expanded_bytes, args=arguments
        )
        try:
            return _BODY.validate_json(blob)
        except ValidationError as error:
            raise ItemError("parser-died", "its answer is not a document") from error

    return parser


PARSERS: dict[str, Parser] = _HERE | {media_type: _in_sandbox(media_type) for media_type in sorted(SANDBOXED)}


def read_body(data: bytes, media_type: str, *, limits: RunLimits) -> Body | None:
    """Return what a file says, or None where no parser reads its type. Raises ItemError."""
    if len(data) > limits.item_bytes:
        raise RefusedError("too-large", f"{len(data)} bytes, {limits.item_bytes} allowed")
    if media_type in UNREAD_TYPES:
        code, remedy = UNREAD_TYPES[media_type]
        part = Part(media_type=media_type, used=False, reason=code)
        return Body(warnings=(DocumentWarning(code=code, detail=remedy),), parts=(part,))
    parser = PARSERS.get(media_type)
    return parser(data, limits) if parser else None


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise RefusedError("too-slow") inside the block after that time. Only the main thread can be interrupted.

    Inside another such block the outer one counts.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise RefusedError("too-slow", f"not read within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
