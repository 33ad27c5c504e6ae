"""Build the Teams exports of the sample month from the logs in `sources/teams/`.

A log begins with `= kind | name | conversation id | members`. `# date` begins a day, `== subject` a thread of a
channel whose first message is its root, and every other line is one message: `09:41 jonas: text [note, note]`. Times
are local in Berlin. Notes: `like priya` (any reaction), `edited 10:52`, `deleted 19:12`, `quote 09:03` (a message of
the same day), `file name`, `card title|line|line`, `event callEnded <iCalendar UID> <duration>`. `@anna` is a mention.

Ids are milliseconds since 1970, as Teams has them, and follow from the minute: a minute holds one message.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import tarfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from build_mail import SourceError, zone_of

TEAM = "6f0d2c1a-7b34-4e8f-a1c9-5d3e2b7a9f10"
TENANT = "0f3c9d52-41aa-4c7e-8d10-2b9a64f0c3de"
SITE = "https://heron.example.org/sites/heron/Shared%20Documents"
LINE = re.compile(r"(\d\d:\d\d) (\w+): (.*?)(?: \[([^\]]+)\])?((?: \[[^\]]+\])*)$")
OWNERS = ("anna", "tomas")  # whose getAllMessages exports exist; they share several chats

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One line of a log."""

    id: str
    author: str
    sent: datetime
    text: str
    notes: tuple[str, ...] = ()

    def note(self, name: str) -> str | None:
        return next((note[len(name) + 1 :] for note in self.notes if note.split()[0] == name), None)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A channel (threads of messages) or a chat (one thread)."""

    kind: str
    name: str
    id: str
    members: tuple[str, ...]
    threads: tuple[tuple[str, tuple[Message, ...]], ...] = field(default=())

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(message for _, thread in self.threads for message in thread)


def build_teams(sources: Path, people: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of `teams/` by their paths."""
    logs = sorted((sources / "teams").glob("*.txt"), key=lambda path: int(path.name.split("-")[0]))
    conversations = [read_log(path.read_text(encoding="utf-8"), people=people) for path in logs]
    writer = Writer(people)
    files: dict[str, bytes] = {}
    for each in conversations:
        if each.kind == "channel":
            name = each.name.lower().replace(" ", "-")
            files[f"channels/{name}.json"] = dump(writer.channel_page(each))
    chats = [each for each in conversations if each.kind != "channel"]
    for owner in OWNERS:
        mine = [writer.message(m, chat) for chat in chats if owner in chat.members for m in chat.messages]
        mine.sort(key=lambda message: str(message["createdDateTime"]), reverse=True)  # newest first, as Graph answers
        if owner == "anna":
            files.update(writer.pages(mine, owner=owner))
        else:
            lines = [json.dumps(message, ensure_ascii=False) for message in mine]
            files[f"users/{owner}/getAllMessages.ndjson"] = "\n".join([*lines, ""]).encode()
    others = [chat for chat in chats if not set(OWNERS) & set(chat.members)]
    for chat in others:
        files[f"users/priya/chat-{'-'.join(chat.members)}.json"] = dump(
            {"value": [writer.message(m, chat) for m in chat.messages]}
        )
    files["skype-jonas.tar"] = build_skype(json.loads((sources / "teams" / "skype.json").read_text(encoding="utf-8")))
    return files


def read_log(text: str, *, people: Mapping[str, Any]) -> Conversation:
    """Raises SourceError where a line cannot be read."""
    head, *lines = text.splitlines()
    fields = [part.strip() for part in head.removeprefix("= ").split("|")]
    kind, name, key = fields[:3] if fields[0] != "oneOnOne" else (fields[0], "", fields[2])
    members = tuple((fields[1] if kind == "oneOnOne" else fields[3] if len(fields) > 3 else "").split())
    if kind == "oneOnOne":
        key = "19:" + "_".join(sorted(user_id(people, member) for member in members)) + "@unq.gbl.spaces"
    day = ""
    threads: list[tuple[str, tuple[Message, ...]]] = []
    current: list[Message] = []
    subject = ""
    for line in lines:
        if line.startswith("# "):
            day = line[2:]
        elif line.startswith("== "):
            if current:
                threads.append((subject, tuple(current)))
            subject, current = line[3:], []
        else:
            current.append(read_message(line, day=day))
            if current[-1].note("event") and "callEnded" in current[-1].notes[0]:
                current.append(transcript_of(current[-1]))
    threads.append((subject, tuple(current)))
    return Conversation(kind=kind, name=name, id=key, members=members, threads=tuple(threads))


