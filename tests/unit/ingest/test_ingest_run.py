"""A run against a knowledge service in memory: what changes is handed over, and dying anywhere is harmless."""

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hearth_api.wire.ingest import RunLimits, RunReport
from hearth_ingest.context import build_context
from hearth_ingest.documents.source import DocumentSource
from hearth_ingest.errors import KnowledgeError, SourceError
from hearth_ingest.item import Source
from hearth_ingest.mail.source import MailSource
from hearth_ingest.run import BatchLimits, Runner, Tally, make_plan, read_pending
from support.fake_knowledge import FakeKnowledge, Killed

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def message(number: int, *, text: str = "words", attachment: str | None = None, reply_to: int | None = None) -> bytes:
    lines = [
        f"From p{number}@example.org Mon Oct  5 09:{number:02}:00 2026",
        f"From: p{number}@example.org",
        f"Message-ID: <{number}@example.org>",
        f"Date: Mon, 5 Oct 2026 09:{number:02}:00 +0000",
        f"Subject: mail {number}",
    ]
    if reply_to is not None:
        lines.append(f"In-Reply-To: <{reply_to}@example.org>")
    if attachment is None:
        lines += ["", text]
    else:
        lines += ['Content-Type: multipart/mixed; boundary="b"', "", "--b", "", text, "--b"]
        lines += ["Content-Type: text/plain; name=a.txt", "", attachment, "--b--"]
    return ("\n".join(lines) + "\n\n").encode()


def run(source: Source, knowledge: FakeKnowledge, *, pipeline: str, originals: bool = True) -> RunReport:
    tally = Tally()

    async def once() -> None:
        listing = source.observe()
        for refusal in listing.refusals:
            tally.fail(refusal.uri, quarantined=refusal.quarantined, problem=refusal.code)
        cursor = await knowledge.fetch_cursor()
        plan = make_plan(source, listing, await knowledge.fetch_manifest(), pipeline=pipeline, cursor=cursor)
        limits = BatchLimits(lines=3)
        await Runner(source, knowledge, tally=tally, keep_originals=originals, limits=limits).carry_out(
            plan, cursor=cursor
        )

    asyncio.run(once())
    return tally.report(started=NOW, finished=NOW)


def run_mail(path: Path, knowledge: FakeKnowledge, **settings: object) -> RunReport:
    context = build_context("inbox", kind="email", **settings)  # type: ignore[arg-type]
    return run(MailSource((path,), context=context), knowledge, pipeline=context.pipeline)


def counts(report: RunReport) -> dict[str, int]:
    return {name: number for name, number in report.counts.model_dump().items() if number}


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    path = tmp_path / "mail.mbox"
    path.write_bytes(message(1, attachment="file one") + message(2, reply_to=1) + message(3))
    return path


