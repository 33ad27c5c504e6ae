"""Cards of bots and events of the system to text."""

import json
import re
from collections.abc import Iterator
from typing import Any

from hearth_ingest.markup import read_html
from hearth_ingest.teams.gather import identity_of
from hearth_ingest.teams.values import dict_of, list_of, text_of

_WORDS = ("title", "subtitle", "text", "activityTitle", "activitySubtitle", "summary", "name", "value", "altText")
_MAX_NODES = 5000
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DURATION = re.compile(r"P(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.\d+)?S)?$")


def card_text(content: object) -> str:
    """Return what a card shows: its texts in order, facts as "title: value". A text that is no JSON stands as it is."""
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            return read_html(text_of(content)).text
    return "\n".join(dict.fromkeys(_lines(content)))


def _lines(content: object) -> Iterator[str]:
    stack, seen = [content], 0
    while stack and seen < _MAX_NODES:
        node, seen = stack.pop(), seen + 1
        if isinstance(node, list):
            stack.extend(reversed(node))
            continue
        if not isinstance(node, dict) or node.get("isVisible") is False:
            continue
        title, value = text_of(node.get("title") or node.get("name")), text_of(node.get("value"))
        if title and value and "type" not in node:
            yield f"{title}: {value}"
        elif not text_of(node.get("type")).startswith("Input."):
            yield from (
                read_html(line).text for name in _WORDS if name != "value" and (line := text_of(node.get(name)))
            )
        stack.extend(reversed([item for item in node.values() if isinstance(item, (list, dict))]))


def event_text(value: dict[str, Any]) -> str:
    """Return a sentence or a few lines for an eventDetail, "" where there is none."""
    detail = dict_of(value.get("eventDetail"))
    kind = text_of(detail.get("@odata.type")).rpartition(".")[2].removesuffix("EventMessageDetail")
    if not kind and not detail:
        return ""
    words = " ".join(_CAMEL.split(kind)).lower() or "event"
    lines = [words[:1].upper() + words[1:]]
    if initiator := identity_of(detail.get("initiator")):
        lines[0] += f" by {initiator[1]}" if initiator[1] else ""
    if people := _names(detail):
        lines.append("People: " + ", ".join(people))
    if organizer := identity_of(detail.get("meetingOrganizer")):
        lines.append(f"Organizer: {organizer[1]}" if organizer[1] else "")
    for name, item in sorted(detail.items()):
        shown = text_of(item)
        if shown and re.search(r"(?:DisplayName|Topic|Description|Status|Duration)$", name):
            label = " ".join(_CAMEL.split(name)).lower()
            lines.append(f"{label[:1].upper()}{label[1:]}: {_duration(shown) if 'Duration' in name else shown}")
    return "\n".join(line for line in lines if line)


def _duration(text: str) -> str:
    match = _DURATION.match(text)
    pieces = zip(match.groups(), ("days", "h", "min", "s"), strict=True) if match else ()
    return " ".join(f"{int(number[:9])} {unit}" for number, unit in pieces if number and int(number[:9])) or text


def _names(detail: dict[str, Any]) -> list[str]:
    found = []
    for name in ("members", "callParticipants"):
        for item in list_of(detail.get(name)):
            one = dict_of(item)
            person = identity_of(one.get("participant"))
            shown = text_of(one.get("displayName")) or (person[1] if person else "")
            if shown:
                found.append(shown)
    return list(dict.fromkeys(found))
