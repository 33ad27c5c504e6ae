"""Markdown: a segment for each heading's section, front matter read, HTML comments taken out."""

import re
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

from hearth_api.wire.documents import DocumentWarning
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import Body
from hearth_ingest.documents.text import decode
from hearth_ingest.documents.web import build_segments
from hearth_ingest.markup import Block, read_html

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^(title|date|created)[ \t]*:[ \t]*(.+?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def read_markdown(data: bytes, limits: RunLimits) -> Body:
    """Return a Markdown file's title (front matter, else first heading) and sections."""
    del limits
    text, warnings = decode(data)
    fields: dict[str, str] = {}
    front = _FRONT_MATTER.match(text)
    if front:
        fields = {name.lower(): value.strip("\"'") for name, value in _FIELD.findall(front[1])}
        text = text[front.end() :]
    reader = _Reader()
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        reader.take(token)
    if reader.hidden:
        warnings = (*warnings, DocumentWarning(code="hidden-text", detail=f"comment: {reader.hidden} characters"))
    first = next((block.text for block in reader.blocks if block.kind == "heading"), "")
    return Body(
        title=fields.get("title") or first,
        segments=build_segments(reader.blocks),
        warnings=warnings,
        created=fields.get("date") or fields.get("created"),
    )


@dataclass(slots=True)
class _Reader:
    """Folds the token stream into blocks; `hidden` counts the characters of removed comments."""

    blocks: list[Block] = field(default_factory=list)
    hidden: int = 0
    lists: list[str] = field(default_factory=list)
    bullet: str = ""
    level: int = 0
    quote: int = 0
    in_cell: bool = False
    row: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)

    def take(self, token: Token) -> None:
        kind = token.type
        if kind.endswith("_open"):
            self._open(kind.removesuffix("_open"), token)
        elif kind.endswith("_close"):
            self._close(kind.removesuffix("_close"))
        elif kind == "inline":
            self._inline(token)
        elif kind in {"fence", "code_block"}:
            self._add(token.content.rstrip("\n"))
        elif kind == "html_block":
            self.hidden += sum(len(match) for match in _COMMENT.findall(token.content))
            page = read_html(_COMMENT.sub("", token.content))
            self.blocks.extend(page.blocks)
            self.hidden += sum(page.hidden.values())

    def _open(self, kind: str, token: Token) -> None:
        if kind in {"bullet_list", "ordered_list"}:
            self.lists.append("- ")
        elif kind == "list_item":
            mark = f"{token.info}. " if token.info else "- "
            self.bullet = "  " * (len(self.lists) - 1) + mark
        elif kind == "heading":
            self.level = int(token.tag[1])
        elif kind == "blockquote":
            self.quote += 1
        elif kind in {"th", "td"}:
            self.in_cell = True

    def _close(self, kind: str) -> None:
        if kind in {"bullet_list", "ordered_list"}:
            self.lists.pop()
        elif kind == "heading":
            self.level = 0
        elif kind == "blockquote":
            self.quote -= 1
        elif kind in {"th", "td"}:
            self.in_cell = False
        elif kind == "tr":
            self.rows.append(" | ".join(self.row))
            self.row.clear()
        elif kind == "table":
            self.blocks.append(Block("table", "\n".join(self.rows)))
            self.rows.clear()

    def _inline(self, token: Token) -> None:
        text = "".join(self._piece(child) for child in token.children or ())
        if self.in_cell:
            self.row.append(" ".join(text.split()))
        elif self.level:
            if text.strip():
                self.blocks.append(Block("heading", text, self.level))
        else:
            self._add(text)

    def _piece(self, token: Token) -> str:
        if token.type in {"softbreak", "hardbreak"}:
            return "\n"
        if token.type == "image":
            return token.content
        if token.type == "html_inline":
            if token.content.startswith("<!--"):
                self.hidden += len(token.content)
            return ""
        return token.content

    def _add(self, text: str) -> None:
        if text.strip():
            mark = "> " * self.quote
            self.blocks.append(Block("text", "\n".join(mark + line for line in (self.bullet + text).split("\n"))))
            self.bullet = ""
