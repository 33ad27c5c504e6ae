"""Backups are whole, sealed and restorable, whatever goes on meanwhile."""

import asyncio
import base64
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from hearth_knowledge.backup.command import run_command
from hearth_knowledge.backup.errors import BackupError
from hearth_knowledge.backup.manifest import ARCHIVE, MANIFEST, list_manifests
from hearth_knowledge.backup.restore import MARKER, choose_backup, restore, verify_backup
from hearth_knowledge.backup.schedule import DAY, HOUR, Schedule
from hearth_knowledge.crypto import Keyring
from hearth_knowledge.errors import InvalidRequestError
from hearth_knowledge.settings import Settings
from support.knowledge import mail, tombstone
from support.knowledge_fakes import CONFIG, Fixture, knowledge


async def fill(fixture: Fixture, count: int = 3) -> None:
    await fixture.json("PUT", "/v1/kbs/work", account="hearth-operator", body=CONFIG.to_json_object())
    letters = [mail(f"m{number}", f"Secret word{number}") for number in range(count)]
    await fixture.put("work", letters)
    path = f"/v1/kbs/work/documents/{letters[0].id}/original"
    assert (await fixture.call("PUT", path, account="hearth-ingest-inbox", body=b"original"))[0] == 204
    await fixture.index()


def places(folder: Path) -> dict[str, str]:
    return {"HEARTH_BACKUP_DIR": str(folder / "backups")}


async def made(folder: Path) -> Path:
    async with knowledge(folder, **places(folder)) as fixture:
        await fill(fixture)
        answer = await fixture.json("POST", "/v1/backups", account="hearth-gateway")
        assert (answer["documents"], answer["versions"], answer["missing"]) == (3, 3, 0)
        listed = await fixture.json("GET", "/v1/backups", account="hearth-operator")
        assert [one["name"] for one in listed["items"]] == [answer["name"]]
        _, _, metrics = await fixture.call("GET", "/metrics")
        assert b"hearth_knowledge_backup_last_success_timestamp_seconds 1.79" in metrics
    assert not (folder / "data" / ".backup").exists()
    return folder / "backups" / str(answer["name"])


async def test_what_was_saved_comes_back_and_answers_the_same(tmp_path: Path) -> None:
    asked = {"query": "word1"}
    async with knowledge(tmp_path, **places(tmp_path)) as fixture:
        await fill(fixture)
        await fixture.json("POST", "/v1/backups", account="hearth-gateway")
        before = await fixture.json("POST", "/v1/kbs/work/search", account="hearth-gateway", body=asked)
        await fixture.put("work", [mail("later", "After the backup")])
    shutil.rmtree(tmp_path / "data")
    async with knowledge(tmp_path, HEARTH_RESTORE="latest", **places(tmp_path)) as fixture:
        fixture.clock[0] += HOUR
        status = await fixture.json("GET", "/v1/kbs/work/status", account="hearth-operator")
        assert (status["documents"], status["queue"]["pending"]) == (3, 3)
        assert status["queue"]["lastError"] == "index_rebuilding"
        assert not status["consistency"]["consistent"]
        await fixture.index()
        status = await fixture.json("GET", "/v1/kbs/work/status", account="hearth-operator")
        assert status["consistency"]["consistent"]
        after = await fixture.json("POST", "/v1/kbs/work/search", account="hearth-gateway", body=asked)
        assert after["results"] == before["results"]
        path = f"/v1/kbs/work/documents/{mail('m0', '').id}/original"
        assert (await fixture.call("GET", path, account="hearth-gateway"))[2] == b"original"


async def test_nothing_of_a_backup_is_readable_without_the_key(tmp_path: Path) -> None:
    backup = await made(tmp_path)
    stored = b"".join(path.read_bytes() for path in backup.iterdir())
    assert b"Secret" not in stored
    assert b"inbox" not in stored
    assert b"work" not in stored


