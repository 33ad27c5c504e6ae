"""A document as a policy lets it be seen. Pure: the same document, policy and directory give the same answer."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hearth_api.wire.documents import Finding, NormalDocument, Person, Segment
from hearth_api.wire.knowledge import PrivacyConfig, PrivacyPolicy, SecretsPolicy
from hearth_knowledge.crypto import keyed_hash
from hearth_knowledge.privacy.names import Directory, find_calls

SECRETS = frozenset({"private-key", "password", "key"})
PERSON = "person"
EMAIL = "email"
_ADDRESS = re.compile(r"[A-Za-z0-9._%+'-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_PLACEHOLDER = re.compile(r"\[[a-z-]{2,20}\]|Person-[A-Z2-7]{6}")
_SHORT = 6
_MOST_VALUES = 300

P = TypeVar("P", bound=Person)


@dataclass(frozen=True, slots=True)
class Lens:
    """A policy with what it needs: the key of pseudonyms and who is known."""

    config: PrivacyConfig
    key: bytes = field(repr=False)
    directory: Directory = field(default_factory=Directory, repr=False)

    @property
    def pseudonyms(self) -> bool:
        """Whether persons get other names."""
        return self.config.policy is PrivacyPolicy.PSEUDONYMISE and PERSON not in self.config.keep

    @property
    def addresses(self) -> bool:
        """Whether addresses of persons are masked."""
        return self.pseudonyms or (self.config.policy is not PrivacyPolicy.OFF and EMAIL not in self.config.keep)

    def forbids(self, kind: str) -> bool:
        """Whether findings of a type are masked."""
        if kind in SECRETS:
            return self.config.secrets is SecretsPolicy.MASK and kind not in self.config.keep
        return self.config.policy is not PrivacyPolicy.OFF and kind not in self.config.keep

    def name(self, person: str) -> str:
        """Return the name that stands for a person."""
        return pseudonym(person, key=self.key)


def pseudonym(person: str, *, key: bytes) -> str:
    """Return "Person-XXXXXX": stable within a knowledge base, and nothing without its key."""
    return "Person-" + base64.b32encode(keyed_hash(key, "person", person)[:5]).decode()[:6]


def apply_privacy(document: NormalDocument, lens: Lens) -> NormalDocument:
    """Return the document as the policy lets it be seen; the same object where it changes nothing.

    Findings are masked where they stand and wherever else their text occurs in the document's names and addresses.
    """
    worker = _Worker(document, lens)
    segments = tuple(worker.segment(number, segment) for number, segment in enumerate(document.segments))
    update: dict[str, Any] = {
        "title": worker.text(document.title, "title", 0),
        "segments": segments,
        "authors": tuple(map(worker.person, document.authors)),
        "participants": tuple(map(worker.person, document.participants)),
        "attachments": worker.names(document.attachments, "attachment"),
        "parts": worker.names(document.parts, "part"),
        "permalink": worker.loose(document.permalink),
        "identities": tuple(worker.loose(one) or "" for one in document.identities),
        "origin": document.origin.model_copy(
            update={"key": worker.loose(document.origin.key), "uri": worker.loose(document.origin.uri)}
        ),
        "warnings": tuple(
            one.model_copy(update={"detail": worker.loose(one.detail)}) if one.detail else one
            for one in document.warnings
        ),
    }
    changed = {name: value for name, value in update.items() if value != getattr(document, name)}
    if not changed:
        return document
    # Offsets no longer hold, and a list of lengths would tell what was there.
    return document.model_copy(update={**changed, "findings": (), "content_hash": ""})


def filter_text(text: str, lens: Lens, *, present: Iterable[str] = ()) -> str:
    """Return text without persons that the directory knows: for what was written under an older directory."""
    if not text or not lens.pseudonyms:
        return text
    return _replace(text, _calls(text, lens, frozenset(present)))


def withhold(document: NormalDocument, *, released: Callable[[Segment], bool], placeholder: bool) -> NormalDocument:
    """Return the document with what is quarantined replaced by a note, or by nothing where it is to be indexed."""
    if not any(segment.quarantine for segment in document.segments):
        return document
    segments = []
    for segment in document.segments:
        if segment.quarantine is None:
            segments.append(segment)
        elif released(segment):
            segments.append(segment.model_copy(update={"quarantine": None}))
        else:
            text = f"[withheld: {segment.quarantine}]" if placeholder else ""
            segments.append(segment.model_copy(update={"text": text}))
    hidden = {number for number, segment in enumerate(document.segments) if segments[number].text != segment.text}
    findings = tuple(one for one in document.findings if one.where or one.segment not in hidden)
    return document.model_copy(update={"segments": tuple(segments), "findings": findings, "content_hash": ""})


_Cut = tuple[int, int, str]


class _Worker:
    """One document's masking."""

    def __init__(self, document: NormalDocument, lens: Lens) -> None:
        self._lens = lens
        people = (*document.authors, *document.participants)
        self._present = frozenset(person.id for person in people)
        self._found: dict[tuple[str | None, int], list[Finding]] = {}
        for finding in document.findings:
            self._found.setdefault((finding.where, finding.segment), []).append(finding)
        self._values = self._collect(document)
        own = {person.address.strip().lower(): person.id for person in people if person.address}
        self._own = own if lens.addresses else {}

    def _collect(self, document: NormalDocument) -> Mapping[str, str]:
        """Return the words of forbidden findings with their types: they may stand in a file's name or address too."""
        values: dict[str, str] = {}
        texts: dict[tuple[str | None, int], str] = {("title", 0): document.title}
        texts |= {(None, number): segment.text for number, segment in enumerate(document.segments)}
        for place, findings in self._found.items():
            for finding in findings:
                text = texts.get((place[0], place[1]), "")[finding.start : finding.end]
                if self._lens.forbids(finding.type) and len(text) >= _SHORT:
                    values[text] = finding.type
        if len(values) > _MOST_VALUES:
            # Seeking each of thousands everywhere costs their square; credentials are sought in any case.
            ranked = sorted(values.items(), key=lambda item: item[1] not in SECRETS)
            values = dict(ranked[:_MOST_VALUES])
        return values

    def text(self, text: str, where: str | None, number: int) -> str:
        """Mask a text that has findings of its own."""
        cuts = [
            (finding.start, finding.end, self._instead(text[finding.start : finding.end], finding.type))
            for finding in self._found.get((where, number), ())
            if self._lens.forbids(finding.type) and finding.end <= len(text)
        ]
        cuts += self._known(text)
        cuts += _calls(text, self._lens, self._present)
        return _replace(text, cuts) if cuts else text

    def segment(self, number: int, segment: Segment) -> Segment:
        """Mask a segment with its heading and its address."""
        changes: dict[str, object] = {}
        if (text := self.text(segment.text, None, number)) != segment.text:
            changes["text"] = text
        anchor = segment.anchor
        if anchor and anchor.heading and (heading := self.text(anchor.heading, "heading", number)) != anchor.heading:
            changes["anchor"] = anchor.model_copy(update={"heading": heading})
        if (link := self.loose(segment.permalink)) != segment.permalink:
            changes["permalink"] = link
        return segment.model_copy(update=changes) if changes else segment

    def person(self, person: P) -> P:
        """Mask a person's name and address."""
        lens = self._lens
        if not lens.addresses:
            return person
        name = person.name
        if lens.pseudonyms:
            name = lens.name(person.id)
        elif name and "@" in name:
            name = _ADDRESS.sub(f"[{EMAIL}]", name)
        address = f"[{EMAIL}]" if person.address and not lens.pseudonyms else None
        return person.model_copy(update={"name": name, "address": address})

    def names(self, items: tuple[Any, ...], where: str) -> tuple[Any, ...]:
        """Mask names of files."""
        return tuple(
            item.model_copy(update={"name": masked})
            if item.name and (masked := self.text(item.name, where, number)) != item.name
            else item
            for number, item in enumerate(items)
        )

    def loose(self, text: str | None) -> str | None:
        """Mask what has no findings of its own, as an address or a key of the origin: known values and persons."""
        if not text:
            return text
        cuts = self._known(text) + _calls(text, self._lens, self._present)
        return _replace(text, cuts) if cuts else text

    def _known(self, text: str) -> list[_Cut]:
        cuts: list[_Cut] = []
        for value, kind in self._values.items():
            at = text.find(value)
            while at >= 0:
                cuts.append((at, at + len(value), self._instead(value, kind)))
                at = text.find(value, at + len(value))
        if "@" in text and self._lens.addresses:
            for match in _ADDRESS.finditer(text):
                known = match[0].lower() in self._own or match[0].lower() in self._lens.directory.addresses
                if known:
                    cuts.append((match.start(), match.end(), self._instead(match[0], EMAIL)))
        return cuts

    def _instead(self, text: str, kind: str) -> str:
        if kind == EMAIL and self._lens.pseudonyms:
            address = text.strip().lower()
            person = self._own.get(address) or self._lens.directory.addresses.get(address)
            if person:
                return self._lens.name(person)
        return f"[{kind}]"


def _calls(text: str, lens: Lens, present: frozenset[str]) -> list[_Cut]:
    if not lens.pseudonyms:
        return []
    marks = [match.span() for match in _PLACEHOLDER.finditer(text)] if "[" in text or "Person-" in text else []
    return [
        (call.start, call.end, lens.name(call.person) if call.person else f"[{PERSON}]")
        for call in find_calls(text, directory=lens.directory, present=present)
        if not any(left < call.end and call.start < right for left, right in marks)
    ]


def _replace(text: str, cuts: list[_Cut]) -> str:
    """Cut and put in. Where cuts touch, the first (then the longer) stands for all of them."""
    parts: list[str] = []
    at = 0
    end_of_last = -1
    for start, end, instead in sorted(cuts, key=lambda cut: (cut[0], -cut[1])):
        if start >= end_of_last:
            parts.extend((text[at:start], instead))
        at = max(at, end)
        end_of_last = max(end_of_last, end)
    parts.append(text[at:])
    return "".join(parts)
