"""Names in one spelling, and what is found from what."""

import base64
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.documents import Kind, Link, NormalDocument, Participant, Segment, ThreadRef, person_id
from hearth_api.wire.knowledge import EmbeddingConfig, KbConfig
from hearth_knowledge.links.identity import normalise
from support.knowledge import mail, tombstone
from support.knowledge_fakes import Fixture, knowledge

HEAD = "040000008200e00074c5b7101a82e008"
TAIL = "a0b1c2d3e4f50617" + "00" * 8 + "10000000" + "ab" * 16
SERIES = HEAD + "00000000" + TAIL
OCCURRENCE = HEAD + "07ea0a06" + TAIL
WRAPPED = HEAD + "00" * 4 + "00" * 16 + "2b000000" + (b"vCal-Uid\x01\x00\x00\x00" + b"Plan-1@X.org\x00").hex()
JOIN = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_ABC%40thread.v2/0"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("uid: Plan-1@X.org", "uid:plan-1@x.org"),
        ("uid:plan-1@x.org?occurrence=2026-10-06T09:00:00+02:00", "uid:plan-1@x.org"),
        (f"uid:{OCCURRENCE.upper()}", f"uid:{SERIES}"),
        (f"uid:{base64.b64encode(bytes.fromhex(OCCURRENCE)).decode()}", f"uid:{SERIES}"),
        (f"uid:{WRAPPED}", "uid:plan-1@x.org"),
        ("uid:urn:uuid:ABC-1", "uid:{abc-1}"),
        ("mid:< A@B.example >", "mid:a@b.example"),
        ("MID:<a@b>", "mid:a@b"),
        ("url:HTTP://Example.ORG:80/a/?utm_source=x&b=2&a=1", "url:https://example.org/a?a=1&b=2"),
        ("url:https://example.org/a%20b/#part", "url:https://example.org/a b"),
        (f"url:{JOIN}?context=%7b%22Tid%22%3a%221%22%7d", "url:" + JOIN.replace("%3a", ":").replace("%40", "@")),
        (("url:https://teams.microsoft.com/dl/launcher/launcher.html?url=%2F_%23%2Fl%2Fmeetup-join%2F19%3Ameeting_ABC"
         "%40thread.v2%2F0%3Fcontext%3D1&type=meetup-join"), f"url:{JOIN}"),
        ("url:https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fexample.org%2Fa&data=05", "url:https://example.org/a"),
        ("url:https://us02web.zoom.us/j/123?pwd=x", "url:https://us02web.zoom.us/j/123"),
        ("url:https://x.sharepoint.com/s/a.docx?web=1&e=Ab", "url:https://x.sharepoint.com/s/a.docx"),
        ("chat:19%3Aabc/17", "chat:19:abc/17"),
        ("email-abc", "doc:email-abc"),
    ],
)  # fmt: skip
def test_two_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert normalise(normalise(one)) == normalise(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"uid:{SERIES}", f"uid:{SERIES[:-2]}00"),
        ("url:https://example.org/a?id=1", "url:https://example.org/a?id=2"),
        (f"url:{JOIN}", f"url:{JOIN.replace('ABC', 'ABD')}"),
        ("mid:a@b", "uid:a@b"),
    ],
)
def test_two_names_stay_two(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    "value", ["", ":", "uid:", "url:http://[::1", "url:http://a:99999999/", "mid:<>", "url:%ff%00", "uid:04zz"]
)
def test_any_text_is_some_name(value: str) -> None:
    assert normalise(value)


async def configured(fixture: Fixture, kb: str = "work") -> None:
    config = KbConfig(embedding=EmbeddingConfig(model="embed", digest="sha256:x", dimensions=8))
    await fixture.json("PUT", f"/v1/kbs/{kb}", account="hearth-operator", body=config.to_json_object())


def remade(document: NormalDocument, **change: Any) -> NormalDocument:
    return document.model_copy(update=change).sealed()


def people(*names: str) -> tuple[Participant, ...]:
    return tuple(Participant(id=person_id(f"{name}@x.org"), name=name.title(), role="member") for name in names)


