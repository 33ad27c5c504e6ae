"""Logs are JSON lines and carry no credential, whatever the caller passes."""

import io
import json
import logging

import pytest
import structlog

from hearth_common.logs import REDACTED, configure_logging, redact_text

KEY = "hearth_abcdefghij_" + "A1b-" * 10 + "xyz"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"


@pytest.fixture
def stream():
    out = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging("test", stream=out)
    yield out
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_service_level_and_time(stream):
    structlog.get_logger().info("request", model="chat", took_ms=3)
    (line,) = _lines(stream)
    assert line["event"] == "request"
    assert line["service"] == "test"
    assert line["level"] == "info"
    assert line["took_ms"] == 3
    assert "timestamp" in line


@pytest.mark.parametrize(
    "secret", [KEY, JWT, "Bearer abcdefgh12345678"], ids=["api key", "service account token", "bearer"]
)
def test_a_credential_inside_text_is_replaced(stream, secret):
    structlog.get_logger().warning(f"refused {secret}", header=f"x {secret}", nested={"deep": [secret]})
    logging.getLogger("aiohttp").error("failed for %s", secret)
    assert secret.removeprefix("Bearer ") not in stream.getvalue()
    assert len(_lines(stream)) == 2


@pytest.mark.parametrize("field", ["token", "serve_token", "Authorization", "api-key", "client_secret", "password"])
def test_a_field_named_like_a_secret_is_replaced(stream, field):
    structlog.get_logger().info("x", **{field: "plain words"})
    assert _lines(stream)[0][field] == REDACTED


def test_counters_of_tokens_stay(stream):
    structlog.get_logger().info("x", prompt_tokens=12, token=5)
    assert _lines(stream)[0]["prompt_tokens"] == 12
    assert _lines(stream)[0]["token"] == 5


def test_exceptions_are_redacted_too(stream):
    try:
        raise ValueError(KEY)
    except ValueError:
        structlog.get_logger().exception("failed")
    assert KEY not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_a_private_key_is_replaced_even_when_cut_off():
    assert "MIIE" not in redact_text("-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n")
