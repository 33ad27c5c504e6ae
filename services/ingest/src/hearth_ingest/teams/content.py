"""One message to segments, links and parts."""

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from hearth_api.wire.documents import Link, Part, Segment
from hearth_ingest.charset import clean
from hearth_ingest.markup import read_html
from hearth_ingest.teams.cards import card_text, event_text
from hearth_ingest.teams.gather import Message, authors_of, identity_of, person_key
from hearth_ingest.teams.values import dict_of, list_of, text_of, time_of

_JOIN = re.compile(
    r"https://(?:teams\.microsoft\.com/(?:l/meetup-join|meet)/|teams\.live\.com/meet/|join\.skype\.com/)[^\s\"'<>]+"
)
_QUOTE = re.compile(r"<quote\b([^>]*)>(.*?)</quote>", re.DOTALL | re.IGNORECASE)
_REPLY = re.compile(r"<blockquote\b([^>]*schema\.skype\.com/Reply[^>]*)>(.*?)</blockquote>", re.DOTALL | re.IGNORECASE)
_LEGACY = re.compile(r"<legacyquote>.*?</legacyquote>", re.DOTALL | re.IGNORECASE)
_EMOJI = re.compile(r"<emoji\b[^>]*?\balt=\"([^\"]{1,40})\"[^>]*>(?:\s*</emoji>)?", re.IGNORECASE)
_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*\"([^\"]*)\"")
_PLAIN = frozenset({"text", "richtext", "richtext/html", "poll", "notice", "popcard", "richtext/contacts",
                    "richtext/location", "richtext/scheduledcallinvite"})  # fmt: skip


@dataclass(slots=True)
class Content:
    """What a message gives to its document."""

    segments: list[Segment] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    mentioned: list[tuple[str, str]] = field(default_factory=list)
    hidden: dict[str, int] = field(default_factory=dict)
    text: str = ""


@dataclass(slots=True)
class _Reader:
    message: Message
    value: dict[str, Any]
    author: str | None
    permalink: str | None
    content: Content = field(default_factory=Content)

    def part(self, media_type: str, used: bool, reason: str, name: str | None = None) -> None:
        self.content.parts.append(
            Part(media_type=media_type, used=used, reason=reason, name=name or f"message {self.message.id}")
        )

    def segment(self, text: str, role: Literal["body", "quoted", "event"] = "body") -> None:
        if not text.strip():
            return
        own = role != "quoted"
        time = self.message.created if self.message.created.year > 1 else None
        self.content.segments.append(
            Segment(
                text=text,
                role=role,
                author=self.author if own else None,
                time=time if own else None,
                permalink=self.permalink,
            )
        )

    def link(self, rel: Literal["meeting", "quote", "file"], target: str) -> None:
        found = Link(rel=rel, target=target)
        if found not in self.content.links:
            self.content.links.append(found)

    def shown(self, markup: str) -> str:
        """Return the visible text of HTML; links to meetings are noted, hidden text is counted."""
        for address in _JOIN.findall(html.unescape(markup)):
            self.link("meeting", f"url:{address.rstrip('.,;)')}")
        for image in _IMAGE.findall(markup):
            kind = "inline-image" if "hostedContents" in image or "ams" in image else "image-elsewhere"
            self.part("image/*", False, kind, dict(_ATTRIBUTE.findall(image)).get("alt") or "image")
        page = read_html(_EMOJI.sub(lambda match: match[1], markup))
        for reason, count in page.hidden.items():
            self.content.hidden[reason] = self.content.hidden.get(reason, 0) + count
        return page.text


def read_message(message: Message, *, person: Callable[[str], str], permalink: str | None) -> Content:
    """Return the content of a message. `person` gives the id of an author's key. Never raises for any JSON."""
    value = message.value()
    authors = authors_of(value)
    reader = _Reader(message, value, person(authors[0][0]) if authors else None, permalink)
    if "messagetype" in value:
        _read_skype(reader)
    else:
        _read_graph(reader)
    reader.content.text = next((one.text for one in reader.content.segments if one.role == "body"), "")
    return reader.content


