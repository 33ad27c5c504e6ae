"""Styles and list numbering of a DOCX, as far as they change what a reader sees."""

import re
from dataclasses import dataclass

from hearth_ingest.documents.xml import Element, attribute, child, children, is_on

_HEADING = re.compile(r"(?:heading|überschrift|titre|título|kop|rubrik|заголовок)\s*([1-9])$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Style:
    """A style: its heading level (0 for none), whether it hides its text, and its list."""

    level: int = 0
    hidden: bool = False
    number: str | None = None


def read_styles(root: Element | None) -> dict[str, Style]:
    """Return style id -> style, what it is based on taken in."""
    raw = {attribute(style, "styleId") or "": style for style in children(root, "style")} if root is not None else {}
    return {identity: _resolve(identity, raw) for identity in raw}


def _resolve(identity: str, raw: dict[str, Element]) -> Style:
    level, hidden, number, seen = 0, None, None, set()
    current: str | None = identity
    while current in raw and current not in seen:
        seen.add(current)
        style = raw[current]
        name = child(style, "name")
        level = level or _level(attribute(name, "val") or "" if name is not None else "", style)
        vanish = child(style, "rPr", "vanish")
        if hidden is None and vanish is not None:
            hidden = is_on(vanish)
        numbered = child(style, "pPr", "numPr", "numId")
        if number is None and numbered is not None:
            number = attribute(numbered, "val")
        based = child(style, "basedOn")
        current = attribute(based, "val") if based is not None else None
    return Style(level=level, hidden=bool(hidden), number=number)


def _level(name: str, style: Element) -> int:
    if name.lower() == "title":
        return 1
    match = _HEADING.match(name)
    if match:
        return int(match[1])
    outline = child(style, "pPr", "outlineLvl")
    value = attribute(outline, "val") if outline is not None else None
    return int(value) + 1 if value and value in "012345678" else 0


def read_numbering(root: Element | None) -> dict[str, dict[str, str]]:
    """Return list id -> level -> format ("bullet", "decimal", ...)."""
    if root is None:
        return {}
    kinds: dict[str, dict[str, str]] = {}
    for abstract in children(root, "abstractNum"):
        levels = {}
        for level in children(abstract, "lvl"):
            form = child(level, "numFmt")
            levels[attribute(level, "ilvl") or "0"] = (attribute(form, "val") if form is not None else None) or "bullet"
        kinds[attribute(abstract, "abstractNumId") or ""] = levels
    out = {}
    for number in children(root, "num"):
        link = child(number, "abstractNumId")
        out[attribute(number, "numId") or ""] = kinds.get(attribute(link, "val") or "" if link is not None else "", {})
    return out
