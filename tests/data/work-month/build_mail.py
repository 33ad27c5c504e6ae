"""Build the mailbox of the sample month from `sources/mails/*.yaml`."""

from __future__ import annotations

import base64
import hashlib
import quopri
import textwrap
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import yaml
from build_pdf import build_pdf

DOMAIN = "example.org"
# Summer time ended on this day; an explicit table needs no time zone database.
WINTER_TIME = datetime(2026, 10, 25, 3, 0)

Mail = Mapping[str, Any]


class SourceError(ValueError):
    """A source file names something that does not exist, or cannot be written as it asks."""


class Mailbox:
    """All mails of the sources by id, and the people in them."""

    def __init__(self, people: Mapping[str, Any], mails: list[Mail]) -> None:
        self.people = people
        self.mails: dict[str, Mail] = {mail["id"]: mail for mail in mails}
        if len(self.mails) != len(mails):
            raise SourceError("an id is used twice")

    @classmethod
    def load(cls, folder: Path) -> Mailbox:
        people = yaml.safe_load((folder / "people.yaml").read_text(encoding="utf-8"))
        files = sorted((folder / "mails").glob("*.yaml"))
        return cls(people, [mail for file in files for mail in yaml.safe_load(file.read_text(encoding="utf-8"))])

    def render(self) -> bytes:
        """Return the mbox in the order of arrival, quoted the mboxrd way."""
        shown = sorted((m for m in self.mails.values() if not m.get("only_nested")), key=sent_at)
        return b"".join(self._envelope(mail) for mail in shown)

    def _envelope(self, mail: Mail) -> bytes:
        sender = self.people[mail["from"]]["address"]
        arrived = time.asctime(sent_at(mail).astimezone(UTC).timetuple())
        lines = self.render_mail(mail).rstrip(b"\n").split(b"\n")
        quoted = [b">" + line if line.lstrip(b">").startswith(b"From ") else line for line in lines]
        return f"From {sender} {arrived}\n".encode() + b"\n".join(quoted) + b"\n\n"

    def render_mail(self, mail: Mail) -> bytes:
        """Return one message with its headers, lines ended by LF as an mbox holds them."""
        headers = [
            "From: " + self._address(mail["from"]),
            "To: " + ",\n ".join(self._address(key) for key in mail["to"]),
            *(["Cc: " + ",\n ".join(self._address(key) for key in mail["cc"])] if "cc" in mail else []),
            "Subject: " + encode_words(mail["subject"], charset=mail.get("charset", "utf-8")),
            "Date: " + format_datetime(sent_at(mail)),
            "Message-ID: " + message_id(mail["id"]),
            *self._thread_headers(mail),
            "MIME-Version: 1.0",
        ]
        return "\n".join(headers).encode("ascii") + b"\n" + self._body(mail)

    def _thread_headers(self, mail: Mail) -> list[str]:
        ancestors: list[str] = []
        parent = mail.get("parent")
        while parent:
            if parent not in self.mails:
                raise SourceError(f"{mail['id']}: parent {parent} does not exist")
            ancestors.insert(0, message_id(parent))
            parent = self.mails[parent].get("parent")
        if not ancestors:
            return []
        return ["In-Reply-To: " + ancestors[-1], "References: " + "\n ".join(ancestors)]

    def _address(self, key: str) -> str:
        person = self.people[key]
        name: str = person["name"]
        if not name.isascii():
            name = encode_words(name, charset=person.get("charset", "utf-8"))
        elif any(character in name for character in ',.()"'):
            name = f'"{name}"'
        return f"{name} <{person['address']}>"

    def _body(self, mail: Mail) -> bytes:
        text = self.full_text(mail) if "text" in mail else None
        options = {"charset": mail.get("charset", "utf-8"), "encoding": mail.get("encoding")}
        views = []
        if text is not None:
            views.append(text_part("text/plain", text, **options))
        if "html" in mail:
            views.append(text_part("text/html", mail["html"], **options))
        if "calendar" in mail:
            # RFC 5545 wants CRLF inside a calendar; base64 keeps it through any mail store.
            calendar = mail["calendar"].replace("\n", "\r\n")
            method = "CANCEL" if "METHOD:CANCEL" in calendar else "REQUEST"
            views.append(text_part(f"text/calendar; method={method}", calendar, charset="utf-8", encoding="base64"))
        body = views[0] if len(views) == 1 else multipart("alternative", views, seed=mail["id"])
        if "attachments" in mail:
            parts = [body, *(self._attachment(item) for item in mail["attachments"])]
            body = multipart("mixed", parts, seed=mail["id"])
        return body

    def _attachment(self, item: Mapping[str, Any]) -> bytes:
        disposition = f'Content-Disposition: attachment; filename="{item["name"]}"\n'.encode()
        if "message" in item:
            return (
                b"Content-Type: message/rfc822\n" + disposition + b"\n" + self.render_mail(self.mails[item["message"]])
            )
        if "pdf" in item:
            data = build_pdf(item["pdf"], title=item["name"])
            return binary_part("application/pdf", data, extra=disposition)
        return binary_part(f"{item['type']}; charset=utf-8", item["text"].encode(), extra=disposition)

    def full_text(self, mail: Mail) -> str:
        """Return what the sender's program shows: the text, the signature and the quoted parent."""
        blocks = [mail["text"].rstrip("\n")]
        signature = self.people[mail["from"]].get("signature")
        if signature and mail.get("signature", True):
            blocks.append("-- \n" + signature.rstrip("\n"))
        if "quote" in mail:
            blocks.append(self._quote(self.mails[mail["parent"]], style=mail["quote"]))
        return "\n\n".join(blocks) + "\n"

    def _quote(self, parent: Mail, *, style: str) -> str:
        name, sent = self.people[parent["from"]]["name"], sent_at(parent)
        text = self.full_text(parent)
        if style == "outlook":
            to = "; ".join(self.people[key]["name"] for key in parent["to"])
            head = f"From: {name}\nSent: {sent:%d/%m/%Y %H:%M}\nTo: {to}\nSubject: {parent['subject']}"
            return f"-----Original Message-----\n{head}\n\n{text}".rstrip("\n")
        intro = {
            "wrote": f"On {sent.day} {sent:%b %Y} at {sent:%H:%M}, {name} wrote:",
            "german": f"Am {sent:%d.%m.%Y} um {sent:%H:%M} schrieb {name}:",
            "french": f"Le {sent:%d/%m/%Y} à {sent:%H:%M}, {name} a écrit :",
        }
        if style not in intro:
            raise SourceError(f"quote style {style} is not known")
        return intro[style] + "\n" + "\n".join(quote_line(line) for line in text.rstrip("\n").split("\n"))


