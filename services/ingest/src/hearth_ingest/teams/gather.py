"""Records of any export to messages, one for each message whatever number of files hold it, and to a directory."""

import hashlib
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from hearth_ingest.teams.stream import Record
from hearth_ingest.teams.values import dict_of, list_of, text_of, time_of

_CHAT = re.compile(r"chats\(?[/('\"]+([^'\")/]+)")
_CHANNEL = re.compile(r"teams\(?[/('\"]+([^'\")/]+)['\")]*/channels\(?[/('\"]+([^'\")/]+)")
_WEB = re.compile(r"/l/message/([^/?]+)/")
_ORGID = re.compile(r"(?:8:)?orgid:([0-9a-fA-F-]{36})$")
_UNSTABLE = frozenset({"etag", "@odata.etag", "reactions", "lastModifiedDateTime", "messageHistory", "locale",
                       "replies", "consumptionhorizon", "version", "@odata.context", "isFromMe",
                       "cachedDeduplicationKey", "record_type"})  # fmt: skip
"""Fields that differ between exports of the same message: they decide nothing that a reader sees."""
_LISTS = ("value", "MessageList", "messages", "conversations", "chats", "channels", "contacts", "users")
_KEPT_OF_DELETED = frozenset({"id", "clientmessageid", "replyToId", "messageType", "messagetype", "createdDateTime",
                              "originalarrivaltime", "composetime", "deletedDateTime", "chatId", "channelIdentity",
                              "conversationid", "conversationId", "from", "creator", "imdisplayname",
                              "webUrl"})  # fmt: skip
