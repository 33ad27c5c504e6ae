"""Header fields as they come in real mailboxes."""

from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes

import pytest

from hearth_ingest.mail.dates import observe_date, parse_date
from hearth_ingest.mail.headers import Address, addresses, decode_header, message_ids, params


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(
            "=?utf-8?B?VmVuZG9y?= =?utf-8?Q?_delay?=", "Vendor delay", id="two words of one charset are joined"
        ),
        pytest.param("=?utf-8?B?w6Q=?= =?iso-8859-1?Q?=E4?=", "ää", id="charsets may differ word by word"),
        pytest.param("=?utf-8?Q?=C3?= =?utf-8?Q?=A4?=", "ä", id="a character split over two words"),
        pytest.param("=?klingon?Q?abc?=", "abc", id="an unknown charset"),
        pytest.param("a\r\n b\r\n\tc", "a b c", id="folded lines"),
        pytest.param("caf\udce9", "café", id="8-bit bytes without encoding"),
        pytest.param("=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße", id="a language tag (RFC 2231)"),
        pytest.param("plain =?utf-8?Q?x?=tail", "plain xtail", id="text right behind a word"),
        pytest.param("100% =? not a word ?=", "100% =? not a word ?=", id="what only looks like a word stays"),
    ],
)
def test_header_text(raw: str, text: str) -> None:
    assert decode_header(raw) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('text/plain; charset="utf-8"; Name=a.txt', ("text/plain", {"charset": "utf-8", "name": "a.txt"})),
        ("a/b; filename*=UTF-8''r%C3%A9sum%C3%A9.pdf", ("a/b", {"filename": "résumé.pdf"})),
        ('a/b; filename*0="one-"; filename*1=two.txt', ("a/b", {"filename": "one-two.txt"})),
        ("a/b; filename*0*=iso-8859-1'en'%e4; filename*1*=%F6.txt", ("a/b", {"filename": "äö.txt"})),
        ('a/b; name="=?utf-8?Q?=C3=A4.txt?="', ("a/b", {"name": "ä.txt"})),
        (r'a/b; name="quo\"te;x.txt"', ("a/b", {"name": 'quo"te;x.txt'})),
        ("", ("", {})),
        (";;;=", ("", {})),
    ],
)
def test_parameters(value: str, expected: tuple[str, dict[str, str]]) -> None:
    assert params(value) == expected


def test_a_comma_inside_a_quoted_name_does_not_split_an_address() -> None:
    message = message_from_bytes(b'From: "Berg, Anna" <Anna@Example.org>, bob@example.org\n\n')
    assert addresses(message, "from") == [Address("Berg, Anna", "anna@example.org"), Address(None, "bob@example.org")]


def test_eight_bit_and_encoded_names() -> None:
    message = message_from_bytes(b"From: J\xfcrgen <j@example.org>\nTo: =?utf-8?Q?S=C3=B8ren?= <s@example.org>\n\n")
    assert addresses(message, "from") == [Address("Jürgen", "j@example.org")]
    assert addresses(message, "to") == [Address("Søren", "s@example.org")]


def test_message_ids_with_and_without_brackets() -> None:
    assert message_ids("<a@x> (comment) <b@x> <a@x>") == ("a@x", "b@x")
    assert message_ids("bare@example.org") == ("bare@example.org",)
    assert message_ids("Anna's mail of Monday") == ()


CET = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "value", "code"),
    [
        ("Mon, 5 Oct 2026 09:12:44 +0200", datetime(2026, 10, 5, 9, 12, 44, tzinfo=CET), None),
        ("5 Oct 2026 09:12 +0200 (CEST)", datetime(2026, 10, 5, 9, 12, tzinfo=CET), None),
        ("Mon, 5 Oct 2026 09:12:44", datetime(2026, 10, 5, 9, 12, 44, tzinfo=UTC), "date-without-zone"),
        ("Tue, 5 Sep 09:12:44 +0200", None, "date-without-year"),
        ("", None, "date-missing"),
        ("yesterday 2026", None, "date-unreadable"),
        ("Mon, 5 Oct 2026 29:99:44 +0200", None, "date-unreadable"),
        ("Mon, 5 Oct 1907 09:12:44 +0200", None, "date-out-of-range"),
        ("Mon, 5 Oct 2026 09:12:44 +9999", None, "date-unreadable"),
    ],
)
def test_dates(text: str, value: datetime | None, code: str | None) -> None:
    assert parse_date(text) == (value, code)


def test_a_missing_date_is_taken_from_the_newest_received_header_and_said() -> None:
    date = observe_date("", received="from a by b; Mon, 5 Oct 2026 09:12:44 +0200")
    assert date.value == datetime(2026, 10, 5, 9, 12, 44, tzinfo=CET)
    assert [code for code, _ in date.warnings] == ["date-missing", "date-from-received"]


def test_the_mailbox_line_is_the_last_resort() -> None:
    date = observe_date("Tue, 5 Sep 09:00", envelope="Mon Oct  5 09:12:44 2026")
    assert date.value == datetime(2026, 10, 5, 9, 12, 44, tzinfo=UTC)
    assert [code for code, _ in date.warnings] == ["date-without-year", "date-from-envelope"]