def quote_line(line: str) -> str:
    return ">" + line if line.startswith(">") else f"> {line}".rstrip()


def sent_at(mail: Mail) -> datetime:
    local = datetime.strptime(mail["date"], "%Y-%m-%d %H:%M")
    return local.replace(second=hashlib.sha256(mail["id"].encode()).digest()[0] % 60, tzinfo=zone_of(local))


def zone_of(local: datetime) -> timezone:
    """Return Berlin's offset at a naive local time."""
    return timezone(timedelta(hours=1 if local >= WINTER_TIME else 2))


def message_id(key: str) -> str:
    return f"<{key}@{DOMAIN}>"


def encode_words(text: str, *, charset: str) -> str:
    """Write a header value after RFC 2047: UTF-8 as base64, anything else as quoted-printable, one word a line."""
    if text.isascii():
        return text
    words = []
    for start in range(0, len(text), 18):
        raw = text[start : start + 18].encode(charset)
        if charset == "utf-8":
            words.append(f"=?utf-8?B?{base64.b64encode(raw).decode()}?=")
        else:
            safe = "".join(chr(b) if chr(b).isalnum() and b < 128 else f"={b:02X}" for b in raw)
            words.append(f"=?{charset}?Q?{safe.replace('=20', '_')}?=")
    return "\n ".join(words)


def text_part(media_type: str, text: str, *, charset: str, encoding: str | None) -> bytes:
    """Return headers, blank line and content; without an encoding ASCII stays as it is and the rest becomes QP."""
    raw = text.encode(charset)
    encoding = encoding or ("7bit" if text.isascii() else "quoted-printable")
    if encoding == "base64":
        return binary_part(f"{media_type}; charset={charset}", raw)
    content = quopri.encodestring(raw) if encoding == "quoted-printable" else raw
    shown = "us-ascii" if encoding == "7bit" else charset
    head = f"Content-Type: {media_type}; charset={shown}\nContent-Transfer-Encoding: {encoding}\n\n"
    return head.encode() + content


def binary_part(media_type: str, data: bytes, *, extra: bytes = b"") -> bytes:
    lines = textwrap.wrap(base64.b64encode(data).decode(), 76)
    head = f"Content-Type: {media_type}\nContent-Transfer-Encoding: base64\n".encode()
    return head + extra + b"\n" + "\n".join(lines).encode() + b"\n"


def multipart(kind: str, parts: list[bytes], *, seed: str) -> bytes:
    boundary = "=_" + hashlib.sha256(f"{kind}:{seed}".encode()).hexdigest()[:24]
    head = f'Content-Type: multipart/{kind};\n boundary="{boundary}"\n\n'.encode()
    fence = f"--{boundary}\n".encode()
    return head + b"".join(fence + part + b"\n" for part in parts) + f"--{boundary}--\n".encode()
