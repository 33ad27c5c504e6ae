"""Who takes part, and where one joins."""

import re
from typing import Any, Literal

from hearth_api.wire.documents import Participant, person_id
from hearth_ingest.context import ParseContext

_MAX_PEOPLE = 500
_URL = re.compile(r"https?://[^\s<>\"'\\^`{|}\u00a0]{4,2000}", re.IGNORECASE)
_JOIN = re.compile(
    r"https?://(?:[a-z0-9.-]*\.)?(?:teams\.(?:microsoft|live|cloud\.microsoft)[a-z.]*/(?:l/meetup-join|meet)/"
    r"|zoom\.us/(?:j|w|my|s)/|zoomgov\.com/j/|meet\.google\.com/|webex\.com/|gotomeeting\.com/join|meet\.jit\.si/"
    r"|whereby\.com/|bluejeans\.com/)",
    re.IGNORECASE,
)
_ANSWERS = {
    "ACCEPTED": "accepted",
    "DECLINED": "declined",
    "TENTATIVE": "tentative",
    "DELEGATED": "delegated",
    "NEEDS-ACTION": "no answer yet",
    "COMPLETED": "completed",
    "IN-PROCESS": "in process",
}
_ROLES = {"OPT-PARTICIPANT": "optional", "CHAIR": "chair", "NON-PARTICIPANT": "for information"}
_PLACES = ("X-MICROSOFT-SKYPETEAMSMEETINGURL", "X-GOOGLE-CONFERENCE", "CONFERENCE", "URL", "LOCATION", "DESCRIPTION")


def all_of(part: Any, name: str) -> list[Any]:
    """Return every value of a property."""
    value = part.get(name)
    return list(value) if isinstance(value, list) else ([] if value is None else [value])


def participant(value: Any, role: Literal["organizer", "attendee"], context: ParseContext) -> Participant:
    """Return a person from a calendar address with its CN."""
    address, name = _address(value)
    identity = person_id(address or name, key=context.key)
    return Participant(id=identity, name=name or None, address=address or None, role=role)


def participants(parts: list[Any], context: ParseContext) -> tuple[Participant, ...]:
    """Return organizers and attendees of all components, each once."""
    found: dict[tuple[str, str], Participant] = {}
    for part in parts:
        for property_name, role in (("ORGANIZER", "organizer"), ("ATTENDEE", "attendee")):
            for value in all_of(part, property_name)[:_MAX_PEOPLE]:
                person = participant(value, role, context)  # type: ignore[arg-type]
                found.setdefault((role, person.id), person)
    return tuple(found.values())[:_MAX_PEOPLE]


def say_person(value: Any) -> str:
    """Return "Anna Berg <anna.berg@example.org>, accepted"."""
    address, name = _address(value)
    words = f"{name} <{address}>" if name and address and name != address else name or address
    notes = [_ROLES.get(_parameter(value, "ROLE").upper(), ""), _ANSWERS.get(_parameter(value, "PARTSTAT").upper(), "")]
    said = ", ".join(note for note in notes if note)
    return f"{words} ({said})" if said else words


def _address(value: Any) -> tuple[str, str]:
    text = " ".join(str(value).split())
    address = text[7:] if text.lower().startswith("mailto:") else text
    name = " ".join(_parameter(value, "CN").strip("\"'").split())
    if "@" not in address:
        address, name = _parameter(value, "EMAIL"), name or address
    return address.strip(), name


def _parameter(value: Any, name: str) -> str:
    found = getattr(value, "params", {}).get(name, "")
    return str(found[0] if isinstance(found, list) and found else found)


def urls(text: str) -> list[str]:
    """Return the addresses in a text, each once, without the punctuation that ends a sentence."""
    return list(dict.fromkeys(_trim(match) for match in _URL.findall(text)))


def _trim(url: str) -> str:
    bare = url.rstrip(".,;:!?*_")
    while bare.endswith((")", "]")) and bare.count(bare[-1]) > bare.count("(" if bare[-1] == ")" else "["):
        bare = bare[:-1].rstrip(".,;:!?*_")
    return bare


def join_addresses(part: Any) -> list[str]:
    """Return the addresses at which one joins an event, the surest property first."""
    found: dict[str, None] = {}
    for name in _PLACES:
        for value in all_of(part, name):
            found.update((url, None) for url in urls(str(value)) if _JOIN.match(url))
    return list(found)
