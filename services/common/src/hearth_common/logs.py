"""Structured logs: one JSON object a line on stdout, without anything that looks like a credential."""

import functools
import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TextIO

import structlog

REDACTED = "[redacted]"
SECRET_FIELD = re.compile(r"(?i)(^|[_-])(authorization|password|passwd|secret|token|api[_-]?key|private[_-]?key|kek)$")
SECRET_TEXT = re.compile(
    r"hearth_[a-z2-7]{4,}_[A-Za-z0-9_-]{16,}"  # our API keys
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON web tokens, such as ServiceAccounts have
    r"|(?i:bearer\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
SHORTEST_SECRET = len("bearer 12345678")

EventDict = MutableMapping[str, object]


def redact_text(text: str) -> str:
    """Replace keys, JSON web tokens, bearer values and private keys."""
    return SECRET_TEXT.sub(REDACTED, text)


def redact_value(value: object) -> object:
    """Redact inside strings, mappings and sequences; other values stay."""
    if isinstance(value, str):
        return value if len(value) < SHORTEST_SECRET else redact_text(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {key: REDACTED if _is_secret(str(key), item) else redact_value(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [redact_value(item) for item in value]
    return value


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Structlog processor: no field named like a secret keeps a text, no text keeps a token."""
    for key, value in event.items():
        event[key] = REDACTED if _is_secret(key, value) else redact_value(value)
    return event


def _is_secret(key: str, value: object) -> bool:
    # Numbers pass: `prompt_token` style counters are figures, not credentials.
    return isinstance(value, str | bytes) and bool(value) and _is_secret_name(key)


@functools.lru_cache(maxsize=1024)
def _is_secret_name(key: str) -> bool:
    return SECRET_FIELD.search(key) is not None


def configure_logging(service: str, *, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's records as JSON lines to `stream` (stdout by default)."""
    out = stream or sys.stdout
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[Callable[..., EventDict]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_service(service),
    ]
    final: list[Callable[..., EventDict | str]] = [structlog.processors.format_exc_info, redact]
    structlog.configure(
        processors=[*shared, *final, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *final,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)


def _add_service(service: str) -> Callable[[object, str, EventDict], EventDict]:
    def add(_logger: object, _method: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    return add
