"""The process that opens PDF files, so that a crash or an endless loop in a parser ends it and not the run.

Started by `pdf.py`. Reads requests on standard input (a line of JSON {"bytes", "pages"}, then that many bytes) and
answers each with one line of JSON: {"title", "created", "pages": [text], "total"} or {"error": code, "detail"}.
"""

import json
import resource
import sys
from typing import IO

# Below the pod's limit of 1 GiB: beyond that the kernel would end every process of the pod, not only this one.
_MEMORY_BYTES = 768 << 20


def _limit_memory() -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(_MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def read_pdf_pages(data: bytes, max_pages: int) -> dict[str, object]:
    """Return the answer for one file; see the module's text for its shape."""
    import pypdfium2 as pdfium  # noqa: PLC0415 - loaded in the worker only

    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        encrypted = "password" in str(error).lower()
        return {"error": "pdf-encrypted" if encrypted else "pdf-unparseable", "detail": str(error)[:200]}
    try:
        total = len(document)
        texts: list[str] = []
        broken = 0
        for number in range(min(total, max_pages)):
            try:
                page = document[number]
                texts.append(page.get_textpage().get_text_range())
            except pdfium.PdfiumError:
                texts.append("")
                broken += 1
        meta = document.get_metadata_dict(skip_empty=True)
        return {
            "title": meta.get("Title", ""),
            "created": meta.get("CreationDate", ""),
            "pages": texts,
            "total": total,
            "broken": broken,
        }
    finally:
        document.close()


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until standard input ends."""
    while line := requests.readline():
        head = json.loads(line)
        data = requests.read(head["bytes"])
        try:
            answer = read_pdf_pages(data, head["pages"])
        except MemoryError:
            answer = {"error": "pdf-too-complex", "detail": "more memory than allowed"}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _limit_memory()
    serve(sys.stdin.buffer, sys.stdout.buffer)
