"""`documents:batch`: NDJSON in, one verdict per line, NDJSON out. Pure but for the stream it reads."""

import json
from collections.abc import AsyncIterator, Iterable, Sequence

from pydantic import ValidationError

from hearth_api.wire.documents import (
    BatchResult,
    NormalDocument,
    Tombstone,
    compute_content_hash,
)
from hearth_knowledge.errors import InvalidRequestError, TooLargeError
from hearth_knowledge.settings import Limits
from hearth_knowledge.storage.names import NAME

ID_CHARS = 128


async def read_lines(stream: AsyncIterator[bytes], *, limits: Limits) -> list[bytes]:
    """Read a whole body within its limits and cut it into lines. TooLargeError."""
    body = bytearray()
    async for piece in stream:
        body += piece
        if len(body) > limits.batch_bytes:
            raise TooLargeError("the batch", limit=limits.batch_bytes)
    lines = [line for line in bytes(body).split(b"\n") if line.strip()]
    if len(lines) > limits.batch_lines:
        raise InvalidRequestError("body", f"has {len(lines)} lines; at most {limits.batch_lines} are taken")
    return lines


def parse_lines(
    lines: Sequence[bytes], *, source: str, limits: Limits
) -> list[NormalDocument | Tombstone | BatchResult]:
    """Parse lines for one source. A line that cannot be taken is its own refusal, with the field's name."""
    return [_parse(line, source=source, limits=limits) for line in lines]


def _parse(line: bytes, *, source: str, limits: Limits) -> NormalDocument | Tombstone | BatchResult:
    if len(line) > limits.line_bytes:
        return BatchResult(id="", state="refused", error=f"line: is larger than {limits.line_bytes} bytes")
    try:
        raw = json.loads(line)
    except ValueError:
        return BatchResult(id="", state="refused", error="line: is not JSON")
    if not isinstance(raw, dict):
        return BatchResult(id="", state="refused", error="line: is not a JSON object")
    name = str(raw.get("id", ""))[:ID_CHARS]
    try:
        if "deleted" in raw:
            return Tombstone.model_validate_json(line)
        document = NormalDocument.model_validate_json(line)
    except ValidationError as error:
        return BatchResult(id=name, state="refused", error=describe(error))
    if document.source != source or not NAME.fullmatch(source):
        return BatchResult(id=name, state="refused", error=f"source: the caller may write {source} only")
    if document.content_hash and document.content_hash != compute_content_hash(document):
        return BatchResult(id=name, state="refused", error="contentHash: does not match the content")
    return document.sealed()


def describe(error: ValidationError) -> str:
    """Name the first field that is wrong and why, without its value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'line'}: {first['msg']}"


def encode_lines(lines: Iterable[BatchResult]) -> bytes:
    """Return answers as NDJSON."""
    return b"".join(line.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n" for line in lines)