def read_message(line: str, *, day: str) -> Message:
    match = LINE.fullmatch(line)
    if match is None:
        raise SourceError(f"not a message: {line}")
    clock, author, text, first, more = match.groups()
    groups = [first or "", *re.findall(r"\[([^\]]+)\]", more)]
    notes = tuple(
        note.strip()
        for group in groups
        for note in ([group] if group.startswith("card ") else group.split(","))
        if note.strip()
    )
    sent = at(day, clock)
    digest = hashlib.sha256(text.encode()).digest()
    sent += timedelta(seconds=digest[0] % 60, milliseconds=int.from_bytes(digest[1:3]) % 1000)
    return Message(id=str(int(sent.timestamp() * 1000)), author=author, sent=sent, text=text, notes=notes)


def transcript_of(ended: Message) -> Message:
    """Teams names the meeting's iCalendar UID in the event of its transcript, two minutes after the end."""
    sent = ended.sent + timedelta(minutes=2)
    uid = (ended.note("event") or "").split()[1]
    return replace(ended, id=str(int(sent.timestamp() * 1000)), sent=sent, notes=(f"event callTranscript {uid}",))


def at(day: str, clock: str) -> datetime:
    local = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M")
    return local.replace(tzinfo=zone_of(local)).astimezone(UTC)


def stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}Z"


def user_id(people: Mapping[str, Any], key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "mailto:" + people[key]["address"]))


