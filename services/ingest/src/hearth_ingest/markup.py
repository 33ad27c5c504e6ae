"""HTML to the text that a reader sees: blocks, headings and tables in order, quotes marked with "> "."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from selectolax.lexbor import LexborHTMLParser, LexborNode

from hearth_ingest.hidden import (
    background,
    declarations,
    hidden_by_sheet,
    hiding_reason,
    is_white,
    strip_invisible,
)

# fmt: off
_SKIPPED = frozenset((
    "head", "script", "style", "template", "noscript", "svg", "math", "object", "iframe", "canvas", "audio", "video",
    "title", "select",
))
_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "hr", "html", "li", "main", "nav", "ol", "p", "pre", "section",
    "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul", "h1", "h2", "h3", "h4", "h5", "h6",
))
# fmt: on
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_SPACED = frozenset(["p", "blockquote", "ul", "ol", "pre", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr"])
_MAX_NODES = 500_000
_MAX_DEPTH = 2000
# Tags that nest; those that browsers close by themselves or that hold nothing do not count.
_NESTING = re.compile(
    r"<(/?)(?!(?:p|li|td|th|tr|dt|dd|option|br|img|hr|meta|link|input|col|area|base|wbr|source|track|embed|tbody)\b)[a-z]",
    re.IGNORECASE,
)

BlockKind = Literal["text", "heading", "table"]


@dataclass(frozen=True, slots=True)
class Block:
    """A run of text; `level` is 1 to 6 for headings, else 0."""

    kind: BlockKind
    text: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows. `hidden` counts characters that were removed, by reason."""

    title: str
    blocks: tuple[Block, ...]
    hidden: Mapping[str, int]

    @property
    def text(self) -> str:
        """Return all blocks as one text."""
        return "\n\n".join(block.text for block in self.blocks)

    def hidden_detail(self) -> str:
        """Return the report of hidden text: amounts and reasons, never the text."""
        return ", ".join(f"{reason}: {count} characters" for reason, count in sorted(self.hidden.items()))


@dataclass(slots=True)
class _Writer:
    """Collects lines; white space collapses except inside pre."""

    blocks: list[Block] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    quote: int = 0
    pre: int = 0
    prefix: str = ""

    def write(self, text: str) -> None:
        if self.pre:
            first, *rest = text.split("\n")
            self.parts.append(first)
            for line in rest:
                self.end_line(keep_empty=True)
                self.parts.append(line)
            return
        words = " ".join(text.split())
        lead = " " if text[:1].isspace() or text[:1] == "\u00a0" else ""
        tail = " " if words and (text[-1:].isspace()) else ""
        self.parts.append(lead + words + tail)

    def end_line(self, *, keep_empty: bool = False) -> None:
        line = "".join(self.parts)
        self.parts.clear()
        line = line.rstrip() if self.pre else " ".join(line.split())
        if line or keep_empty:
            self.lines.append("> " * self.quote + self.prefix + line)
            self.prefix = ""

    def blank(self) -> None:
        self.end_line()
        mark = ("> " * self.quote).rstrip()
        if self.lines and self.lines[-1].strip("> "):
            self.lines.append(mark)

    def flush(self, kind: BlockKind = "text", level: int = 0) -> None:
        self.end_line()
        text = "\n".join(self.lines).strip("\n")
        self.lines.clear()
        if text.strip("> \n"):
            self.blocks.append(Block(kind, text, level))


def read_html(html: str) -> Page:
    """Return the visible content of a page. Never raises for any text.

    A page that nests deeper than anything people write is not read: the parser's time grows with the square of it.
    """
    if _is_too_deep(html):
        return Page("", (), {"nested-too-deeply": len(html)})
    tree = LexborHTMLParser(html or " ")
    title_node = tree.css_first("title")
    title = " ".join((title_node.text() if title_node else "").split())
    writer = _Writer()
    hidden: Counter[str] = Counter()
    sheet = hidden_by_sheet(tree) if "<style" in html or "<STYLE" in html else {}
    if tree.root is not None:
        _render(tree.root, writer, hidden, sheet)
    writer.flush()
    return Page(title, tuple(writer.blocks), dict(hidden))


def _is_too_deep(html: str) -> bool:
    if html.count("<") <= _MAX_DEPTH:
        return False
    depth = 0
    for match in _NESTING.finditer(html):
        depth = max(0, depth - 1) if match[1] else depth + 1
        if depth > _MAX_DEPTH:
            return True
    return False


