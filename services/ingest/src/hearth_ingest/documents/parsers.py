"""One entry for all file types."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import Body, Parser
from hearth_ingest.documents.markdown import read_markdown
from hearth_ingest.documents.pdf import read_pdf
from hearth_ingest.documents.text import read_csv, read_text
from hearth_ingest.documents.web import read_web
from hearth_ingest.errors import RefusedError

PARSERS: dict[str, Parser] = {
    "text/plain": read_text,
    "text/markdown": read_markdown,
    "text/html": read_web,
    "text/csv": read_csv,
    "text/tab-separated-values": read_csv,
    "application/pdf": read_pdf,
}


def read_body(data: bytes, media_type: str, *, limits: RunLimits) -> Body | None:
    """Return what a file says, or None where no parser reads its type. Raises ItemError."""
    if len(data) > limits.item_bytes:
        raise RefusedError("too-large", f"{len(data)} bytes, {limits.item_bytes} allowed")
    parser = PARSERS.get(media_type)
    return parser(data, limits) if parser else None


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise RefusedError("too-slow") inside the block after that time. Only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
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