def _read_graph(reader: _Reader) -> None:
    value, body = reader.value, dict_of(reader.value.get("body"))
    kind = text_of(value.get("messageType"))
    media = "text/html" if text_of(body.get("contentType")).lower() != "text" else "text/plain"
    if value.get("deletedDateTime"):
        reader.part(media, False, "deleted")
        return
    if kind == "typing":
        reader.part("application/json", False, "typing")
        return
    detail = dict_of(value.get("eventDetail"))
    if detail or kind in ("systemEventMessage", "chatEvent"):
        text = event_text(value)
        reader.part("application/json", bool(text), "event" if text else "event-without-detail")
        reader.segment(text, "event")
        if uid := text_of(detail.get("callTranscriptICalUid")):
            reader.link("meeting", f"uid:{uid}")
        if address := text_of(detail.get("callRecordingUrl")):
            reader.link("file", f"url:{address}")
        return
    lines = [text_of(value.get("subject"))] if value.get("subject") else []
    raw = text_of(body.get("content"))
    lines.append(reader.shown(_take_quotes(reader, raw)) if media == "text/html" else _plain(reader, raw))
    lines.extend(_attachment(reader, dict_of(item)) for item in list_of(value.get("attachments")))
    text = "\n".join(line for line in lines if line.strip())
    used = bool(text or reader.content.segments)
    reader.part(media, used, "body" if used else "empty")
    reader.segment(text)
    for mention in list_of(value.get("mentions")):
        if found := identity_of(dict_of(mention).get("mentioned")):
            reader.content.mentioned.append((found[0], found[1] or text_of(dict_of(mention).get("mentionText"))))


def _plain(reader: _Reader, text: str) -> str:
    for address in _JOIN.findall(text):
        reader.link("meeting", f"url:{address.rstrip('.,;)')}")
    return text


def _take_quotes(reader: _Reader, markup: str) -> str:
    """Return the markup without the quotes of Skype and of replies in chats, which become segments of their own."""

    def take(match: re.Match[str]) -> str:
        attributes = dict(_ATTRIBUTE.findall(match[1]))
        quoted = reader.shown(_LEGACY.sub("", match[2])).strip()
        where = attributes.get("conversation") or reader.message.conversation
        if target := attributes.get("messageid") or attributes.get("itemid"):
            reader.link("quote", f"chat:{clean(html.unescape(where))}/{clean(target)}")
        name = clean(html.unescape(attributes.get("authorname", "")))
        reader.segment(f"{name}: {quoted}" if name and quoted else quoted, "quoted")
        return " "

    return _REPLY.sub(take, _QUOTE.sub(take, markup))


def _attachment(reader: _Reader, item: dict[str, Any]) -> str:
    """Return the text of an attachment, note it in parts and links."""
    kind = text_of(item.get("contentType"))
    name = text_of(item.get("name"))
    address = text_of(item.get("contentUrl"))
    if kind in ("messageReference", "forwardedMessageReference"):
        _reference(reader, item)
        return ""
    if kind == "reference" or (address and not item.get("content")):
        reader.part(kind or "reference", True, "file-elsewhere", name or "file")
        if address:
            reader.link("file", f"url:{address}")
        return f"File: {name}" if name else ""
    text = card_text(item.get("content"))
    reader.part(kind or "application/octet-stream", bool(text), "card" if text else "empty", name or "card")
    return "\n".join(line for line in (name, text) if line)


def _reference(reader: _Reader, item: dict[str, Any]) -> None:
    try:
        content = dict_of(json.loads(item["content"])) if isinstance(item.get("content"), str) else {}
    except (ValueError, RecursionError):
        content = {}
    target = text_of(content.get("messageId")) or text_of(content.get("originalMessageId")) or text_of(item.get("id"))
    preview = text_of(content.get("messagePreview")) or text_of(content.get("originalMessageContent"))
    sender = identity_of(content.get("messageSender") or content.get("originalMessageSender"))
    shown = reader.shown(preview) if preview else ""
    if target:
        reader.link("quote", f"chat:{reader.message.conversation}/{target}")
    reader.part("application/json", bool(shown), "quote", f"quote of {target}")
    reader.segment(f"{sender[1]}: {shown}" if sender and sender[1] and shown else shown, "quoted")