_EPOCH = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as it stood in one export. `blob` is its compressed JSON; `root` is "" unless it answers another."""

    conversation: str
    id: str
    root: str
    created: datetime
    version: tuple[datetime, bool, datetime, int, str]
    blob: bytes
    digest: str
    people: tuple[str, ...]

    @property
    def order(self) -> tuple[datetime, int, str]:
        """Return what sorts messages of a conversation."""
        return self.created, len(self.id), self.id

    def value(self) -> dict[str, Any]:
        """Return the JSON."""
        found: dict[str, Any] = json.loads(zlib.decompress(self.blob))
        return found


@dataclass(slots=True)
class Gathered:
    """Everything that the files of a source say, in a form that does not depend on their order."""

    messages: dict[tuple[str, str], Message] = field(default_factory=dict)
    topics: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    addresses: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    teams: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    copies: int = 0

    def add(self, record: Record, *, place: str) -> list[str]:
        """Take one record. Returns a code for each thing in it that nothing here knows. `place` names the file."""
        value, around = record.value, record.around
        if lists := [name for name in _LISTS if isinstance(value.get(name), list)]:
            return self._read_whole(value, around, place, lists)
        if any(key.endswith("[]") for key in value):
            self._note_conversation(value)
            return []
        if "resourceData" in value:
            return self._notification(value, around, place)
        if "messagetype" in value or "messageType" in value or ("body" in value and "createdDateTime" in value):
            return self._message(value, around, place)
        return self._metadata(value, around)

    def _read_whole(
        self, value: dict[str, Any], around: tuple[dict[str, Any], ...], place: str, lists: list[str]
    ) -> list[str]:
        """Take an object whose lists came so late that it was read in one piece."""
        outer = {key: item for key, item in value.items() if key not in lists} | {f"{name}[]": True for name in lists}
        problems = self.add(Record(outer, around), place=place)
        for name in lists:
            for item in value[name]:
                if isinstance(item, dict):
                    problems += self.add(Record(item, (*around, outer), name), place=place)
                else:
                    problems.append("record-unknown")
        return problems

    def _notification(self, value: dict[str, Any], around: tuple[dict[str, Any], ...], place: str) -> list[str]:
        data = dict_of(value.get("resourceData"))
        if "body" in data or "messageType" in data:
            return self._message(data, (*around, value), place)
        return ["content-encrypted" if "encryptedContent" in value else "notification-without-content"]

    def _message(
        self, value: dict[str, Any], around: tuple[dict[str, Any], ...], place: str, parent: str = ""
    ) -> list[str]:
        identity = text_of(value.get("id")) or text_of(value.get("clientmessageid"))
        if not identity:
            return ["message-without-id"]
        team, conversation = _conversation(value, around)
        conversation = conversation or f"file:{place}"
        if team:
            self.teams[conversation].add(team)
        replied = text_of(value.get("replyToId")) or parent or text_of(dict_of(value.get("properties")).get("rootId"))
        self._note_people(value)
        message = _freeze(value, conversation=conversation, identity=identity, root=replied)
        held = self.messages.get((conversation, identity))
        if held is not None:
            self.copies += 1
        if held is None or message.version > held.version:
            self.messages[conversation, identity] = message
        problems: list[str] = []
        for reply in list_of(value.get("replies")):
            if isinstance(reply, dict):
                problems += self._message(reply, (*around, value), place, parent=identity)
            else:
                problems.append("record-unknown")
        return problems

    def _metadata(self, value: dict[str, Any], around: tuple[dict[str, Any], ...]) -> list[str]:
        if "chatType" in value or "threadProperties" in value or "membershipType" in value:
            self._note_conversation(value)
            return []
        kind = text_of(value.get("@odata.type"))
        if "userId" in value or "mri" in value or "userPrincipalName" in value or "onversationMember" in kind:
            person = self._person(value)
            chat = _conversation({}, around)[1]
            if person and chat:
                self.members[chat].add(person)
            return []
        if text_of(value.get("id")) and "displayName" in value:
            self._note_conversation(value)  # a team or a channel without its own marks
            return []
        return ["record-unknown"]

    def _note_conversation(self, value: dict[str, Any]) -> None:
        identity = text_of(value.get("id"))
        threads = dict_of(_parsed(value.get("threadProperties")))
        if not identity or "@odata.context" in value:
            identity = identity or _conversation({}, (value,))[1]
        topic = text_of(value.get("topic")) or text_of(threads.get("topic")) or text_of(value.get("displayName"))
        if identity and topic:
            self.topics[identity].add(topic)
        for member in list_of(value.get("members")):
            person = self._person(dict_of(member))
            if person and identity:
                self.members[identity].add(person)
        for member in list_of(_parsed(threads.get("members"))):
            if identity and text_of(member):
                self.members[identity].add(person_key(text_of(member)))

    def _person(self, value: Mapping[str, Any]) -> str:
        raw = text_of(value.get("userId")) or text_of(value.get("mri")) or text_of(value.get("id"))
        person = person_key(raw) if raw else ""
        for name in ("email", "mail", "userPrincipalName"):
            if person and "@" in (address := text_of(value.get(name))):
                self.addresses[person].add(address.lower())
                break
        if person and (name := text_of(value.get("displayName"))):
            self.names[person].add(name)
        return person

    def _note_people(self, value: dict[str, Any]) -> None:
        for person, name in authors_of(value):
            if name:
                self.names[person].add(name)


def person_key(raw: str) -> str:
    """Return "aad:<id>" for an account of an organisation, "skype:<id>" for others, as every export writes them."""
    raw = raw.rpartition("/contacts/")[2] or raw
    if match := _ORGID.match(raw):
        return f"aad:{match[1].lower()}"
    return f"skype:{raw.removeprefix('8:').lower()}" if ":" in raw or "." in raw else f"aad:{raw.lower()}"


def authors_of(value: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the author as (key, name), or nothing."""
    sender = value.get("from")
    if isinstance(sender, str) or "messagetype" in value:
        raw = text_of(value.get("creator")) or text_of(sender)
        name = text_of(value.get("imdisplayname")) or text_of(value.get("displayName"))
        return [(person_key(raw), name)] if raw else []
    found = identity_of(sender)
    return [found] if found else []