async def test_the_newest_are_kept_and_one_that_was_interrupted_is_none(tmp_path: Path) -> None:
    (tmp_path / "backups" / ".new-backup-x").mkdir(parents=True)
    async with knowledge(tmp_path, HEARTH_BACKUP_KEEP="2", **places(tmp_path)) as fixture:
        await fill(fixture)
        names = [fixture.service.backups.make().name for _ in range(4)]
        assert [one.name for one in fixture.service.backups.list()] == names[:1:-1]
    assert sorted(path.name for path in (tmp_path / "backups").iterdir()) == sorted(names[2:])


@pytest.mark.parametrize("harm", ["cut", "frame cut", "flipped", "swapped", "manifest", "renamed", "no archive"])
async def test_a_harmed_backup_is_refused_and_nothing_is_put_in_place(harm: str, tmp_path: Path) -> None:
    backup = await made(tmp_path)
    archive = backup / ARCHIVE
    data = archive.read_bytes()
    if harm == "cut":
        archive.write_bytes(data[:-1])
    elif harm == "frame cut":
        archive.write_bytes(data[:16])
    elif harm == "flipped":
        archive.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif harm == "swapped":
        archive.write_bytes(data[:16] + data[32:48] + data[16:32] + data[48:])
    elif harm == "manifest":
        body = json.loads((backup / MANIFEST).read_text())
        (backup / MANIFEST).write_text(json.dumps({**body, "documents": 2}))
    elif harm == "renamed":
        backup = backup.rename(backup.with_name("backup-20200101T000000Z"))
    else:
        archive.unlink()
    empty = tmp_path / "empty"
    with pytest.raises(BackupError):
        restore(backup, data=empty, keyring=Keyring(tmp_path / "kek"))
    assert list(empty.iterdir()) == []


async def test_without_the_key_of_that_time_the_message_says_which(tmp_path: Path) -> None:
    backup = await made(tmp_path)
    key = tmp_path / "kek" / "v1"
    key.write_text(base64.b64encode(bytes(range(32))).decode())
    with pytest.raises(BackupError, match="another key than the one"):
        verify_backup(backup, keyring=Keyring(tmp_path / "kek"), work=tmp_path)
    key.rename(key.with_name("v2"))
    with pytest.raises(BackupError, match="needs v1 of the Secret hearth-kek"):
        verify_backup(backup, keyring=Keyring(tmp_path / "kek"), work=tmp_path)


async def test_a_folder_with_data_is_left_alone_and_an_interrupted_restore_begins_again(tmp_path: Path) -> None:
    backup = await made(tmp_path)
    keyring = Keyring(tmp_path / "kek")
    with pytest.raises(BackupError, match="is not empty"):
        restore(backup, data=tmp_path / "data", keyring=keyring)
    half = tmp_path / "half"
    (half / "kbs" / "work" / "aa").mkdir(parents=True)
    (half / "kbs" / "work" / "aa" / "left").write_bytes(b"x")
    with pytest.raises(BackupError, match="is not empty"):
        restore(backup, data=half, keyring=keyring)
    (half / MARKER).touch()
    assert restore(choose_backup(tmp_path / "backups"), data=half, keyring=keyring).documents == 3
    assert sorted(path.name for path in half.iterdir()) == ["kbs", "knowledge.db"]
    assert not list(half.glob("kbs/*/*/left"))


async def test_the_command_line_restores_and_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await made(tmp_path)
    environment = {"HEARTH_KNOWLEDGE_DATA": str(tmp_path / "new"), "HEARTH_KEK_DIR": str(tmp_path / "kek")}
    settings = Settings.from_environment(environment)
    assert run_command(["verify-backup", "--from", str(tmp_path / "backups")], settings)
    assert run_command(["restore", "--from", str(tmp_path / "backups"), "--latest"], settings)
    assert not run_command([], settings)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["done"] for line in lines] == ["verify-backup", "restore"]
    assert "key" not in lines[0]


