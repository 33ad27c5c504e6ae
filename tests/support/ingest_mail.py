"""Builders for the ingest tests: one mail's bytes to its documents, and lists of MIME leaves to compare with."""

from email import message_from_bytes
from email.message import Message
from pathlib import Path

from hearth_ingest.context import ParseContext, build_context
from hearth_ingest.item import Parsed
from hearth_ingest.mail.source import MailSource

CONTEXT = build_context("inbox", kind="email")


def parse_mail(data: bytes, folder: Path, *, context: ParseContext = CONTEXT) -> list[Parsed]:
    """Return the documents of one message, attachments first."""
    path = folder / "one.eml"
    path.write_bytes(data)
    source = MailSource((path,), context=context, form="eml")
    (item,) = source.observe().items
    return source.parse(item)


def count_parts(message: Message, *, inside_rfc822: bool = False) -> int:
    """Return how many MIME parts a message has, not counting those of mails inside it (they are documents)."""
    payload = message.get_payload()
    if not isinstance(payload, list):
        return 1
    if message.get_content_maintype() == "message":
        return 1
    return 1 + sum(count_parts(child) for child in payload if isinstance(child, Message))


def count_all_parts(data: bytes) -> int:
    """Return `count_parts` for raw bytes."""
    return count_parts(message_from_bytes(data))
