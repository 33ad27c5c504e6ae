"""PDF files: one segment a page, read by a worker process under a time limit."""

import atexit
import json
import re
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone

from hearth_api.wire.documents import DocumentWarning
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.charset import clean
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.hidden import strip_invisible

_PDF_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-])(\d\d)'?(\d\d)?)?")


class PdfWorker:
    """Keeps one worker process and replaces it when it dies or takes too long. Not for use by several threads."""

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-m", "hearth_ingest.documents.pdf_worker")) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, data: bytes, *, pages: int, seconds: float) -> dict[str, object]:
        """Return the worker's answer. Raises ItemError when it died, RefusedError when its time was up."""
        process = self._running()
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            line = self._exchange(process, json.dumps({"bytes": len(data), "pages": pages}).encode() + b"\n" + data)
        except BaseException:
            # Interrupted in the middle of an answer: the next file must not be given the rest of it.
            self.close()
            raise
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            self.close()
            if late.is_set():
                raise RefusedError("too-slow", f"not read within {seconds:g} seconds")
            raise ItemError("pdf-crash", f"the parser ended with status {process.returncode}")
        answer: dict[str, object] = json.loads(line)
        return answer

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes) -> bytes:
        if process.stdin is None or process.stdout is None:
            return b""
        try:
            process.stdin.write(request)
            process.stdin.flush()
            return process.stdout.readline()
        except OSError:
            return b""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process

    def close(self) -> None:
        """End the worker process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    # Bytes that the dead worker never read are still buffered.
                    continue
        process.wait()


_worker = PdfWorker()
atexit.register(_worker.close)


def read_pdf(data: bytes, limits: RunLimits, *, worker: PdfWorker | None = None) -> Body:
    """Return a PDF's pages. Raises ItemError: pdf-encrypted, pdf-unparseable, pdf-crash, too-slow, too-many-pages."""
    answer = (worker or _worker).ask(data, pages=limits.pages, seconds=limits.seconds_per_item)
    if "error" in answer:
        raise ItemError(str(answer["error"]), str(answer.get("detail", "")))
    total = int(str(answer["total"]))
    if total > limits.pages:
        raise RefusedError("too-many-pages", f"{total} pages, {limits.pages} allowed")
    warnings: list[DocumentWarning] = []
    if answer.get("broken"):
        warnings.append(DocumentWarning(code="pdf-pages-broken", detail=f"{answer['broken']} of {total} pages"))
    pages = answer["pages"] if isinstance(answer["pages"], list) else []
    segments = []
    hidden = 0
    for number, raw in enumerate(pages, start=1):
        text, invisible = strip_invisible(_unhyphenate(clean(str(raw))))
        hidden += invisible
        if text.strip():
            segments.append(segment(text.strip(), page=number))
    if hidden:
        warnings.append(DocumentWarning(code="hidden-text", detail=f"zero-width: {hidden} characters"))
    if not segments:
        warnings.append(DocumentWarning(code="no-text", detail=f"{total} pages without text: scanned?"))
    title = " ".join(clean(str(answer.get("title", ""))).split())
    return Body(title=title, segments=tuple(segments), warnings=tuple(warnings), created=_date(answer.get("created")))


def _unhyphenate(text: str) -> str:
    """Join words that PDFium reports as split at a line's end (it writes U+FFFE or U+0002 for such a hyphen)."""
    return re.sub("[\ufffe\uffff]\n?", "", text)


def _date(value: object) -> str | None:
    match = _PDF_DATE.match(str(value or ""))
    if not match:
        return None
    year, month, day, hour, minute, second = (int(match[i] or 0) for i in range(1, 7))
    offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0)) * (-1 if match[8] == "-" else 1)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset)).isoformat()
    except ValueError:
        return None
