"""Write PDF files from text.

`# ` and `## ` begin headings, four leading blanks keep a line as it is in a fixed-width font, a line `<page>` starts
a new page and a blank line ends a paragraph. Streams stay uncompressed, because compressed bytes differ between
builds of zlib.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "sources"
PAGE_WIDTH, PAGE_HEIGHT, MARGIN = 595, 842, 64
CHARACTERS_PER_LINE = 88  # what fits between the margins in Helvetica 10.5


def build_pdf(name: str, *, title: str) -> bytes:
    return render_pdf((SOURCES / "pdf" / f"{name}.txt").read_text(encoding="utf-8"), title=title)


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