def _render(root: LexborNode, writer: _Writer, hidden: Counter[str], sheet: Mapping[int, str]) -> None:
    """Walk without recursion: mail programs nest hundreds of tables, attackers nest more."""
    stack: list[tuple[LexborNode, str | None, bool]] = [(root, None, True)]
    seen = 0
    while stack:
        node, paper, opening = stack.pop()
        tag = node.tag or ""
        if not opening:
            _close(tag, writer)
            continue
        seen += 1
        if seen > _MAX_NODES:
            hidden["too-many-elements"] += 1
            return
        if node.is_text_node:
            text, invisible = strip_invisible(node.text_content or "")
            if invisible:
                hidden["zero-width"] += invisible
            writer.write(text)
            continue
        if node.is_comment_node:
            _count_comment(node, hidden)
            continue
        if tag in _SKIPPED or tag.startswith(("!", "-")):
            continue
        attributes = node.attributes
        style = declarations(attributes.get("style") or "")
        paper = background(style, attributes) or paper
        reason = sheet.get(node.mem_id) or _hiding(tag, style, attributes, paper)
        if reason is not None:
            hidden[reason] += len((node.text(deep=True) or "").strip())
            if not hidden[reason]:
                del hidden[reason]
            continue
        if tag == "table" and _write_table(node, writer):
            continue
        _open(tag, node, writer)
        stack.append((node, paper, False))
        stack.extend((child, paper, True) for child in reversed(list(node.iter(include_text=True, skip_empty=False))))


def _hiding(tag: str, style: Mapping[str, str], attributes: Mapping[str, str | None], paper: str | None) -> str | None:
    if "hidden" in attributes or (tag == "input" and attributes.get("type") == "hidden"):
        return "display"
    reason = hiding_reason(style)
    if reason is not None:
        return reason
    ink = style.get("color") or (attributes.get("color") if tag == "font" else None)
    return "white-on-white" if is_white(ink) and (paper is None or is_white(paper)) else None


def _count_comment(node: LexborNode, hidden: Counter[str]) -> None:
    text = (node.comment_content or "").strip()
    # Conditional comments are Outlook's layout, not a message; a few words are an author's note.
    if text and not text.startswith(("[if", "<![endif", "[endif")):
        hidden["comment"] += len(text)


def _open(tag: str, node: LexborNode, writer: _Writer) -> None:
    if tag in _HEADINGS:
        writer.flush()
    elif tag in _SPACED:
        writer.blank()
    elif tag in _BLOCKS or tag == "br":
        writer.end_line(keep_empty=tag == "br" and bool(writer.lines))
    if tag == "blockquote":
        writer.quote += 1
    elif tag == "pre":
        writer.pre += 1
    elif tag == "li":
        writer.prefix = _bullet(node)


def _bullet(node: LexborNode) -> str:
    parent = node.parent
    if parent is None or parent.tag != "ol":
        return "- "
    place = 1
    before = node.prev
    while before is not None and place < 1000:
        place += before.tag == "li"
        before = before.prev
    return f"{place}. "


def _close(tag: str, writer: _Writer) -> None:
    if tag in _HEADINGS:
        writer.flush("heading", _HEADINGS[tag])
        return
    if tag in _BLOCKS:
        writer.end_line()
    if tag == "li":
        writer.prefix = ""
    elif tag in {"td", "th"}:
        writer.parts.append(" ")
    elif tag == "pre":
        writer.pre = max(0, writer.pre - 1)
    elif tag == "blockquote":
        writer.quote = max(0, writer.quote - 1)
    if tag in _SPACED:
        writer.blank()


def _write_table(table: LexborNode, writer: _Writer) -> bool:
    """Write a table of data as rows "a | b | c" in a block of its own; False for a table that is only layout."""
    if (
        writer.quote
        or table.css_first("table table, div, p, ul, ol, blockquote, [style*='none'], [hidden]") is not None
    ):
        return False
    rows = list(_rows(table))
    if len(rows) < 2 or max(len(row) for row in rows) < 2 or any(len(cell) > 500 for row in rows for cell in row):
        return False
    writer.flush()
    writer.blocks.append(Block("table", "\n".join(" | ".join(row) for row in rows)))
    return True


def _rows(table: LexborNode) -> Iterator[list[str]]:
    for row in table.css("tr"):
        cells = [c for c in row.iter() if c.tag in {"td", "th"}]
        texts = [" ".join(strip_invisible(cell.text(deep=True, separator=" "))[0].split()) for cell in cells]
        if any(texts):
            yield texts
