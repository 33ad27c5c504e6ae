"""Taking out of plain text what fetches, hides or deceives: remote images, comments, links that say another place.

Markup of mails and pages is read before (`markup`); this is for what is left in text and for sources that carry
Markdown or bits of HTML in plain text.
"""

# ruff: noqa: E501 (a table of patterns reads best with one to a line)

import re
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from hearth_ingest.hidden import strip_invisible

_HTML_IMAGE = re.compile(r"<img\b[^<>]{0,3000}>", re.IGNORECASE)
_IMAGE = re.compile(
    r"!\[([^\[\]]{0,500})\](?:\(\s*<?((?:[^()\s<>]|\([^()\s<>]{0,300}\)){0,3000})>?(?:\s+[\"'][^\"'\n]{0,500}[\"'])?\s*\)|\[[^\[\]\n]{0,200}\])"
)
_DEFINITION = re.compile(
    r"(?m)^[ ]{0,3}\[([^\[\]\n^]{1,200})\]:[ \t]+<?((?:[a-z][a-z0-9+.-]{1,20}:|//|www\.)[^\s<>]{1,3000})>?[^\n]{0,300}$",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"(?<!!)\[([^\[\]\n]{1,500})\]\[([^\[\]\n]{0,200})\]")
_LINK = re.compile(
    r"(?<!!)\[([^\[\]]{1,500})\]\(\s*<?((?:[^()\s<>]|\([^()\s<>]{0,300}\)){1,3000})>?(?:\s+[\"'][^\"'\n]{0,500}[\"'])?\s*\)"
)
_ANCHOR = re.compile(
    r"<a\b[^<>]{0,2000}?href\s*=\s*[\"']?([^\"'\s<>]{1,2000})[\"']?[^<>]{0,500}>([^<>]{0,500})</a>", re.IGNORECASE
)
_ACTIVE = re.compile(
    r"\b(?:javascript|vbscript|livescript)\s*:[^\s<>\"')]{1,3000}|\bdata\s*:\s*(?:text|image|application)/[\w.+-]{1,60}[;,][^\s<>\"')]{1,200000}",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?i)^\s*(?:javascript|vbscript|livescript|data)\s*:")
_ADDRESS = re.compile(
    r"(?i)\b(?:https?://|www\.)[^\s<>\"']{3,}|\b(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,5}[a-z]{2,12}\b"
)


def strip_text(text: str) -> tuple[str, Counter[str]]:
    """Return the text without what must not reach a reader or a model, and how often each reason applied."""
    counts: Counter[str] = Counter()
    text, invisible = strip_invisible(text)
    if invisible:
        counts["hidden-characters"] += invisible
    if "<" in text:
        text = _without_comments(text, counts)
        text = _replace(_HTML_IMAGE, text, counts, lambda _m: ("remote-image", ""))
        text = _replace(_ANCHOR, text, counts, _anchor)
    if "[" in text and "]" in text:
        text = _markdown(text, counts)
    if ":" in text:
        text = _replace(_ACTIVE, text, counts, lambda _m: ("active-link", "[link removed]"))
    return text, counts


def _replace(
    pattern: re.Pattern[str], text: str, counts: Counter[str], decide: Callable[[re.Match[str]], tuple[str | None, str]]
) -> str:
    def one(match: re.Match[str]) -> str:
        reason, instead = decide(match)
        if reason is not None:
            counts[reason] += 1
        return instead

    return pattern.sub(one, text)


def _without_comments(text: str, counts: Counter[str]) -> str:
    """Cut comments that end. By searching, not by a pattern: thousands of beginnings must not cost their square."""
    parts: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        parts.append(text[at:start])
        counts["html-comment"] += 1
        at = end + 3
    parts.append(text[at:])
    return "".join(parts)


def _markdown(text: str, counts: Counter[str]) -> str:
    text = _replace(_IMAGE, text, counts, lambda match: ("remote-image", match[1]))
    targets = {match[1].strip().lower(): match[2] for match in _DEFINITION.finditer(text)}
    if targets:
        text = _replace(_DEFINITION, text, counts, lambda _m: ("reference-link", ""))
        text = _replace(_REFERENCE, text, counts, lambda match: _reference(match, targets))
    return _replace(_LINK, text, counts, lambda match: _judge(match[0], match[1], match[2]))


def _reference(match: re.Match[str], targets: dict[str, str]) -> tuple[str | None, str]:
    known = (match[2] or match[1]).strip().lower() in targets
    return None, match[1] if known else match[0]


def _anchor(match: re.Match[str]) -> tuple[str | None, str]:
    reason, instead = _judge(match[0], match[2], match[1])
    return reason, instead if reason else match[2]


def _judge(whole: str, shown: str, target: str) -> tuple[str | None, str]:
    """Keep a link that says where it leads; of others only the words stay."""
    if _SCHEME.match(target):
        return "active-link", shown
    said = _ADDRESS.search(shown)
    if said and _host(said[0]) and _host(target) and not _same(_host(said[0]), _host(target)):
        return "deceptive-link", shown
    return None, whole


def _host(address: str) -> str:
    text = address.strip()
    if text.lower().startswith("mailto:"):
        return text.rpartition("@")[2].lower().partition("?")[0]
    if "//" not in text:
        text = "//" + text
    try:
        return (urlsplit(text).hostname or "").removeprefix("www.")
    except ValueError:
        return ""


def _same(one: str, other: str) -> bool:
    return one == other or one.endswith("." + other) or other.endswith("." + one)
