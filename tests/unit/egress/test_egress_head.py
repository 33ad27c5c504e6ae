"""What a caller may say, and that nothing else is understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_egress.errors import RefusedError
from hearth_egress.head import Target, normalise_host, parse_head


def head(line: str, *fields: str) -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


def refusal(data: bytes) -> int | None:
    try:
        parse_head(data)
    except RefusedError as error:
        return error.status
    return None


@pytest.mark.parametrize(
    ("authority", "host", "port"),
    [
        ("imap.home.example:993", "imap.home.example", 993),
        ("IMAP.Home.Example.:993", "imap.home.example", 993),
        ("10.10.12.5:143", "10.10.12.5", 143),
        ("[FD00:0::1]:443", "fd00::1", 443),
        ("h:65535", "h", 65535),
    ],
)
def test_target(authority: str, host: str, port: int) -> None:
    request = parse_head(head(f"CONNECT {authority} HTTP/1.1", "Host: x", "Proxy-Authorization: Bearer a.b-c"))
    assert request.target == Target(host=host, port=port)
    assert request.token == "a.b-c"
    assert "a.b-c" not in repr(request)


@pytest.mark.parametrize("method", ["GET", "POST", "connect", "OPTIONS", "TRACE"])
def test_other_methods(method: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_head(head(f"{method} http://x/ HTTP/1.1"))
    assert refused.value.status == 405


@pytest.mark.parametrize(
    "line",
    [
        "",
        "CONNECT",
        "CONNECT host HTTP/1.1",
        "CONNECT host:0 HTTP/1.1",
        "CONNECT host:65536 HTTP/1.1",
        "CONNECT host:99999 HTTP/1.1",
        "CONNECT :993 HTTP/1.1",
        "CONNECT user@host:993 HTTP/1.1",
        "CONNECT host:993 HTTP/2",
        "CONNECT host:993  HTTP/1.1",
        "CONNECT http://host:993/ HTTP/1.1",
        "CONNECT [::1:993 HTTP/1.1",
        "CONNECT [:::]:993 HTTP/1.1",
        "CONNECT h\u00f6st:993 HTTP/1.1",
        "CONNECT host:993\n HTTP/1.1",
        "CONNECT -:993:1 HTTP/1.1",
    ],
)
def test_malformed_line(line: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_head(head(line))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "fields",
    [
        ("no colon",),
        (" folded: line",),
        ("name : space",),
        ("x: a\x00b",),
        ("x: a\nProxy-Authorization: Bearer b",),
        ("Proxy-Authorization: Bearer a", "proxy-authorization: Bearer b"),
    ],
)
def test_malformed_field(fields: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError) as refused:
        parse_head(head("CONNECT h:1 HTTP/1.1", *fields))
    assert refused.value.status == 400


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer a b", "Bearer ü"])
def test_no_bearer_is_no_token(value: str) -> None:
    assert parse_head(head("CONNECT h:1 HTTP/1.1", f"Proxy-Authorization: {value}")).token is None


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    assert refusal(data + b"\r\n\r\n") in {400, 405, None}


@given(st.text(alphabet="CONECT :[]0123456789abc.\r\n/HP1-", max_size=60))
def test_nearly_right(text: str) -> None:
    data = f"CONNECT {text} HTTP/1.1\r\n\r\n".encode()
    if refusal(data) is None:
        target = parse_head(data).target
        assert 1 <= target.port <= 65535
        assert target.host == normalise_host(target.host)
    else:
        assert refusal(data) == 400