def _read_skype(reader: _Reader) -> None:
    value = reader.value
    kind = text_of(value.get("messagetype"))
    properties = dict_of(value.get("properties"))
    raw = text_of(value.get("content"))
    if properties.get("deletetime") or properties.get("deletedtime"):
        reader.part("text/html", False, "deleted")
        return
    if kind.startswith("Control/"):
        reader.part("application/json", False, "typing")
        return
    if kind.startswith(("Event/", "ThreadActivity/")):
        text = " ".join(_CAMELS.sub(" ", kind.partition("/")[2]).split()).capitalize()
        people = re.findall(r"<(?:name|friendlyname)>([^<]{1,200})</", raw, re.IGNORECASE)
        state = re.search(r"<partlist[^>]*\btype=\"(\w+)\"", raw)
        text += f" {state[1]}" if state else ""
        names = dict.fromkeys(clean(html.unescape(name)) for name in people)
        reader.part("application/xml", True, "event")
        reader.segment(f"{text}\nPeople: {', '.join(names)}" if names else text, "event")
        return
    if kind.startswith("EndToEndEncryption/"):
        reader.part("application/octet-stream", False, "encrypted-content")
        return
    lines = (text_of(properties.get("subject")), _skype_text(reader, kind, raw))
    text = "\n".join(line for line in lines if line)
    reader.part("text/plain" if kind == "Text" else "text/html", bool(text), "body" if text else "empty")
    reader.segment(text)
    _skype_extras(reader, properties)


_CAMELS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _skype_text(reader: _Reader, kind: str, raw: str) -> str:
    if kind == "Text":
        return _plain(reader, raw)
    text = reader.shown(_take_quotes(reader, raw))
    if kind.lower() not in _PLAIN:
        name = re.search(r"<(?:OriginalName|meta)\b[^>]*?\b(?:v|originalName)=\"([^\"]{1,300})\"", raw)
        shown = clean(html.unescape(name[1])) if name else ""
        reader.part(kind, True, "file-elsewhere", shown or kind)
        if uri := re.search(r"<URIObject[^>]*\buri=\"([^\"]+)\"", raw):
            reader.link("file", f"url:{clean(html.unescape(uri[1]))}")
        if shown and shown not in text:
            text = f"{text}\nFile: {shown}".strip()
    return text


def _skype_extras(reader: _Reader, properties: dict[str, Any]) -> None:
    for name in ("mentions", "files"):
        found = properties.get(name)
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                continue
        for item in map(dict_of, list_of(found)):
            if name == "mentions" and text_of(item.get("mri")):
                reader.content.mentioned.append((person_key(text_of(item["mri"])), text_of(item.get("displayName"))))
            elif name == "files" and (shown := text_of(item.get("fileName")) or text_of(item.get("title"))):
                reader.part("reference", True, "file-elsewhere", shown)
                reader.segment(f"File: {shown}")
                if address := text_of(item.get("objectUrl")):
                    reader.link("file", f"url:{address}")


def permalink_of(value: dict[str, Any], message: Message, *, team: str) -> str | None:
    """Return the message's address: its own, or the one that Teams would give it; none for Skype."""
    own = text_of(value.get("webUrl"))
    if own.startswith("https://"):
        return own
    place = message.conversation
    if not place.startswith("19:") or place.endswith("@thread.skype") or not message.id.isdigit():
        return None
    base = f"https://teams.microsoft.com/l/message/{quote(place, safe='')}/{message.id}"
    if message.root:
        group = f"groupId={quote(team, safe='')}&" if team != "-" else ""
        return f"{base}?{group}parentMessageId={quote(message.root, safe='')}"
    return f"{base}?context=%7B%22contextType%22%3A%22chat%22%7D"


def edit_time(value: dict[str, Any]) -> datetime | None:
    """Return the time of the last edit, or None. lastModifiedDateTime is none: it moves with every reaction."""
    properties = dict_of(value.get("properties"))
    return time_of(value.get("lastEditedDateTime")) or time_of(properties.get("edittime"))