def story() -> dict[str, NormalDocument]:
    """A meeting, its invitation with a file, the chat of the call, notes without any name of it, and a stranger."""
    start = "2026-10-06T09:00:00+00:00"
    event = mail("uid:plan-1", "Heron planning\nRoom 4", source="calendar", title="Heron budget planning",
                 created=start, kind=Kind.CALENDAR)  # fmt: skip
    event = remade(
        event, identities=(f"uid:{SERIES}", f"url:{JOIN}?context=1"), thread=None,
        participants=people("anna", "ben", "cleo"),
        segments=(Segment(text="Heron budget planning, 9:00", role="event", time=start),),
    )  # fmt: skip
    file = mail("m1#1", "Figures", title="budget.xlsx", kind=Kind.DOCUMENT, created="2026-09-01T00:00:00+00:00")
    file = remade(file, thread=None)
    invitation = mail("m1", "You are invited", title="Invitation", created="2026-10-01T09:00:00+00:00")
    invitation = remade(
        invitation, identities=("mid:<M1@x>",),
        links=(Link(rel="meeting", target=f"uid:{OCCURRENCE}"), Link(rel="attachment", target=file.id)),
    )  # fmt: skip
    chat = mail("chat:c/1", "Numbers are up", source="chats", title="Call", kind=Kind.TEAMS, created=start, thread="c")
    chat = remade(chat, links=(Link(rel="meeting", target=f"uid:{SERIES.upper()}"),))
    notes = mail("file:notes-2026-10-06.txt", "Present: Anna, Ben. Heron budget: planning went well", source="documents",
                 title="notes-2026-10-06", kind=Kind.DOCUMENT, created="2026-10-20T00:00:00+00:00")  # fmt: skip
    notes = remade(notes, thread=None)
    stranger = mail("file:other-2026-10-06.txt", "Lunch menu for the canteen", source="documents",
                    title="other-2026-10-06", kind=Kind.DOCUMENT)  # fmt: skip
    stranger = remade(stranger, thread=None)
    return {"event": event, "file": file, "invitation": invitation, "chat": chat, "notes": notes, "stranger": stranger}


async def put_all(fixture: Fixture, documents: list[NormalDocument]) -> None:
    for document in documents:
        (answer,) = await fixture.put("work", [document], source=document.source)
        assert answer["state"] == "added", answer


async def related(fixture: Fixture, document: NormalDocument, kb: str = "work") -> dict[str, Any]:
    answer = await fixture.json("GET", f"/v1/kbs/{kb}/documents/{document.id}/related", account="hearth-gateway")
    return {one["document"]: one for one in answer["related"]}


async def test_a_meeting_is_found_from_each_of_its_documents_in_any_order_of_arrival(tmp_path: Path) -> None:
    parts = story()
    orders = list(itertools.permutations(parts))
    random.Random(4).shuffle(orders)
    first: dict[str, Any] = {}
    for number, order in enumerate(orders[:4]):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with knowledge(folder) as fixture:
            await configured(fixture)
            await put_all(fixture, [parts[name] for name in order])
            found = {name: await related(fixture, document) for name, document in parts.items()}
        wanted = {parts[name].id for name in ("event", "invitation", "chat", "notes")}
        for name in ("event", "invitation", "chat", "notes"):
            assert wanted - {parts[name].id} <= set(found[name]), (name, order)
            assert parts["stranger"].id not in found[name]
        assert parts["file"].id in found["event"]
        assert found["stranger"] == {}
        rels = {name: found["event"][parts[name].id]["rel"] for name in ("invitation", "chat", "notes", "file")}
        assert rels == {"invitation": "invitation", "chat": "chat", "notes": "notes", "file": "file"}
        assert found["event"][parts["chat"].id]["reason"] == "iCalendar UID"
        assert found["event"][parts["notes"].id]["reason"] == "subject, people and time"
        assert found["chat"][parts["event"].id]["rel"] == "meeting"
        first = first or found
        assert found == first


async def test_a_deletion_unlinks_and_an_earlier_day_still_knows(tmp_path: Path) -> None:
    parts = story()
    async with knowledge(tmp_path) as fixture:
        await configured(fixture)
        await put_all(fixture, list(parts.values()))
        before = fixture.clock[0]
        fixture.clock[0] += 10_000
        await fixture.put("work", [tombstone(parts["chat"])], source="chats")
        assert parts["chat"].id not in await related(fixture, parts["event"])
        day = fixture.service.related.find("work", parts["event"].id, as_of=before + 1)
        assert parts["chat"].id in {one.document for one in day}
        gone = f"/v1/kbs/work/documents/{parts['chat'].id}/related"
        assert (await fixture.call("GET", gone, account="hearth-gateway"))[0] == 404
        assert (await fixture.call("GET", gone, account="hearth-ingest-chats"))[0] == 403


