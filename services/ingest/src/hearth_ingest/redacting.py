"""The `redact` command: findings and masked text of a file, or of NDJSON lines."""

import json
from collections.abc import Iterable, Iterator

from hearth_ingest.charset import decode_text
from hearth_ingest.findings.scan import redact


def redact_text(data: bytes) -> dict[str, object]:
    """Return {"findings": [{type, start, end, score}], "text"} for a text file's bytes."""
    return _answer(decode_text(data).text)


def redact_lines(lines: Iterable[str]) -> Iterator[dict[str, object]]:
    """Yield {"id", "findings", "text"} for each line {"id", "text"}. Raises ValueError that names a wrong line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            identity, text = record["id"], record["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'line {number} is not a JSON object with "id" and "text"') from error
        yield {"id": identity, **_answer(str(text))}


def _answer(text: str) -> dict[str, object]:
    masked, matches = redact(text)
    findings = [{"type": m.type, "start": m.start, "end": m.end, "score": m.score} for m in matches]
    return {"findings": findings, "text": masked}