async def test_a_backup_under_constant_writes_is_one_moment(tmp_path: Path) -> None:
    """Writers add, change, delete and replace originals all the while; each backup must hold what its rows name."""
    keyring = Keyring(tmp_path / "kek")
    async with knowledge(tmp_path, **places(tmp_path)) as fixture:
        await fill(fixture)
        other = {"body": CONFIG.to_json_object(), "account": "hearth-operator"}
        running = True

        async def write(worker: int) -> int:
            number = 0
            while running:
                letter = mail(f"w{worker}-{number % 5}", f"text {number}")
                await fixture.put("work", [letter])
                path = f"/v1/kbs/work/documents/{letter.id}/original"
                await fixture.call("PUT", path, account="hearth-ingest-inbox", body=b"x" * (number + 1))
                if number % 3 == 2:
                    await fixture.put("work", [tombstone(letter)])
                await fixture.json("PUT", f"/v1/kbs/t{worker}", **other)
                await fixture.put(f"t{worker}", [letter])
                await fixture.call("DELETE", f"/v1/kbs/t{worker}", account="hearth-operator")
                number += 1
            return number

        writers = [asyncio.create_task(write(worker)) for worker in range(2)]
        backups = [await asyncio.to_thread(fixture.service.backups.make) for _ in range(5)]
        running = False
        assert all(count > 0 for count in await asyncio.gather(*writers))
    assert [one.missing for one in backups] == [0] * 5
    for number, one in enumerate(backups):
        folder = tmp_path / f"restored-{number}"
        folder.mkdir()
        shutil.copytree(tmp_path / "kek", folder / "kek")
        restore(tmp_path / "backups" / one.name, data=folder / "data", keyring=keyring)
        async with knowledge(folder) as fixture:
            fixture.clock[0] += HOUR  # after everything that was written
            for kb in fixture.service.registry.list_names():
                check_whole(fixture, kb)


def check_whole(fixture: Fixture, kb: str) -> None:
    """Every document opens, and every original has the size that its row says."""
    connection = sqlite3.connect(fixture.service.settings.data / "knowledge.db")
    rows = connection.execute("SELECT id, original IS NOT NULL FROM documents WHERE NOT deleted AND kb = ?", (kb,))
    for document, original in rows.fetchall():
        fixture.service.documents.read(kb, document)
        if original:
            found, pieces = fixture.service.originals.read(kb, document)
            assert sum(map(len, pieces)) == found.bytes
    connection.close()


@pytest.mark.parametrize(
    ("text", "last", "now", "due"),
    [
        ("6h", None, DAY, True),
        ("6h", DAY, DAY + 6 * HOUR - 1, False),
        ("6h", DAY, DAY + 6 * HOUR, True),
        ("03:30", DAY, DAY + 3 * HOUR, False),
        ("03:30", DAY, DAY + 4 * HOUR, True),
        ("03:30", DAY + 4 * HOUR, DAY + 23 * HOUR, False),
        ("03:30", DAY - 10 * HOUR, DAY + HOUR, False),
        ("03:30", DAY - 21 * HOUR, DAY + HOUR, True),
    ],
)
def test_a_backup_is_due_by_its_schedule(text: str, last: int | None, now: int, *, due: bool) -> None:
    schedule = Schedule.parse(text)
    assert schedule is not None
    assert schedule.due(last=last, now=now) is due


@pytest.mark.parametrize("text", ["25:00", "3:30", "h", "0h", "daily", "* * * * *"])
def test_a_schedule_without_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="HEARTH_BACKUP_SCHEDULE"):
        Schedule.parse(text)


async def test_without_a_place_a_backup_says_what_is_missing(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        status, _, answer = await fixture.call("POST", "/v1/backups", account="hearth-gateway")
        assert status == 409
        assert b"HEARTH_BACKUP_DIR" in answer
    assert list_manifests(tmp_path / "nowhere") == []
