"""Exports of Teams and Skype: each shape, each edge, and every message accounted for."""

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.context import build_context
from hearth_ingest.item import Listing
from hearth_ingest.teams.source import TeamsSource
from hearth_ingest.teams.stream import Broken, Record, read_records

CHAT = "19:abc@thread.v2"
TEAM, CHANNEL = "11111111-aaaa-4aaa-8aaa-000000000001", "19:chan@thread.tacv2"
ANNA = {"user": {"id": "22222222-aaaa-4aaa-8aaa-000000000001", "displayName": "Anna"}}


def graph(number: int, text: str = "", **more: Any) -> dict[str, Any]:
    time = f"2026-03-02T10:{number % 60:02}:00.123Z"
    base = {
        "id": str(1_772_445_600_000 + number),
        "messageType": "message",
        "chatId": CHAT,
        "createdDateTime": time,
        "lastModifiedDateTime": time,
        "from": ANNA,
        "body": {"contentType": "html", "content": f"<p>{text or f'words {number}'}</p>"},
    }
    return base | more


def read(
    root: Path, files: dict[str, Any], limits: RunLimits | None = None
) -> tuple[Listing, list[NormalDocument], bytes]:
    root.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (root / name).write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    source = TeamsSource((root,), context=build_context("chats", kind="teams", limits=limits))
    listing = source.observe()
    parsed = [one for item in listing.items for one in source.parse(item)]
    return listing, [one.document for one in parsed], b"".join(one.original or b"" for one in parsed)


def texts(documents: list[NormalDocument]) -> list[str]:
    return [segment.text for document in documents for segment in document.segments]


