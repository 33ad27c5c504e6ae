"""Text that a person would not see: characters without width, and elements that a style sheet hides.

Hidden text is how a sender speaks to a machine behind the reader's back. It is removed and reported, never indexed.
"""

import re
from collections.abc import Mapping

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

# Zero width space, word joiner and friends, soft hyphen, byte order mark, bidi controls, tag characters.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]"
    # Joiners carry meaning inside words (Persian, emoji); in rows they are padding.
    "|(?:[\u200c\u200d][\u00a0 ]?){2,}|(?<![^\\s\u00a0])[\u200c\u200d]+"
)
_LINE_SEPARATORS = re.compile("[\u0085\u2028\u2029]")

_DECLARATION = re.compile(r"([a-z-]+)\s*:\s*([^;]*)")
_RULE = re.compile(r"([^{}@]{1,300})\{([^{}]{0,5000})\}")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_MEDIA = re.compile(r"@[^{};]{1,300}\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
_WHITE = re.compile(
    r"(?:white|#fff(?:f|fff|fffff)?|#f[c-f]f[c-f]f[c-f]|rgba?\(\s*25[0-5]\s*,\s*25[0-5]\s*,\s*25[0-5].*)$"
)
_ZERO = re.compile(r"0+(?:\.0+)?(?:[a-z]+|%)?$|0?\.\d+(?:px|pt)?$")
_AWAY = re.compile(r"-\d{3,}(?:px|pt|em|rem)?$")
_MAX_RULES = 200
_MAX_SHEET_CHARS = 200_000


def strip_invisible(text: str) -> tuple[str, int]:
    """Return text without characters that have no width, and how many places were changed."""
    if text.isascii():
        return text, 0
    stripped, count = _INVISIBLE.subn("", text)
    return _LINE_SEPARATORS.sub("\n", stripped), count


def declarations(style: str) -> dict[str, str]:
    """Return the declarations of a style attribute or a rule's body, lower case, without !important."""
    lower = style.lower().replace("!important", "")
    return {name: value.strip() for name, value in _DECLARATION.findall(lower)}


def hiding_reason(style: Mapping[str, str]) -> str | None:
    """Return why declarations make text invisible, or None. White text is judged elsewhere: it needs a background."""
    if style.get("display") == "none":
        return "display"
    if style.get("visibility") in {"hidden", "collapse"}:
        return "visibility"
    if style.get("mso-hide") == "all":
        return "mso-hide"
    if _ZERO.match(style.get("font-size", "1")):
        return "font-size"
    if re.fullmatch(r"0(?:\.0\d*)?%?", style.get("opacity", "1")):
        return "opacity"
    no_room = any(_ZERO.match(style.get(name, "1")) for name in ("max-height", "height", "max-width", "width"))
    if no_room and style.get("overflow") == "hidden":
        return "no-room"
    away = any(_AWAY.match(style.get(name, "")) for name in ("left", "top", "right", "text-indent", "margin-left"))
    return "off-page" if away else None


def is_white(value: str | None) -> bool:
    """Tell whether a colour is white or too near to it to be read on white."""
    return value is not None and _WHITE.match(value.strip().lower()) is not None


def background(style: Mapping[str, str], attributes: Mapping[str, str | None]) -> str | None:
    """Return the background colour that an element sets itself; an image counts as some other colour."""
    value = style.get("background-color") or style.get("background") or attributes.get("bgcolor")
    if attributes.get("background") or (value and "url(" in value):
        return "image"
    return value.strip().lower() if value and value.strip() not in {"transparent", "none", "inherit"} else None


def hidden_by_sheet(tree: LexborHTMLParser) -> dict[int, str]:
    """Return mem_id -> reason for elements that the page's own style sheets hide outside of media queries."""
    found: dict[int, str] = {}
    for sheet in tree.css("style"):
        css = (sheet.text(deep=True) or "")[:_MAX_SHEET_CHARS]
        rules = _MEDIA.sub("", _COMMENT.sub("", css))
        for number, (selector, body) in enumerate(_RULE.findall(rules)):
            if number >= _MAX_RULES:
                break
            reason = hiding_reason(declarations(body))
            if reason is not None:
                for node in _select(tree, selector.strip()):
                    found[node.mem_id] = reason
    return found


def _select(tree: LexborHTMLParser, selector: str) -> list[LexborNode]:
    if not selector or len(selector) > 300 or ":" in selector:
        return []
    try:
        return tree.css(selector)
    except (SelectolaxError, ValueError, RuntimeError):
        return []