async def test_a_link_that_is_taken_back_joins_no_more(tmp_path: Path) -> None:
    parts = story()
    async with knowledge(tmp_path) as fixture:
        await configured(fixture)
        await put_all(fixture, [parts["event"], parts["chat"]])
        assert parts["event"].id in await related(fixture, parts["chat"])
        await fixture.put("work", [remade(parts["chat"], links=(), title="Other")], source="chats")
        assert await related(fixture, parts["chat"]) == {}


async def test_a_conversation_is_bounded_and_in_order(tmp_path: Path) -> None:
    letters = [
        remade(mail(f"t{number}", f"Text {number}", created=f"2026-09-{number + 1:02d}T09:00:00+00:00"),
               thread=ThreadRef(id="t", position=number + 1))
        for number in range(20)
    ]  # fmt: skip
    async with knowledge(tmp_path) as fixture:
        await configured(fixture)
        await put_all(fixture, random.Random(1).sample(letters, 20))
        found = [one.document for one in fixture.service.related.find("work", letters[10].id, expand=("thread",))]
        assert found == [letters[number].id for number in (*range(5, 10), *range(11, 16))]
        await fixture.index()
        body = {"query": "Text 10", "expand": ["thread"], "top_k": 1}
        answer = await fixture.json("POST", "/v1/kbs/work/search", account="hearth-gateway", body=body)
        assert len(answer["results"][0]["related"]) == 10
        body.pop("expand")
        answer = await fixture.json("POST", "/v1/kbs/work/search", account="hearth-gateway", body=body)
        assert answer["results"][0]["related"] == []


async def test_nothing_is_joined_across_knowledge_bases_nor_by_a_place_that_both_mention(tmp_path: Path) -> None:
    parts = story()
    one = remade(mail("a", "See our page", thread="a"), links=(Link(rel="mention", target="url:https://x.org"),))
    two = remade(mail("b", "See our page", thread="b"), links=(Link(rel="mention", target="url:https://x.org/"),))
    async with knowledge(tmp_path) as fixture:
        await configured(fixture)
        await configured(fixture, "other")
        await fixture.put("work", [parts["event"]], source="calendar")
        await fixture.put("other", [parts["chat"]], source="chats")
        assert await related(fixture, parts["event"]) == {}
        assert await related(fixture, parts["chat"], "other") == {}
        await put_all(fixture, [one, two])
        assert await related(fixture, one) == {}


async def test_the_same_file_mailed_and_filed_is_joined_by_its_bytes(tmp_path: Path) -> None:
    mailed = remade(mail("m#1", "Offer", kind=Kind.DOCUMENT, created=None), thread=None)
    filed = remade(mail("file:offer.pdf", "Offer", source="documents", kind=Kind.DOCUMENT, created=None), thread=None)
    async with knowledge(tmp_path) as fixture:
        await configured(fixture)
        await put_all(fixture, [mailed, filed])
        for document in (mailed, filed):
            path = f"/v1/kbs/work/documents/{document.id}/original"
            account = f"hearth-ingest-{document.source}"
            assert (await fixture.call("PUT", path, account=account, body=b"%PDF same"))[0] == 204
        found = await related(fixture, mailed)
        assert (found[filed.id]["rel"], found[filed.id]["reason"]) == ("file", "same file")


async def test_no_name_lies_in_clear_and_older_folders_catch_up(tmp_path: Path) -> None:
    parts = story()
    async with knowledge(tmp_path) as fixture:
        await configured(fixture)
        await put_all(fixture, list(parts.values()))
        before = await related(fixture, parts["event"])
        with fixture.service.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM marks")
            connection.exec_driver_sql("DELETE FROM moments")
        fixture.service._link_all()
        assert await related(fixture, parts["event"]) == before
    stored = (tmp_path / "data" / "knowledge.db").read_bytes().lower()
    assert b"heron" not in stored
    assert b"plan-1" not in stored
    assert SERIES.encode() not in stored