def zipped(members: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            archive.writestr(name, json.dumps(value))
    return out.getvalue()


ONE, TWO = graph(1), graph(2)
SHAPES: dict[str, tuple[dict[str, Any], int]] = {
    "single": ({"a.json": ONE, "b.json": TWO}, 0),
    "page": ({"a.json": {"@odata.context": "x", "@odata.nextLink": "https://x", "value": [ONE, TWO]}}, 0),
    "array": ({"a.json": [ONE, TWO]}, 0),
    "ndjson": ({"a.ndjson": b"\n".join(json.dumps(one).encode() for one in (ONE, TWO))}, 0),
    "bom": ({"a.json": b"\xef\xbb\xbf" + json.dumps([ONE, TWO]).encode()}, 0),
    "utf-16": ({"a.json": json.dumps([ONE, TWO]).encode("utf-16")}, 0),
    "utf-16 without BOM": ({"a.json": json.dumps([ONE, TWO]).encode("utf-16-le")}, 0),
    "gzip": ({"a.json.gz": gzip.compress(json.dumps([ONE, TWO]).encode())}, 0),
    "bzip2": ({"a.json.bz2": bz2.compress(json.dumps([ONE, TWO]).encode())}, 0),
    "xz": ({"a.ndjson.xz": lzma.compress(b"\n".join(json.dumps(one).encode() for one in (ONE, TWO)))}, 0),
    "zip": ({"a.zip": zipped({"chats/a.json": [ONE, TWO], "readme.txt": "no"})}, 0),
    "notification": ({"a.json": {"value": [{"changeType": "created", "resourceData": m} for m in (ONE, TWO)]}}, 0),
    "two users": ({"a.json": {"value": [ONE, TWO]}, "b.json": {"value": [TWO, ONE]}}, 2),
    "trailing commas": ({"a.json": json.dumps([ONE, TWO]).encode()[:-1] + b",]"}, 0),
    "late list": ({"a.json": {"id": CHAT, "pad": "x" * 30_000, "messages": [ONE, TWO]}}, 0),
    "very late page": ({"a.json": {"pad": ["x" * 1_200_000, "y" * 1_100_000], "value": [ONE, TWO]}}, 0),
    "very late list": ({"a.json": {"id": CHAT, "pad": "x" * 1_200_000, "messages": [ONE, TWO]}}, 0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_the_same_two_messages(tmp_path: Path, name: str) -> None:
    files, copies = SHAPES[name]
    listing, documents, _ = read(tmp_path, files)
    assert (listing.refusals, listing.copies, listing.complete) == ((), copies, True)
    assert texts(documents) == ["words 1", "words 2"]
    assert listing.items[0].key == f"chat:{CHAT}/{ONE['id']}"
    assert documents[0].identities == (f"chat:{CHAT}/{ONE['id']}", f"chat:{CHAT}/{TWO['id']}")
    assert all(segment.author and segment.time and segment.permalink for segment in documents[0].segments)


@pytest.mark.parametrize("reverse", [False, True])
def test_replies_find_their_root_in_any_order(tmp_path: Path, reverse: bool) -> None:
    place = {"teamId": TEAM, "channelId": CHANNEL}
    root = graph(1, chatId=None, channelIdentity=place, subject="Plan")
    reply = graph(2, chatId=None, channelIdentity=place, replyToId=root["id"])
    orphan = graph(3, chatId=None, channelIdentity=place, replyToId="42")
    records = [root, reply, orphan]
    listing, documents, _ = read(tmp_path, {"a.json": {"value": records[::-1] if reverse else records}})
    base = f"teams:{TEAM}/{CHANNEL}/"
    assert {item.key.removeprefix(base) for item in listing.items} == {"42", root["id"]}
    assert [len(one.segments) for one in documents] == [2, 1]
    assert {one.title for one in documents} == {"Plan", "words 3"}


def test_nested_replies_are_messages(tmp_path: Path) -> None:
    place = {"teamId": TEAM, "channelId": CHANNEL}
    root = graph(1, chatId=None, channelIdentity=place, replies=[graph(2, chatId=None)])
    listing, documents, _ = read(tmp_path, {"a.json": {"value": [root]}})
    assert len(listing.items) == 1
    assert texts(documents) == ["words 1", "words 2"]


@pytest.mark.parametrize("first", ["old", "new"])
@pytest.mark.parametrize("skype", [False, True])
def test_deleted_text_is_nowhere(tmp_path: Path, first: str, skype: bool) -> None:
    old = graph(1, "TOPSECRET", subject="TOPSECRET")
    new = old | {"deletedDateTime": "2026-03-02T11:00:00Z"}
    if skype:
        old = {"id": "1772445600001", "messagetype": "RichText", "content": "TOPSECRET", "from": "8:live:anna",
               "conversationid": CHAT, "version": "1772445600001"}  # fmt: skip
        new = old | {"properties": {"deletetime": "1772445700000"}}
    pair = (old, new) if first == "old" else (new, old)
    listing, documents, original = read(tmp_path, {"a.json": pair[0], "b.json": pair[1], "c.json": graph(5)})
    assert listing.copies == 1
    assert b"TOPSECRET" not in original
    assert "TOPSECRET" not in "".join(one.to_json() if hasattr(one, "to_json") else str(one) for one in documents)
    assert [part.reason for part in documents[0].parts] == ["deleted", "body"]
    assert [warning.code for warning in documents[0].warnings] == ["messages-deleted"]


def test_an_edit_wins_and_a_reaction_changes_nothing(tmp_path: Path) -> None:
    edited = graph(1, "better", lastEditedDateTime="2026-03-02T12:00:00Z", lastModifiedDateTime="2026-03-02T12:00:00Z")
    listing, documents, original = read(tmp_path / "a", {"a.json": edited, "b.json": ONE})
    assert texts(documents) == ["better"]
    assert b"words 1" not in original
    liked = edited | {"reactions": [{"reactionType": "like"}], "lastModifiedDateTime": "2026-03-05T12:00:00Z"}
    again, _, _ = read(tmp_path / "b", {"a.json": liked | {"etag": "9"}})
    assert again.items[0].fingerprint == listing.items[0].fingerprint


def _event(**detail: Any) -> dict[str, Any]:
    kind = "#microsoft.graph.callTranscriptEventMessageDetail"
    more = {"messageType": "systemEventMessage", "from": None, "eventDetail": {"@odata.type": kind, **detail}}
    return graph(1) | more


def test_a_transcript_names_its_meeting(tmp_path: Path) -> None:
    _, documents, _ = read(tmp_path, {"a.json": _event(callTranscriptICalUid="uid-1 ")})
    assert [(link.rel, link.target) for link in documents[0].links] == [("meeting", "uid:uid-1")]
    assert documents[0].segments[0].role == "event"
    assert documents[0].segments[0].author is None


JOIN = "https://teams.microsoft.com/l/meetup-join/19%3ameeting/0?context=x"
EDGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "from null": ({"from": None}, "words 1", "body"),
    "bot": ({"from": {"application": {"id": "b", "displayName": "Bot"}}}, "words 1", "body"),
    "anonymous": ({"from": {"user": {"id": None, "displayName": "Guest"}}}, "words 1", "body"),
    "time without T": ({"createdDateTime": "2026-03-02 10:01:00.1234567Z"}, "words 1", "body"),
    "no time": ({"createdDateTime": None, "id": "abc"}, "words 1", "body"),
    "unknown type": ({"messageType": "unknownFutureValue"}, "words 1", "body"),
    "web url null": ({"webUrl": None}, "words 1", "body"),
    "huge id": ({"id": 10**29}, "words 1", "body"),
    "right to left": ({"body": {"contentType": "text", "content": "שלום 👋🏽"}}, "שלום 👋🏽", "body"),
    "empty": ({"body": {"contentType": "text", "content": ""}}, "", "empty"),
    "body of another type": ({"body": ["x"]}, "", "empty"),
    "image": ({"body": {"content": '<img alt="x" src="https://g/hostedContents/1/$value">'}}, "", "inline-image"),
    "file": ({"attachments": [{"contentType": "reference", "name": "a.pdf", "contentUrl": "https://s/a.pdf"}]},
             "File: a.pdf", "file-elsewhere"),
    "card": ({"attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content":
             json.dumps({"type": "AdaptiveCard", "body": [{"type": "TextBlock", "text": "Build green"}]})}]},
             "Build green", "card"),
    "quote": ({"attachments": [{"contentType": "messageReference", "id": "7", "content":
              json.dumps({"messageId": "7", "messagePreview": "before"})}]}, "before", "quote"),
    "typing": ({"messageType": "typing"}, "", "typing"),
    "meeting": ({"body": {"contentType": "text", "content": f"join {JOIN}"}}, "join", "body"),
    "mention": ({"mentions": [{"mentionText": "Jo", "mentioned": {"user": {"id": "j"}}}]}, "words 1", "body"),
    "long": ({"body": {"contentType": "text", "content": "word " * 20_000}}, "word word", "body"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_every_edge_is_accounted_for(tmp_path: Path, name: str) -> None:
    more, text, reason = EDGES[name]
    listing, documents, _ = read(tmp_path, {"a.json": graph(1) | more})
    assert listing.refusals == ()
    assert text in "\n".join(texts(documents))
    assert reason in [part.reason for part in documents[0].parts]
    targets = {link.target for link in documents[0].links}
    assert targets == {"meeting": {f"url:{JOIN}"}, "quote": {f"chat:{CHAT}/7"}, "file": {"url:https://s/a.pdf"}}.get(
        name, set()
    )
    assert ("Jo" in [one.name for one in documents[0].participants]) == (name == "mention")


def test_members_give_names_and_addresses(tmp_path: Path) -> None:
    member = {"@odata.type": "#microsoft.graph.aadUserConversationMember", "id": "x", "userId": ANNA["user"]["id"]}
    chat = {"id": CHAT, "chatType": "group", "topic": "Ops", "members": [member | {"email": "Anna@example.org"}]}
    listing, documents, _ = read(tmp_path, {"a.json": ONE, "chat.json": chat})
    assert listing.refusals == ()
    assert documents[0].title == "Ops, 2026-03-02"
    assert [(one.name, one.address) for one in documents[0].authors] == [("Anna", "anna@example.org")]
    assert [one.role for one in documents[0].participants] == ["from", "member"]


def test_members_may_have_nothing_but_an_account_name(tmp_path: Path) -> None:
    anna = {"id": ANNA["user"]["id"], "displayName": "Anna Berg", "userPrincipalName": "Anna.Berg@example.org"}
    listing, documents, _ = read(tmp_path, {"a.json": {"users": [anna]}, "b.json": ONE})
    assert listing.refusals == ()
    assert [(one.name, one.address) for one in documents[0].authors] == [("Anna Berg", "anna.berg@example.org")]


CHATSVC = {
    "id": "1772445600000", "clientmessageid": "77", "record_type": "message", "messagetype": "RichText/Html",
    "content": '<p>hello <span itemtype="http://schema.skype.com/Mention" itemid="0">Jo</span></p>',
    "conversationId": "19:a_b@unq.gbl.spaces", "creator": f"8:orgid:{ANNA['user']['id']}", "imdisplayname": "Anna",
    "composetime": "2026-03-02T09:32:00Z", "originalarrivaltime": "2026-03-02T10:00:00.1234567Z",
    "clientArrivalTime": "2026-03-02T10:00:01Z", "version": "1772445600123", "isFromMe": False, "attachments": [],
    "properties": {"subject": "Release", "importance": "", "mentions": json.dumps(
        [{"itemid": 0, "mri": "8:orgid:22222222-aaaa-4aaa-8aaa-000000000002", "displayName": "Jo"}])},
}  # fmt: skip
CONTACT = {"record_type": "contact", "mri": CHATSVC["creator"], "displayName": "Anna Berg", "email": "anna@x.org"}


@pytest.mark.parametrize("value", [[CHATSVC, CONTACT], {"messages": [CHATSVC], "contacts": [CONTACT]}])
def test_what_the_client_itself_stores_is_read(tmp_path: Path, value: Any) -> None:
    listing, documents, _ = read(tmp_path, {"a.json": value})
    assert listing.refusals == ()
    assert texts(documents) == ["Release\nhello Jo"]
    segment = documents[0].segments[0]
    assert segment.time is not None
    assert segment.time.isoformat() == "2026-03-02T10:00:00.123456+00:00"
    assert [(one.name, one.address) for one in documents[0].authors] == [("Anna Berg", "anna@x.org")]
    assert [(one.name, one.role) for one in documents[0].participants] == [("Anna Berg", "from"), ("Jo", "mentioned")]


def test_a_card_shows_its_facts_columns_and_cells(tmp_path: Path) -> None:
    block = {"type": "TextBlock", "text": "inner"}
    body = [
        {"type": "FactSet", "facts": [{"title": "Status", "value": "green"}]},
        {"type": "ColumnSet", "columns": [{"items": [block]}]},
        {"type": "Table", "rows": [{"cells": [{"items": [block | {"text": "cell"}]}]}]},
        block | {"text": "unseen", "isVisible": False},
    ]
    card = {"contentType": "application/vnd.microsoft.card.adaptive", "content": json.dumps({"body": body})}
    _, documents, _ = read(tmp_path, {"a.json": graph(1, attachments=[card])})
    assert texts(documents) == ["words 1\nStatus: green\ninner\ncell"]


BAD = {
    "missing comma": b'[{"id": "1" "body": {}}, %s]',
    "no JSON": b"[{oops}, %s]",
    "duplicate keys": b'[{"id": "1", "id": "2"}, %s]',
    "unknown": b'[{"hello": 1}, %s]',
    "no id": b'[{"messageType": "message", "body": {}}, %s]',
    "cut": b"[%s, {",
    "encrypted": b'[{"resourceData": {"id": "1"}, "encryptedContent": {"data": "x"}}, %s]',
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_refused_alone(tmp_path: Path, name: str) -> None:
    listing, documents, _ = read(tmp_path, {"a.json": BAD[name] % json.dumps(ONE).encode()})
    assert texts(documents) == ["words 1"]
    assert len(listing.refusals) == (2 if name == "cut" else 1)
    assert not listing.complete


def skype() -> dict[str, Any]:
    one = {"id": "1", "messagetype": "RichText", "originalarrivaltime": "2026-03-02T10:00:00Z", "from": "8:live:jonas",
           "content": '<quote authorname="Anna" messageid="9"><legacyquote>x</legacyquote>was</quote>yes', "properties":
           None, "conversationid": "8:live:anna"}  # fmt: skip
    return {"userId": "8:live:jonas", "exportDate": "2026", "conversations": [
        {"id": "8:live:anna", "displayName": "Anna", "properties": {}, "MessageList": [one]}]}  # fmt: skip


def pack(names: list[str], *, mode: str = "w") -> bytes:
    out, data = io.BytesIO(), json.dumps(skype()).encode()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("messages.json", json.dumps(skype()).encode()),
        ("export.tar", pack(["messages.json", "media/1.jpg"])),
        ("export.tar.gz", pack(["messages.json"], mode="w:gz")),
        ("paths.tar", pack(["../../etc/messages.json", "/messages.json"])),
    ],
)
def test_skype_is_read_plain_and_packed(tmp_path: Path, name: str, data: bytes) -> None:
    listing, documents, _ = read(tmp_path / "root", {name: data})
    assert listing.refusals == ()
    assert [(one.role, one.text) for one in documents[0].segments] == [("quoted", "Anna: was"), ("body", "yes")]
    assert [path.name for path in tmp_path.rglob("*")] == ["root", name]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (pack(["a.json"], mode="w:gz")[:-40], "archive-broken"),
        (gzip.compress(b"\x00" * 30_000_000), "expands-too-far"),
    ],
)
def test_a_broken_archive_is_refused_and_the_others_are_read(tmp_path: Path, data: bytes, code: str) -> None:
    listing, documents, _ = read(tmp_path, {"a.json.gz": data, "b.json": ONE})
    assert code in [refusal.code for refusal in listing.refusals]
    assert not listing.complete
    assert "words 1" in texts(documents)


