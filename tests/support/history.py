"""A source whose files come, change, move and go, with runs in between that may die at any call."""

import asyncio
import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.ingest import CalendarSettings
from hearth_ingest.calendars.source import make_frame
from hearth_ingest.context import build_context
from hearth_ingest.parsing import build_source
from hearth_ingest.run import BatchLimits, Runner, Tally, make_plan
from support.fake_knowledge import FakeKnowledge, Killed

Entries = dict[int, int]
"""What stands in one file: number -> version."""
FRAME = make_frame(CalendarSettings(), today=date(2026, 11, 1), whole_months=True)
START = datetime(2026, 10, 5, 9, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Step:
    """One change and the run after it. `die_at` counts the run's writing calls; 0 lets it live, below 0 runs none."""

    verb: str
    number: int
    version: int
    file: int
    other: int
    die_at: int
    before: bool


VERBS = ("put", "put", "put", "remove", "move", "copy", "drop", "rename", "break")


@dataclass(slots=True)
class World:
    """The files of one source, by name."""

    kind: str
    names: tuple[str, ...]
    render: Callable[[str, Entries], bytes]
    files: dict[str, Entries] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def change(self, step: Step) -> None:
        """Change the files in memory."""
        name, other = self.names[step.file % len(self.names)], self.names[step.other % len(self.names)]
        entries = self.files.get(name, {})
        self.broken.discard(name)
        match step.verb:
            case "put":
                self.files.setdefault(name, {})[step.number] = step.version
            case "remove":
                entries.pop(step.number, None)
            case "move" | "copy" if step.number in entries:
                self.files.setdefault(other, {})[step.number] = entries[step.number]
                if step.verb == "move" and other != name:
                    del entries[step.number]
            case "drop":
                self.files.pop(name, None)
            case "rename" if name in self.files:
                self.files[other] = self.files.pop(name)
            case "break" if name in self.files:
                self.broken.add(name)

    def write(self, root: Path) -> None:
        """Bring the folder to what is in memory; files that are the same stay untouched."""
        wanted = {name: self.render(name, entries) for name, entries in self.files.items()}
        wanted = {name: data[: len(data) // 3] if name in self.broken else data for name, data in wanted.items()}
        if self.kind == "maildir":
            wanted = {place: data for name in self.files for place, data in _maildir(name, self.files[name]).items()}
        root.mkdir(exist_ok=True)
        for folder in ("cur", "new", "tmp"):
            (root / folder).mkdir(exist_ok=True)
        for path in [path for path in root.rglob("*") if path.is_file()]:
            if path.relative_to(root).as_posix() not in wanted:
                path.unlink()
        for name, data in wanted.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != data:
                path.write_bytes(data)


def _mail(number: int, version: int) -> bytes:
    lines = [f"From: p{number}@example.org", f"Message-ID: <{number}@example.org>"]
    lines += [f"Date: Mon, 5 Oct 2026 09:{number:02}:00 +0000", f"Subject: mail {number // 3}"]
    if number % 3:
        lines.append(f"In-Reply-To: <{number - 1}@example.org>")
    if version == 3:  # other bytes that say the same as version 1
        lines.append("X-Unused: words")
    text = f"words {1 if version == 3 else version}"
    if version == 2:
        lines += ['Content-Type: multipart/mixed; boundary="b"', "", "--b", "", text, "--b"]
        lines += ["Content-Type: text/plain; name=a.txt", "", f"file of {number}", "--b--"]
    else:
        lines += ["", text]
    return ("\n".join(lines) + "\n\n").encode()


def _mbox(_: str, entries: Entries) -> bytes:
    return b"".join(b"From x Mon Oct  5 09:00:00 2026\n" + _mail(n, v) for n, v in entries.items())


def _maildir(name: str, entries: Entries) -> dict[str, bytes]:
    """The file's name stands for a state: new, read, and in another folder."""
    places = {"0": "new/{}", "1": "cur/{}:2,S", "2": ".Old/cur/{}:2,RS"}
    return {places[name].format(f"{n}.x"): _mail(n, v) for n, v in entries.items()}


def _text(number: int, version: int) -> bytes:
    return f"Note {number}\n\nwords {1 if version == 3 else version}{'  ' if version == 3 else ''}\n".encode()


def _document(name: str, entries: Entries) -> bytes:
    if not name.endswith(".zip"):
        return b"".join(_text(n, v) for n, v in entries.items())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, version in entries.items():
            info = zipfile.ZipInfo(f"in/{number}.txt", date_time=(2026, 10, 5, 9, 0, 0))
            archive.writestr(info, _text(number, version))
        if len(entries) > 2:
            archive.writestr(zipfile.ZipInfo("inner.zip"), _document("inner.zip", dict(list(entries.items())[:1])))
    return out.getvalue()


def _chat(_: str, entries: Entries) -> bytes:
    messages = []
    for number, version in entries.items():
        created = START + timedelta(hours=5 * number)
        changed = created + timedelta(minutes=version)
        message = {"id": str(1700 + number), "messageType": "message", "chatId": f"19:chat{number % 2}@thread.v2"}
        message["createdDateTime"] = created.isoformat().replace("+00:00", "Z")
        message["lastModifiedDateTime"] = changed.isoformat().replace("+00:00", "Z")
        sender = {"user": {"id": f"u{number}", "displayName": f"Person {number}"}}
        body = {"contentType": "text", "content": f"words {1 if version == 3 else version}"}
        messages.append({**message, "from": sender, "body": body})
    return json.dumps({"value": messages}).encode()


def _calendar(_: str, entries: Entries) -> bytes:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0"]
    for number, version in entries.items():
        lines += ["BEGIN:VEVENT", f"UID:{number // 2}@x", f"SEQUENCE:{version}", f"SUMMARY:words {version % 3}"]
        lines.append("DTSTART:20261006T140000Z")
        lines.append("RECURRENCE-ID:20261013T140000Z" if number % 2 else "RRULE:FREQ=WEEKLY;COUNT=3")
        lines.append("END:VEVENT")
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


WORLDS: dict[str, Callable[[], World]] = {
    "mbox": lambda: World("mbox", ("a.mbox", "b.mbox", "sub/c.mbox"), _mbox),
    "maildir": lambda: World("maildir", ("0", "1", "2"), lambda _n, _e: b""),
    "documents": lambda: World("documents", ("a.txt", "b.md", "c.zip", "sub/d.zip"), _document),
    "teams": lambda: World("teams", ("a.json", "b.json", "sub/c.json"), _chat),
    "calendar": lambda: World("calendar", ("a.ics", "b.ics", "sub/c.ics"), _calendar),
}


def run(kind: str, root: Path, knowledge: FakeKnowledge) -> None:
    """One run as the program does it. Raises Killed."""
    name = {"mbox": "email", "maildir": "email"}.get(kind, kind)
    context = build_context("s", kind=name)
    source = build_source(name, (root,), context=context, frame=FRAME)

    async def once() -> None:
        listing = source.observe()
        cursor = await knowledge.fetch_cursor()
        plan = make_plan(source, listing, await knowledge.fetch_manifest(), pipeline=context.pipeline, cursor=cursor)
        limits = BatchLimits(lines=3)
        await Runner(source, knowledge, tally=Tally(), keep_originals=True, limits=limits).carry_out(
            plan, cursor=cursor
        )

    asyncio.run(once())


def live(kind: str, steps: list[Step], folder: Path) -> tuple[FakeKnowledge, FakeKnowledge]:
    """Live through the steps, mend what is broken, run to the end; return that and one fresh run over the same files."""
    world, knowledge = WORLDS[kind](), FakeKnowledge()
    root = folder / "root"
    for step in steps:
        world.change(step)
        world.write(root)
        if step.die_at < 0:
            continue
        knowledge.die_at = knowledge.writes + step.die_at if step.die_at else None
        knowledge.before = step.before
        try:
            run(kind, root, knowledge)
        except Killed:
            continue
    knowledge.die_at = None
    world.broken.clear()
    world.write(root)
    run(kind, root, knowledge)
    fresh = FakeKnowledge()
    run(kind, root, fresh)
    return knowledge, fresh


def compare(knowledge: FakeKnowledge, fresh: FakeKnowledge, *, kind: str) -> None:
    """Assert that manifest, documents and originals are the same.

    A mail that only moves to another mailbox is not read again, so its `uri` says where it was when it was read.
    """
    moves = kind in {"mbox", "maildir"}
    assert _seen(knowledge, moves=moves) == _seen(fresh, moves=moves)
    assert knowledge.originals == fresh.originals


def _seen(knowledge: FakeKnowledge, *, moves: bool) -> dict[str, tuple[object, object]]:
    assert knowledge.manifest.keys() == knowledge.documents.keys()
    out: dict[str, tuple[object, object]] = {}
    for key, line in sorted(knowledge.manifest.items()):
        document = NormalDocument.model_validate(knowledge.documents[key])
        assert line.content_hash == document.content_hash
        if moves:
            document = document.model_copy(update={"origin": document.origin.model_copy(update={"uri": ""})}).sealed()
        out[key] = (line.model_copy(update={"content_hash": ""}), document)
    return out


def random_steps(rng: random.Random, *, most: int) -> list[Step]:
    """Return steps of the kind that hypothesis makes, for the long version."""
    return [
        Step(
            verb=rng.choice(VERBS),
            number=rng.randrange(7),
            version=rng.randrange(1, 4),
            file=rng.randrange(4),
            other=rng.randrange(4),
            die_at=rng.choice((-1, 0, *range(1, 12))),
            before=rng.random() < 0.5,
        )
        for _ in range(rng.randrange(1, most))
    ]
