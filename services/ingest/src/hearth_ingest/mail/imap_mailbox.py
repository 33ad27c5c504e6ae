"""What an IMAP account holds: its mailboxes, and the messages of one by their attributes, without their bodies."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hearth_ingest.mail.imap_session import LostError, RefusedCommandError, Session
from hearth_ingest.mail.imap_wire import Response, Value, WireError, decode_mailbox, parse_values, quote

BATCH = 250
_FIELDS = b"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID REFERENCES IN-REPLY-TO DATE)]"
_RECEIVED = b"BODY.PEEK[HEADER.FIELDS (RECEIVED)]"
_UNUSABLE = frozenset({b"\\NOSELECT", b"\\NONEXISTENT"})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_INTERNAL = re.compile(r"\s*(\d{1,2})-(\w{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    r"""A mailbox: its name as the server writes it and as people do, and its special uses, as \Trash."""

    raw: bytes
    name: str
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An examined mailbox: how many messages it has, and the numbers that tell whether it is still the same."""

    count: int
    validity: int
    next_uid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A message as the listing sees it. `stamp` is when the server took it, in Unix seconds, None if unreadable."""

    uid: int
    size: int
    stamp: float | None
    header: bytes


def list_mailboxes(session: Session) -> list[Mailbox]:
    """Return the mailboxes that hold messages, sorted by name. Raises LostError, RefusedCommandError."""
    found: dict[bytes, Mailbox] = {}
    for response in list(session.command("LIST", b'""', b'"*"')):
        if response.word != b"LIST":
            continue
        values = _values(response)
        if len(values) < 4 or not isinstance(values[1], list):
            continue
        flags = {flag.upper(): flag.decode("ascii", "replace") for flag in values[1] if isinstance(flag, bytes)}
        if flags.keys() & _UNUSABLE:
            continue
        raw = values[3] if isinstance(values[3], bytes) else b"NIL"
        delimiter = values[2] if isinstance(values[2], bytes) and len(values[2]) == 1 else None
        found[raw] = Mailbox(raw=raw, name=_display(raw, delimiter), uses=frozenset(flags.values()))
    return sorted(found.values(), key=lambda mailbox: mailbox.name)


def personal_prefix(session: Session) -> str:
    """Return the prefix that all of the account's own mailboxes carry, as "INBOX/", or ""."""
    if "NAMESPACE" not in session.known():
        return ""
    for response in list(session.command("NAMESPACE")):
        values = _values(response)
        if response.word != b"NAMESPACE" or len(values) < 2 or not isinstance(values[1], list) or not values[1]:
            continue
        first = values[1][0]
        if isinstance(first, list) and len(first) >= 2 and isinstance(first[0], bytes):
            return _display(first[0], first[1] if isinstance(first[1], bytes) else None)
    return ""


def examine(session: Session, mailbox: Mailbox) -> Opened:
    """Open a mailbox for reading only. Raises LostError, RefusedCommandError."""
    count, validity, following = 0, 0, None
    for response in list(session.command("EXAMINE", _quoted(mailbox.raw))):
        words = response.text.split()
        if len(words) == 2 and words[1].upper() == b"EXISTS" and words[0].isdigit():
            count = int(words[0])
        elif response.word == b"OK":
            code, argument, _ = response.status()
            if code == b"UIDVALIDITY" and argument.isdigit():
                validity = int(argument)
            elif code == b"UIDNEXT" and argument.isdigit():
                following = int(argument)
    return Opened(count=count, validity=validity, next_uid=following)


def grown(session: Session, mailbox: Mailbox, opened: Opened) -> bool:
    """Tell whether mails have come into a mailbox since it was opened, or it was made anew."""
    if opened.next_uid is None:
        return False
    for response in list(session.command("STATUS", _quoted(mailbox.raw), b"(UIDNEXT UIDVALIDITY)")):
        values = _values(response)
        if response.word == b"STATUS" and values and isinstance(values[-1], list):
            facts = _pairs(values[-1])
            now = (_number(facts.get(b"UIDNEXT")), _number(facts.get(b"UIDVALIDITY")))
            return now != (opened.next_uid, opened.validity)
    return False