def identity_of(value: object) -> tuple[str, str] | None:
    """Return (key, name) of an identitySet: a user, else an application, else a device."""
    for kind, prefix in (("user", ""), ("application", "app:"), ("device", "device:"), ("conversation", "")):
        one = dict_of(dict_of(value).get(kind))
        identity, name = text_of(one.get("id")), text_of(one.get("displayName"))
        if kind != "conversation" and (identity or name):
            return (f"{prefix}{identity or name}" if prefix else person_key(identity or f"name:{name}")), name
    return None


def _parsed(value: object) -> object:
    """Return what a string of JSON holds: some exports write objects as text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value


def _conversation(value: dict[str, Any], around: tuple[dict[str, Any], ...]) -> tuple[str, str]:
    """Return (team, conversation) from the message, else from what surrounds it, else from its address."""
    channel = dict_of(value.get("channelIdentity"))
    if identity := text_of(channel.get("channelId")):
        return text_of(channel.get("teamId")) or "-", identity
    for name in ("chatId", "conversationid", "conversationId"):
        if identity := text_of(value.get(name)):
            return "", identity
    for outer in reversed(around):
        if found := _from_outer(outer):
            return found
    if match := _WEB.search(text_of(value.get("webUrl"))):
        return "", unquote(match[1])
    return "", ""


def _from_outer(outer: dict[str, Any]) -> tuple[str, str] | None:
    channel = dict_of(outer.get("channelIdentity"))
    if identity := text_of(channel.get("channelId")):
        return text_of(channel.get("teamId")) or "-", identity
    for name in ("resource", "@odata.context"):
        place = unquote(text_of(outer.get(name)))
        if match := _CHANNEL.search(place):
            return match[1], match[2]
        if match := _CHAT.search(place):
            return "", match[1]
    if text_of(outer.get("chatId")):
        return "", text_of(outer.get("chatId"))
    if "MessageList[]" in outer or "chatType" in outer or "messages[]" in outer:
        identity = text_of(outer.get("id"))
        return ("", identity) if identity else None
    return None


def _freeze(value: dict[str, Any], *, conversation: str, identity: str, root: str) -> Message:
    kept = {key: item for key, item in value.items() if key not in _UNSTABLE and item not in (None, "", [], {})}
    kept["properties"] = _parsed(value.get("properties"))
    properties = dict_of(kept["properties"])
    deletion = {name: properties[name] for name in ("deletetime", "deletedtime") if properties.get(name)}
    deleted = bool(value.get("deletedDateTime") or deletion)
    if deleted:  # what its author took back stands nowhere, not in the original either
        kept = {key: item for key, item in kept.items() if key in _KEPT_OF_DELETED} | {"properties": deletion}
    data = json.dumps(kept, sort_keys=True, default=str).encode()
    times = [time_of(value.get(name)) for name in ("lastModifiedDateTime", "lastEditedDateTime", "deletedDateTime")]
    times += [
        time_of(value.get("version")),
        *(time_of(properties.get(name)) for name in ("edittime", "deletetime", "deletedtime")),
    ]
    created = next(
        (
            time
            for name in ("createdDateTime", "originalarrivaltime", "composetime", "clientArrivalTime", "id")
            if (time := time_of(value.get(name)))
        ),
        None,
    )
    edited = time_of(value.get("lastEditedDateTime")) or time_of(properties.get("edittime")) or _EPOCH
    digest = hashlib.sha256(data).hexdigest()
    newest = max((time for time in times if time), default=created or _EPOCH)
    return Message(
        conversation=conversation,
        id=identity,
        root=root,
        created=created or _EPOCH,
        version=(newest, deleted, edited, len(data), digest),
        blob=zlib.compress(data, 1),
        digest=digest,
        people=tuple(person for person, _ in authors_of(value)),
    )