def dump(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


class Writer:
    """Writes messages in the shape of Microsoft Graph."""

    def __init__(self, people: Mapping[str, Any]) -> None:
        self.people = people

    def user(self, key: str) -> Json:
        person = {"id": user_id(self.people, key), "displayName": self.people[key]["name"]}
        return {"@odata.type": "#microsoft.graph.teamworkUserIdentity", **person, "userIdentityType": "aadUser"}

    def channel_page(self, channel: Conversation) -> Json:
        value = []
        for subject, (root, *replies) in channel.threads:
            shown = self.message(root, channel, subject=subject)
            shown["replies"] = [self.message(reply, channel, root=root) for reply in replies]
            value.append(shown)
        context = f"https://graph.microsoft.com/v1.0/$metadata#teams('{TEAM}')/channels('{channel.id}')/messages"
        # Newest thread first, as Graph answers.
        value.sort(key=lambda message: str(message["createdDateTime"]), reverse=True)
        return {"@odata.context": context, "@odata.count": len(value), "value": value}

    def pages(self, messages: list[Json], *, owner: str, size: int = 40) -> dict[str, bytes]:
        files = {}
        starts = range(0, len(messages), size)
        user = user_id(self.people, owner)
        for number, start in enumerate(starts, start=1):
            page: Json = {"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(chatMessage)"}
            if number < len(starts):
                query = f"users/{user}/chats/getAllMessages?$skiptoken={number}"
                page["@odata.nextLink"] = f"https://graph.microsoft.com/v1.0/{query}"
            page["value"] = messages[start : start + size]
            files[f"users/{owner}/getAllMessages-{number}.json"] = dump(page)
        return files

    def message(
        self, message: Message, where: Conversation, *, subject: str | None = None, root: Message | None = None
    ) -> Json:
        channel = where.kind == "channel"
        edited, deleted, event = message.note("edited"), message.note("deleted"), message.note("event")
        day = message.sent.astimezone(zone_of(message.sent.replace(tzinfo=None))).strftime("%Y-%m-%d")
        changed = [stamp(at(day, clock)) for clock in (edited, deleted) if clock]
        shown: Json = {
            "id": message.id,
            "replyToId": root.id if root else None,
            "etag": message.id,
            "messageType": "systemEventMessage" if event else "message",
            "createdDateTime": stamp(message.sent),
            "lastModifiedDateTime": max([stamp(message.sent), *changed]),
            "lastEditedDateTime": changed[0] if edited else None,
            "deletedDateTime": changed[-1] if deleted else None,
            "subject": subject,
            "summary": None,
            "chatId": None if channel else where.id,
            "importance": "normal",
            "locale": "en-us",
            "webUrl": self._address(message, where, root=root) if channel else None,
            "channelIdentity": {"teamId": TEAM, "channelId": where.id} if channel else None,
            "policyViolation": None,
            "eventDetail": self._event(event, message) if event else None,
            "from": None if event else self._sender(message.author),
        }
        if event:
            body: Json = {"body": {"contentType": "html", "content": "<systemEventMessage/>"}, "attachments": []}
            return {**shown, **body, "mentions": [], "reactions": []}
        if deleted:
            empty = {"body": {"contentType": "html", "content": ""}, "attachments": [], "mentions": []}
            return {**shown, **empty, "reactions": []}
        return {**shown, **self._content(message, where), "reactions": self._reactions(message)}

    def _address(self, message: Message, where: Conversation, *, root: Message | None) -> str:
        key = where.id.replace(":", "%3A").replace("@", "%40")
        query = f"groupId={TEAM}&tenantId={TENANT}&createdTime={message.id}&parentMessageId={(root or message).id}"
        return f"https://teams.microsoft.com/l/message/{key}/{message.id}?{query}"

    def _sender(self, author: str) -> Json:
        if author == "alerts":
            bot = {"id": user_id(self.people, author), "displayName": self.people[author]["name"]}
            return {"application": {**bot, "applicationIdentityType": "bot"}, "device": None, "user": None}
        return {"application": None, "device": None, "user": self.user(author)}

    def _content(self, message: Message, where: Conversation) -> Json:
        attachments, mentions = [], []
        markup = html.escape(message.text, quote=False)
        for number, key in enumerate(dict.fromkeys(re.findall(r"@(\w+)", message.text))):
            if key in self.people:
                name = self.people[key]["name"]
                markup = markup.replace(f"@{key}", f'<at id="{number}">{name}</at>')
                mentioned = {"application": None, "device": None, "user": self.user(key)}
                mentions.append({"id": number, "mentionText": name, "mentioned": mentioned})
        for kind in ("quote", "file", "card"):
            if note := message.note(kind):
                attachment = self._attachment(kind, note, message=message, where=where)
                attachments.append(attachment)
                mark = f'<attachment id="{attachment["id"]}"></attachment>'
                markup = mark + markup if kind == "quote" else markup + mark
        plain = not (attachments or mentions) and int(message.id) % 3 == 0
        content = message.text if plain else f"<p>{markup}</p>"
        body = {"contentType": "text" if plain else "html", "content": content}
        return {"body": body, "attachments": attachments, "mentions": mentions}

    def _attachment(self, kind: str, note: str, *, message: Message, where: Conversation) -> Json:
        shown: Json = {"contentUrl": None, "content": None, "name": None, "thumbnailUrl": None}
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{message.id}/{note}"))
        if kind == "file":
            return {**shown, "id": key, "contentType": "reference", "contentUrl": f"{SITE}/{note}", "name": note}
        if kind == "card":
            title, *lines = note.split("|")
            blocks = [{"type": "TextBlock", "text": title, "weight": "Bolder"}]
            blocks += [{"type": "TextBlock", "text": line, "wrap": "true"} for line in lines]
            card = json.dumps({"type": "AdaptiveCard", "version": "1.4", "body": blocks})
            return {**shown, "id": key, "contentType": "application/vnd.microsoft.card.adaptive", "content": card}
        day = message.sent.date()
        quoted = next(m for m in where.messages if m.sent == at_minute(m.sent, note) and m.sent.date() == day)
        sender = {"application": None, "device": None, "user": self.user(quoted.author)}
        preview = {"messageId": quoted.id, "messagePreview": quoted.text, "messageSender": sender}
        return {**shown, "id": quoted.id, "contentType": "messageReference", "content": json.dumps(preview)}

    def _reactions(self, message: Message) -> list[Json]:
        found: list[Json] = []
        for note in message.notes:
            kind, _, key = note.partition(" ")
            if kind in {"like", "heart", "laugh", "surprised", "sad"}:
                when = stamp(message.sent + timedelta(minutes=1 + len(found)))
                user = {"application": None, "device": None, "user": self.user(key)}
                found.append({"reactionType": kind, "createdDateTime": when, "user": user})
        return found

    def _event(self, note: str, message: Message) -> Json:
        kind, *details = note.split()
        shown: Json = {"@odata.type": f"#microsoft.graph.{kind}EventMessageDetail"}
        if kind == "membersAdded":
            members = [{"id": user_id(self.people, key), "displayName": None} for key in details]
            visible = "0001-01-01T00:00:00Z"
            return {**shown, "visibleHistoryStartDateTime": visible, "members": members, "initiator": None}
        shown["callId"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{details[0]}/{message.sent.date()}"))
        if kind == "callTranscript":
            organizer = {"application": None, "device": None, "user": self.user(message.author)}
            # Exports of Teams carry this blank at the end.
            return {**shown, "callTranscriptICalUid": details[0] + " ", "meetingOrganizer": organizer}
        shown.update(callEventType="meeting", initiator={"user": self.user(message.author)})
        if kind == "callEnded":
            shown.update(callDuration=details[1], callParticipants=[])
        return shown


def at_minute(sent: datetime, clock: str) -> datetime | None:
    """Return `sent` when it lies in that minute of Berlin's clock."""
    local = sent.astimezone(zone_of(sent.replace(tzinfo=None)))
    return sent if local.strftime("%H:%M") == clock else None


def build_skype(export: Json) -> bytes:
    """Return the tar that a personal account's export comes in."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, value in (("messages.json", export), ("endpoints.json", {"userId": export["userId"]})):
            data = dump(value)
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1_795_000_000
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