def test_a_second_run_changes_nothing(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    assert counts(run_mail(mbox, knowledge)) == {"added": 4}
    before, puts = knowledge.state(), len(knowledge.puts)
    assert counts(run_mail(mbox, knowledge)) == {"unchanged": 4}
    assert (knowledge.state(), len(knowledge.puts)) == (before, puts)
    assert len(knowledge.originals) == 4


def test_a_new_mail_is_all_that_is_read_again(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    run_mail(mbox, knowledge)
    mbox.write_bytes(mbox.read_bytes() + message(4))
    assert counts(run_mail(mbox, knowledge)) == {"added": 1, "unchanged": 4}


def test_an_older_mail_that_arrives_late_moves_its_thread(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    run_mail(mbox, knowledge)
    mbox.write_bytes(message(0, reply_to=1) + mbox.read_bytes())
    assert counts(run_mail(mbox, knowledge)) == {"added": 1, "updated": 2, "unchanged": 2}
    fresh = FakeKnowledge()
    run_mail(mbox, fresh)
    strip = [{**d, "origin": None} for d in knowledge.documents.values()]
    assert sorted(map(json.dumps, strip)) == sorted(json.dumps({**d, "origin": None}) for d in fresh.documents.values())


def test_a_changed_mail_replaces_its_own_documents_only(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    run_mail(mbox, knowledge)
    mbox.write_bytes(message(1, text="other", attachment="file two") + message(2, reply_to=1) + message(3))
    assert counts(run_mail(mbox, knowledge)) == {"updated": 2, "unchanged": 2}


def test_an_attachment_that_is_gone_from_its_mail_is_deleted(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    run_mail(mbox, knowledge)
    mbox.write_bytes(message(1) + message(2, reply_to=1) + message(3))
    assert counts(run_mail(mbox, knowledge)) == {"deleted": 1, "updated": 1, "unchanged": 2}


def test_deleting_a_mail_deletes_its_attachments_documents(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    run_mail(mbox, knowledge)
    mbox.write_bytes(message(3))
    assert counts(run_mail(mbox, knowledge)) == {"deleted": 3, "unchanged": 1}
    assert {d["title"] for d in knowledge.documents.values()} == {"mail 3"}


def test_an_emptied_mailbox_deletes_all_and_a_missing_one_deletes_nothing(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    run_mail(mbox, knowledge)
    mbox.unlink()
    with pytest.raises(SourceError, match="does not exist: is the volume mounted"):
        run_mail(mbox, knowledge)
    assert len(knowledge.documents) == 4
    mbox.write_bytes(b"")
    assert counts(run_mail(mbox, knowledge)) == {"deleted": 4}


def test_other_settings_read_everything_again(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    run_mail(mbox, knowledge)
    report = run_mail(mbox, knowledge, limits=RunLimits(pages=7))
    assert counts(report) == {"unchanged": 4}
    assert len({line.pipeline for line in knowledge.manifest.values()}) == 1


def test_one_mail_over_the_limit_is_recorded_and_the_rest_goes_on(mbox: Path) -> None:
    mbox.write_bytes(mbox.read_bytes() + message(5, text="x" * 5000))
    report = run_mail(mbox, FakeKnowledge(), limits=RunLimits(item_bytes=2000))
    assert counts(report) == {"added": 4, "quarantined": 1}
    assert report.outcome == "PartiallyFailed"
    assert report.first_error is not None
    assert report.first_error.startswith("mid:<5@example.org>: too-large")


def test_a_line_that_the_service_refuses_does_not_take_its_batch_along(mbox: Path) -> None:
    knowledge = FakeKnowledge(refuse=frozenset({"mail 2"}))
    assert counts(run_mail(mbox, knowledge)) == {"added": 3, "failed": 1}


def test_masked_sources_hand_over_no_originals(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    context = build_context("inbox", kind="email", at_source=True)
    run(MailSource((mbox,), context=context), knowledge, pipeline=context.pipeline, originals=False)
    assert knowledge.originals == {}


def test_two_runs_at_once_do_not_write_over_each_other(mbox: Path) -> None:
    knowledge = FakeKnowledge()
    context = build_context("inbox", kind="email")
    source = MailSource((mbox,), context=context)
    plan = make_plan(source, source.observe(), (), pipeline=context.pipeline, cursor=None)

    async def race() -> None:
        await Runner(source, knowledge, tally=Tally(), keep_originals=True).carry_out(plan, cursor=None)
        await Runner(source, knowledge, tally=Tally(), keep_originals=True).carry_out(plan, cursor=None)

    with pytest.raises(KnowledgeError, match="another run"):
        asyncio.run(race())


def _writes_of_a_whole_run(mbox: Path) -> int:
    knowledge = FakeKnowledge()
    run_mail(mbox, knowledge)
    return knowledge.writes


def test_dying_at_any_write_and_running_again_equals_an_undisturbed_run(mbox: Path) -> None:
    undisturbed = FakeKnowledge()
    run_mail(mbox, undisturbed)
    for die_at in range(1, undisturbed.writes + 1):
        for before in (True, False):
            knowledge = FakeKnowledge(die_at=die_at, before=before)
            with pytest.raises(Killed):
                run_mail(mbox, knowledge)
            knowledge.die_at = None
            run_mail(mbox, knowledge)
            assert knowledge.state() == undisturbed.state(), (die_at, before)


def test_dying_during_an_update_and_running_again_equals_an_undisturbed_run(mbox: Path) -> None:
    first = mbox.read_bytes()
    second = message(1, text="new") + message(2, reply_to=1, attachment="more") + message(4)
    expected = FakeKnowledge()
    run_mail(mbox, expected)
    mbox.write_bytes(second)
    start = expected.writes
    run_mail(mbox, expected)
    for die_at in range(start + 1, expected.writes + 1):
        mbox.write_bytes(first)
        knowledge = FakeKnowledge()
        run_mail(mbox, knowledge)
        mbox.write_bytes(second)
        knowledge.die_at = die_at
        with pytest.raises(Killed):
            run_mail(mbox, knowledge)
        knowledge.die_at = None
        run_mail(mbox, knowledge)
        assert knowledge.state() == expected.state(), die_at


@pytest.mark.parametrize("cursor", [None, "", "not json", "[]", '{"pending": 3}', '{"done": true}'])
def test_a_cursor_of_another_form_names_nothing(cursor: str | None) -> None:
    assert read_pending(cursor) == ()


def run_documents(root: Path, knowledge: FakeKnowledge, **filters: tuple[str, ...]) -> RunReport:
    context = build_context("docs", kind="documents")
    return run(DocumentSource((root,), context=context, **filters), knowledge, pipeline=context.pipeline)


def test_files_are_followed_as_they_come_change_and_go(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "a.md").write_text("# A\nwords")
    (root / "b.txt").write_text("words")
    (root / "c.pdf").write_bytes(b"%PDF-1.4 broken")
    (root / "d.png").write_bytes(b"x")
    knowledge = FakeKnowledge()
    report = run_documents(root, knowledge)
    assert counts(report) == {"added": 2, "failed": 1}
    assert report.first_error is not None
    assert report.first_error.startswith("file:c.pdf: pdf-unparseable")
    os.utime(root / "a.md", (1, 1))
    assert counts(run_documents(root, knowledge)) == {"unchanged": 2, "failed": 1}
    (root / "a.md").write_text("# A\nother words")
    (root / "b.txt").unlink()
    (root / "c.pdf").unlink()
    assert counts(run_documents(root, knowledge)) == {"updated": 1, "deleted": 1}


def test_a_file_that_breaks_later_keeps_its_last_good_version(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good")
    knowledge = FakeKnowledge()
    run_documents(tmp_path, knowledge)
    (tmp_path / "a.txt").write_bytes(b"\x00\x01\x02\xff" * 100)
    assert counts(run_documents(tmp_path, knowledge)) == {"failed": 1}
    assert len(knowledge.documents) == 1