def list_messages(session: Session, count: int) -> Iterator[tuple[int, list[Seen]]]:
    """Yield, batch by batch, how many messages did not answer and those that did without those marked as deleted.

    By sequence numbers: they stand still while nothing but FETCH is asked (RFC 3501, 7.4.1), and ranges of them hold
    as many messages as they say, whatever holes the UIDs have. Raises LostError where the server does not keep to that.
    """
    for start in range(1, count + 1, BATCH):
        numbers = b"%d:%d" % (start, min(count, start + BATCH - 1))
        attributes: dict[int, dict[bytes, Value]] = {}
        for response in list(
            session.command("FETCH", numbers, b"(UID FLAGS RFC822.SIZE INTERNALDATE " + _FIELDS + b")")
        ):
            if response.text.upper().endswith(b" EXPUNGE"):
                raise LostError("mails went away while the mailbox was listed")
            for number, facts in _fetched(response):
                attributes.setdefault(number, {}).update(facts)
        asked = range(start, min(count, start + BATCH - 1) + 1)
        answers = [attributes[number] for number in asked if b"UID" in attributes.get(number, {})]
        yield len(asked) - len(answers), [seen for facts in answers if (seen := _seen(facts)) is not None]


def _seen(facts: dict[bytes, Value]) -> Seen | None:
    uid, flags = _number(facts.get(b"UID")), facts.get(b"FLAGS")
    if uid is None:
        return None
    if isinstance(flags, list) and any(isinstance(flag, bytes) and flag.upper() == b"\\DELETED" for flag in flags):
        return None
    date = facts.get(b"INTERNALDATE")
    return Seen(
        uid=uid,
        size=_number(facts.get(b"RFC822.SIZE")) or 0,
        stamp=parse_internal(date.decode("ascii", "replace")) if isinstance(date, bytes) else None,
        header=_body(facts) or b"",
    )


def fetch_received(session: Session, uids: Sequence[int]) -> dict[int, bytes]:
    """Return the Received fields of messages of the examined mailbox by UID."""
    return fetch(session, uids, what=_RECEIVED, limit=1 << 20)


def fetch(session: Session, uids: Sequence[int], *, what: bytes, limit: int) -> dict[int, bytes]:
    """Return one part of messages of the examined mailbox by UID; those that are gone are not in it.

    `limit` bounds a single part in bytes. Raises LostError, RefusedCommandError, LiteralTooLargeError.
    """
    found: dict[int, bytes] = {}
    for start in range(0, len(uids), BATCH):
        wanted = b",".join(b"%d" % uid for uid in uids[start : start + BATCH])
        for response in list(session.command("UID", b"FETCH", wanted, b"(UID " + what + b")", literal_limit=limit)):
            for _, facts in _fetched(response):
                uid, body = _number(facts.get(b"UID")), _body(facts)
                if uid is not None and body is not None:
                    found[uid] = body
    return found


def _fetched(response: Response) -> Iterator[tuple[int, dict[bytes, Value]]]:
    """Yield (sequence number, attributes) of a FETCH response, nothing of others."""
    words = response.text.split(b" ", 2)
    if len(words) < 3 or words[1].upper() != b"FETCH" or not words[0].isdigit():
        return
    values = _values(response)
    if len(values) == 3 and isinstance(values[2], list):
        yield int(words[0]), _pairs(values[2])


def _pairs(values: list[Value]) -> dict[bytes, Value]:
    names = values[::2]
    return {name.upper(): value for name, value in zip(names, values[1::2], strict=False) if isinstance(name, bytes)}


def _body(facts: dict[bytes, Value]) -> bytes | None:
    for name, value in facts.items():
        if name.startswith((b"BODY[", b"RFC822")) and name != b"RFC822.SIZE":
            return value if isinstance(value, bytes) else b""
    return None


def _number(value: Value) -> int | None:
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) < 20 else None


def _values(response: Response) -> list[Value]:
    try:
        return parse_values(response.chunks)
    except WireError as error:
        raise LostError(str(error)) from error


def _quoted(raw: bytes) -> bytes:
    try:
        return quote(raw)
    except ValueError as error:
        raise RefusedCommandError("EXAMINE", status="NO", code="", sentence=f"its name holds {error}") from error


def _display(raw: bytes, delimiter: bytes | None) -> str:
    """Return a name for people: characters for modified UTF-7, "/" between levels, INBOX in capitals."""
    levels = raw.split(delimiter) if delimiter else [raw]
    names = [decode_mailbox(level) for level in levels]
    if names[0].upper() == "INBOX":
        names[0] = "INBOX"
    return "/".join(names)


def parse_internal(text: str) -> float | None:
    """Return the Unix seconds of an INTERNALDATE, as " 1-Feb-2026 09:00:00 +0100"."""
    match = _INTERNAL.match(text)
    if match is None or match[2].lower() not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[n]) for n in (1, 3, 4, 5, 6))
    offset = (int(match[8]) * 60 + int(match[9])) * 60 * (-1 if match[7] == "-" else 1)
    try:
        return (
            datetime(year, _MONTHS.index(match[2].lower()) + 1, day, hour, minute, second, tzinfo=UTC).timestamp()
            - offset
        )
    except ValueError:
        return None
