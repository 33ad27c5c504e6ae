"""RTF: the text that a reader sees, in its code pages; objects, pictures and hidden words stay out.

Runs in the sandbox.
"""

import re
from dataclasses import dataclass, field, replace

from hearth_api.wire.documents import Part
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.documents.rich import Notes, row_text
from hearth_ingest.documents.web import build_segments
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.markup import Block

_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})?[ ]?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z'])|([{}])|[\r\n]+|([^\\{}\r\n]+)|\\'|\\"
)
_MAX_DEPTH = 500
# fmt: off
_SKIPPED = frozenset(
    (
        b"fonttbl colortbl stylesheet listtable listoverridetable rsidtbl generator xmlnstbl themedata "
        b"colorschememapping latentstyles datastore datafield fldinst pict objdata objclass header headerl headerr "
        b"headerf footer footerl footerr footerf filetbl revtbl bkmkstart bkmkend pntext listtext sp atnid "
        b"atnauthor atrfstart atrfend atntime atndate pgptbl mmathPr nonshppict operator userprops docvar fontemb "
        b"fontfile blipuid passwordhash "
    ).split()
)
_WORDS = {
    b"tab": "\t", b"line": "\n", b"lquote": "‘", b"rquote": "’", b"ldblquote": "“", b"rdblquote": "”", b"bullet": "•",
    b"endash": "–", b"emdash": "—", b"enspace": " ", b"emspace": " ", b"softline": "\n", b"page": "\n", b"column": "\n",
}
_CHARSETS = {
    0: "cp1252", 1: "cp1252", 77: "mac-roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "cp936", 136: "cp950",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251",
    222: "cp874",
    238: "cp1250", 254: "cp437", 255: "cp850",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class _State:
    skipped: bool = False
    hidden: bool = False
    deleted: bool = False
    codec: str = "cp1252"
    unicode_skip: int = 1
    note: bool = False
    level: int = 0
    place: str = ""
    """"font" inside the font table, "title" inside the document's title."""


def read_rtf(data: bytes, limits: RunLimits) -> Body:
    """Return a document's sections. Raises ItemError."""
    del limits
    if not data.lstrip()[:5].startswith(b"{\\rtf"):
        raise ItemError("office-unparseable", "it does not begin as RTF does")
    reader = _Reader()
    at = 0
    while at < len(data):
        match = _TOKEN.match(data, at)
        if match is None:
            break
        at = match.end()
        if match[1] == b"bin" and match[2]:
            at += max(0, int(match[2]))
            continue
        reader.take(match)
    return reader.finish()


@dataclass(slots=True)
class _Reader:
    state: _State = field(default_factory=_State)
    stack: list[_State] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    blocks: list[Block] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    title: str = ""
    text: list[str] = field(default_factory=list)
    note: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    fonts: dict[int, str] = field(default_factory=dict)
    font: int = 0
    page: str = "cp1252"
    skip: int = 0
    starred: bool = False
    in_table: bool = False
    surrogate: int = 0

    def take(self, match: re.Match[bytes]) -> None:
        word, number, code, symbol, brace, text = match.groups()
        if code is not None:
            self._byte(bytes((int(code, 16),)))
        elif text is not None:
            self._byte(text)
        else:
            self._flush_raw()
            if brace == b"{":
                if len(self.stack) >= _MAX_DEPTH:
                    raise RefusedError("too-deep", f"{_MAX_DEPTH} groups allowed")
                self.stack.append(self.state)
            elif brace == b"}":
                self._close()
            elif symbol is not None:
                self._symbol(symbol)
            elif word is not None:
                self._word(word, int(number) if number else None)
        if word is None and symbol != b"*" and brace is None:
            self.starred = False

    def _close(self) -> None:
        was = self.state
        self.state = self.stack.pop() if self.stack else _State(skipped=True)
        if was.note and not self.state.note:
            text = " ".join("".join(self.note).split())
            self.note.clear()
            if text:
                self.remarks.append(text)

    def _byte(self, data: bytes) -> None:
        if self.skip:
            drop = min(self.skip, len(data))
            self.skip -= drop
            data = data[drop:]
        self.raw += data

    def _flush_raw(self) -> None:
        if self.raw:
            data = bytes(self.raw)
            self.raw.clear()
            self._write(data.decode(self.state.codec, "replace"))

    def _write(self, text: str) -> None:
        state = self.state
        if state.place == "title":
            self.title += text
        elif state.skipped:
            return
        elif state.hidden:
            self.notes.hide("vanish", text)
        elif not state.deleted:
            (self.note if state.note else self.text).append(text)

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self.starred = True
        elif symbol in {b"\n", b"\r"}:
            self._paragraph()
        elif symbol in b"\\{}":
            self._write(symbol.decode())
        elif symbol == b"~":
            self._write(" ")
        elif symbol == b"_":
            self._write("-")

    def _word(self, word: bytes, number: int | None) -> None:
        starred, self.starred = self.starred, False
        if word in _SKIPPED or (starred and word not in {b"shptxt", b"shpinst", b"annotation", b"cs", b"fldrslt"}):
            self._skip_group(word)
        elif word in _WORDS:
            self._write(_WORDS[word])
        elif word == b"u" and number is not None:
            self._unicode(number % 0x10000)
        elif word in {b"par", b"sect"}:
            self._paragraph()
        elif word in {b"cell", b"nestcell"}:
            self._end_cell()
        elif word in {b"row", b"nestrow"}:
            self._end_row()
        else:
            self._set(word, number)

    def _skip_group(self, word: bytes) -> None:
        if word == b"pict":
            self.parts.append(Part(media_type="image/x-rtf", used=False, reason="media-not-read"))
        elif word == b"objdata":
            self.parts.append(Part(media_type="application/octet-stream", used=False, reason="embedded-object"))
        elif word in {b"header", b"footer", b"headerf", b"footerf"}:
            self.parts.append(Part(media_type="text/rtf", used=False, reason="page-header"))
        self.state = replace(self.state, skipped=True, place="font" if word == b"fonttbl" else "")

    def _set(self, word: bytes, number: int | None) -> None:
        on = number != 0
        if word == b"v":
            self.state = replace(self.state, hidden=on)
        elif word == b"deleted":
            self.state = replace(self.state, deleted=on)
        elif word == b"plain":
            self.state = replace(self.state, hidden=False, deleted=False)
        elif word == b"pard":
            self.state = replace(self.state, level=0)
            self.in_table = False
        elif word == b"intbl":
            self.in_table = True
        elif word == b"outlinelevel" and number is not None:
            self.state = replace(self.state, level=min(max(number, 0), 5) + 1)
        elif word == b"uc" and number is not None:
            self.state = replace(self.state, unicode_skip=min(max(number, 0), 16))
        elif word in {b"footnote", b"annotation"}:
            self.state = replace(self.state, note=True)
        elif word == b"info":
            self.state = replace(self.state, skipped=True)
        elif word == b"title":
            self.state = replace(self.state, place="title")
        elif word in {b"ansicpg", b"mac", b"pc", b"pca"}:
            names = {b"mac": "mac-roman", b"pc": "cp437", b"pca": "cp850"}
            self.page = _codec(names.get(word) or f"cp{number}", self.page)
            self.state = replace(self.state, codec=self.page)
        elif word == b"f" and number is not None:
            self.font = number
            if self.state.place != "font":
                self.state = replace(self.state, codec=self.fonts.get(number, self.page))
        elif word == b"fcharset" and number is not None and self.state.place == "font" and number > 1:
            self.fonts[self.font] = _codec(_CHARSETS.get(number, ""), self.page)

    def _unicode(self, point: int) -> None:
        self.skip = self.state.unicode_skip
        if 0xD800 <= point < 0xDC00:
            self.surrogate = point
            return
        if 0xDC00 <= point < 0xE000:
            point = 0x10000 + ((self.surrogate - 0xD800) << 10) + (point - 0xDC00) if self.surrogate else 0xFFFD
        self.surrogate = 0
        self._write(chr(point))

    def _paragraph(self) -> None:
        if self.state.note:
            self.note.append("\n")
            return
        if self.state.skipped:
            return
        if self.in_table:
            self.text.append(" ")
            return
        self._end_table()
        text = self.notes.tidy("".join(self.text)).strip()
        self.text.clear()
        if text:
            self.blocks.append(Block("heading", text, self.state.level) if self.state.level else Block("text", text))

    def _end_cell(self) -> None:
        self.cells.append(self.notes.tidy("".join(self.text)).strip())
        self.text.clear()

    def _end_row(self) -> None:
        if any(self.cells):
            self.rows.append(row_text(self.cells))
        self.cells.clear()

    def _end_table(self) -> None:
        if self.cells:
            self._end_row()
        if self.rows:
            self.blocks.append(Block("table", "\n".join(self.rows)))
            self.rows.clear()

    def finish(self) -> Body:
        self._flush_raw()
        if self.stack:
            self.notes.warn("office-cut", "it ends in the middle")
        self.in_table = False
        self.state = _State()
        self._paragraph()
        self._end_table()
        segments = [*build_segments(self.blocks)]
        segments += [segment(f"Footnote: {self.notes.tidy(text)}", role="notes") for text in self.remarks]
        first = next((block.text for block in self.blocks if block.kind == "heading"), "")
        title = self.notes.tidy(self.title).strip() or first
        return Body(
            title=title,
            segments=tuple(segments),
            warnings=self.notes.all(empty=not segments),
            parts=tuple(self.parts[:500]),
        )


def _codec(name: str, default: str) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return "utf-8" if name == "cp65001" else default
    return name