def test_any_order_and_duplication_gives_the_same_documents(tmp_path: Path) -> None:
    messages = [graph(number) for number in range(90)]
    _, first, _ = read(tmp_path / "0", {"a.json": messages})
    chance = random.Random(4)
    for turn in range(1, 4):
        shuffled = messages + chance.sample(messages, 30)
        chance.shuffle(shuffled)
        _, again, _ = read(tmp_path / str(turn), {"z.json": shuffled[:50], "a.json": {"value": shuffled[50:]}})
        assert again == first


def test_what_is_appended_changes_no_earlier_window(tmp_path: Path) -> None:
    messages = [
        graph(number, createdDateTime=f"2026-03-02T{number // 60:02}:{number % 60:02}:00Z") for number in range(300)
    ]
    whole, _, _ = read(tmp_path / "all", {"a.json": messages})
    for count in (1, 24, 40, 41, 100, 299):
        part, _, _ = read(tmp_path / str(count), {"a.json": messages[:count]})
        assert [i.key for i in part.items] == [i.key for i in whole.items][: len(part.items)]
        assert [i.fingerprint for i in part.items][:-1] == [i.fingerprint for i in whole.items][: len(part.items) - 1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(graph(1))), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(field=st.sampled_from([*sorted(graph(1)), "attachments", "mentions", "eventDetail", "replies"]), value=JSON)
def test_any_value_of_any_field_is_accounted_for(tmp_path_factory: Any, field: str, value: Any) -> None:
    listing, documents, _ = read(tmp_path_factory.mktemp("x"), {"a.json": graph(1) | {field: value}})
    assert documents or listing.refusals
    assert all(document.segments or document.parts for document in documents)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=60) | st.text('[]{}",:1a\n', max_size=60).map(str.encode))
def test_no_bytes_raise(data: bytes) -> None:
    assert all(isinstance(one, (Record, Broken)) for one in read_records(io.BytesIO(data), limit=1000))
