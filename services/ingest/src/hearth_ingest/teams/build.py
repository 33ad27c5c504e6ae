"""A window of messages to its document."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from hearth_api.wire.documents import (
    DocumentWarning,
    Kind,
    Link,
    NormalDocument,
    Origin,
    Part,
    Participant,
    Person,
    Segment,
    ThreadRef,
    document_id,
    keyed_id,
    person_id,
)
from hearth_ingest.context import ParseContext
from hearth_ingest.findings.apply import with_findings
from hearth_ingest.item import Item, Parsed
from hearth_ingest.teams.content import Content, edit_time, permalink_of, read_message
from hearth_ingest.teams.gather import Gathered, Message
from hearth_ingest.teams.values import dict_of, text_of

_TITLE_CHARS = 80
_TITLE_PEOPLE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Messages that are one document. `root` is "" in chats; `position` counts the windows of the thread from 1."""

    key: str
    conversation: str
    root: str
    team: str
    position: int
    messages: tuple[Message, ...]

    @property
    def thread(self) -> tuple[str, ...]:
        """Return what names the whole thread or chat."""
        return ("teams", self.conversation, self.root) if self.root else ("chat", self.conversation)


@dataclass(slots=True)
class _Collected:
    segments: list[Segment] = field(default_factory=list)
    links: dict[Link, None] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    mentioned: dict[str, str] = field(default_factory=dict)
    hidden: Counter[str] = field(default_factory=Counter)
    deleted: int = 0
    edited: int = 0


class Builder:
    """Makes documents from windows, with the names and addresses that the exports carry."""

    def __init__(self, gathered: Gathered, *, context: ParseContext) -> None:
        self._gathered = gathered
        self._context = context

    def build(self, item: Item, window: Window) -> Parsed:
        """Return the document of a window."""
        context, messages = self._context, window.messages
        collected = _Collected()
        contents = [self._take(message, window, collected) for message in messages]
        times = [message.created for message in messages if message.created.year > 1]
        edits = [time for message in messages if (time := edit_time(message.value()))]
        authors = tuple(dict.fromkeys(person for message in messages for person in message.people))
        original = json.dumps([message.value() for message in messages], ensure_ascii=False, indent=1)
        document = NormalDocument(
            id=document_id(Kind.TEAMS, context.source, item.key, key=context.key),
            source=context.source,
            kind=Kind.TEAMS,
            title=self.title(window, contents),
            origin=Origin(key=item.key, uri=item.uri, fingerprint=item.fingerprint, bytes=item.size),
            pipeline=context.pipeline,
            created=min(times, default=None),
            modified=max([*times, *edits], default=None),
            authors=tuple(self._person(key) for key in authors),
            participants=tuple(self._participants(window, authors, collected.mentioned)),
            thread=ThreadRef(id=keyed_id("thread", *window.thread, key=context.key), position=window.position),
            permalink=next((part.permalink for part in collected.segments if part.permalink), None),
            identities=tuple(f"chat:{window.conversation}/{message.id}" for message in messages),
            trust=context.trust,
            segments=tuple(collected.segments),
            links=tuple(collected.links),
            parts=tuple(collected.parts),
            warnings=tuple(_warnings(collected)),
        )
        return Parsed(
            document=with_findings(document, mask=context.at_source).sealed(),
            original=original.encode("utf-8", "replace"),
            media_type="application/json",
        )

    def _take(self, message: Message, window: Window, collected: _Collected) -> Content:
        value = message.value()
        permalink = permalink_of(value, message, team=window.team)
        content = read_message(message, person=self._id, permalink=permalink)
        collected.segments += content.segments
        collected.links |= dict.fromkeys(content.links)
        collected.parts += content.parts
        collected.mentioned |= dict(content.mentioned)
        collected.hidden.update(content.hidden)
        collected.deleted += any(part.reason == "deleted" for part in content.parts)
        collected.edited += edit_time(value) is not None
        return content

    def title(self, window: Window, contents: Iterable[Content]) -> str:
        """Return the subject or first words of a channel's thread; a chat's topic or people, and its first day."""
        topic = max(self._gathered.topics.get(window.conversation, ()), default="")
        if window.root:
            first = next((content for message, content in zip(window.messages, contents, strict=True)), None)
            head = window.messages[0].value()
            subject = text_of(head.get("subject")) or text_of(dict_of(head.get("properties")).get("subject"))
            words = subject or (first.text if first else "")
            line = " ".join(words.split())
            short = line if len(line) <= _TITLE_CHARS else line[:_TITLE_CHARS].rpartition(" ")[0] + " ..."
            return (f"{short} ({topic})" if topic and short else short or topic or "Thread")[:500]
        names = sorted({name for key in self._around(window) if (name := self.name(key))})
        shown = ", ".join(names[:_TITLE_PEOPLE]) + (f" and {len(names) - _TITLE_PEOPLE} more" if len(names) > 4 else "")
        day = window.messages[0].created
        when = f", {day:%Y-%m-%d}" if day.year > 1 else ""
        return f"{topic or (f'Chat of {shown}' if shown else 'Chat')}{when}"[:500]

    def _around(self, window: Window) -> list[str]:
        speakers = (person for message in window.messages for person in message.people)
        return list(dict.fromkeys((*speakers, *sorted(self._gathered.members.get(window.conversation, ())))))

    def name(self, key: str) -> str:
        """Return the longest name that the exports give a person."""
        return max(self._gathered.names.get(key, ()), key=lambda name: (len(name), name), default="")

    def address(self, key: str) -> str:
        """Return a person's mail address, or ""."""
        return min(self._gathered.addresses.get(key, ()), default="")

    def _id(self, key: str) -> str:
        return person_id(self.address(key) or key, key=self._context.key)

    def _person(self, key: str) -> Person:
        return Person(id=self._id(key), name=self.name(key) or None, address=self.address(key) or None)

    def _participants(
        self, window: Window, authors: tuple[str, ...], mentioned: dict[str, str]
    ) -> Iterable[Participant]:
        roles = [(key, "", "from") for key in authors]
        roles += [(key, name, "mentioned") for key, name in mentioned.items()]
        roles += [(key, "", "member") for key in sorted(self._gathered.members.get(window.conversation, ()))]
        for key, name, role in roles:
            person = self._person(key)
            yield Participant.model_validate(
                {"id": person.id, "name": person.name or name or None, "address": person.address, "role": role}
            )


def _warnings(collected: _Collected) -> Iterable[DocumentWarning]:
    if collected.hidden:
        detail = ", ".join(f"{reason}: {count} characters" for reason, count in sorted(collected.hidden.items()))
        yield DocumentWarning(code="hidden-text", detail=detail)
    if collected.deleted:
        yield DocumentWarning(code="messages-deleted", detail=str(collected.deleted))
    if collected.edited:
        yield DocumentWarning(code="messages-edited", detail=str(collected.edited))
