"""Build mail.mbox and the PDF files of the quickstart from the readable texts in `sources/`.

    python build.py              # writes beside this file
    python build.py --out DIR    # writes elsewhere, for the comparison in the tests

The same sources give the same bytes: boundaries and seconds are derived from the id of a mail, and headers are
written here and not by `email`, whose folding differs between versions of Python. Streams in PDFs stay uncompressed,
because compressed bytes differ between builds of zlib.

The text of a PDF: `# ` and `## ` begin headings, four leading blanks keep a line as it is in a fixed-width font, a
line `<page>` starts a new page and a blank line ends a paragraph.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import quopri
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "sources"
DOMAIN = "example.org"
# Each PDF that is a document by itself; the others are only attached to mails.
PDF_DOCUMENTS = {
    "contract-summary-pinecroft": "Summary of the hosting contract with Pinecroft",
    "price-list-2027": "Heron price list 2027",
    "travel-policy": "Travel policy",
}
# Summer time ended on this day; an explicit table needs no time zone database.
WINTER_TIME = datetime(2026, 10, 25, 3, 0)
PAGE_WIDTH, PAGE_HEIGHT, MARGIN = 595, 842, 64
CHARACTERS_PER_LINE = 88  # what fits between the margins in Helvetica 10.5

Mail = Mapping[str, Any]


class SourceError(ValueError):
    """A source file names something that does not exist, or cannot be written as it asks."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE)
    out: Path = parser.parse_args().out
    (out / "documents").mkdir(parents=True, exist_ok=True)
    (out / "mail.mbox").write_bytes(Mailbox.load(SOURCES).render())
    for name, title in PDF_DOCUMENTS.items():
        (out / "documents" / f"{name}.pdf").write_bytes(build_pdf(name, title=title))


def build_pdf(name: str, *, title: str) -> bytes:
    return render_pdf((SOURCES / "pdf" / f"{name}.txt").read_text(encoding="utf-8"), title=title)


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
            views.append(text_part("text/calendar; method=REQUEST", calendar, charset="utf-8", encoding="base64"))
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
    zone = timezone(timedelta(hours=1 if local >= WINTER_TIME else 2))
    return local.replace(second=hashlib.sha256(mail["id"].encode()).digest()[0] % 60, tzinfo=zone)


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


@dataclass(frozen=True, slots=True)
class Line:
    """One line on a page: its font resource, size in points and the space below it in points."""

    text: str
    font: str = "F1"
    size: float = 10.5
    leading: float = 15


def render_pdf(source: str, *, title: str) -> bytes:
    """Return a PDF 1.4 file of `source`, with a text layer in WinAnsi encoding."""
    pages = [_layout(page) for page in source.split("<page>\n")]
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (7 + 2 * i) for i in range(len(pages))), len(pages)),
        _font(b"Helvetica"),
        _font(b"Helvetica-Bold"),
        _font(b"Courier"),
        b"<< /Title (%s) /Producer (simple_pdf) >>" % _escape(title),
    ]
    for number, lines in enumerate(pages):
        stream = _content(lines)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R /F2 4 0 R /F3 5 0 R >> >> >>" % (PAGE_WIDTH, PAGE_HEIGHT, 8 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    return _assemble(objects)


def _layout(page: str) -> list[Line]:
    lines: list[Line] = []
    for block in page.strip("\n").split("\n\n"):
        for raw in block.splitlines():
            if raw.startswith("## "):
                lines.append(Line(raw[3:], font="F2", size=13, leading=22))
            elif raw.startswith("# "):
                lines.append(Line(raw[2:], font="F2", size=19, leading=30))
            elif raw.startswith("    "):
                lines.append(Line(raw[4:], font="F3", size=9.5, leading=14))
            else:
                lines.extend(Line(text) for text in textwrap.wrap(raw, CHARACTERS_PER_LINE))
        lines.append(Line("", leading=9))
    return lines


def _content(lines: list[Line]) -> bytes:
    out, y = [b"BT"], float(PAGE_HEIGHT - MARGIN)
    for line in lines:
        if line.text:
            position = f"1 0 0 1 {MARGIN} {y:.1f} Tm".encode()
            out.append(b"/%s %.1f Tf %s (%s) Tj" % (line.font.encode(), line.size, position, _escape(line.text)))
        y -= line.leading
    if y < MARGIN / 2:
        raise ValueError(f"page is too long by {MARGIN / 2 - y:.0f} points; add a <page> line")
    return b"\n".join([*out, b"ET"])


def _assemble(objects: list[bytes]) -> bytes:
    out, offsets = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 6 0 R >>\n" % (len(objects) + 1)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def _font(name: bytes) -> bytes:
    return b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>" % name


def _escape(text: str) -> bytes:
    raw = text.encode("cp1252")
    return raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


if __name__ == "__main__":
    main()
