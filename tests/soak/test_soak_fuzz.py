"""Long fuzzing of every parser: no crash, no hang, nothing unaccounted for.

Sample files are broken in many ways and read as a source reads them, each round in a process of its own that is killed
when it hangs. HEARTH_SOAK_SECONDS (default 600) bounds the whole; HEARTH_SOAK_SEED repeats a run. What fails is kept in
.local/soak/, named by its seed.
"""

import json
import multiprocessing
import os
import random
import shutil
import time
import zipfile
from collections import Counter
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.ingest import CalendarSettings
from hearth_ingest.calendars.source import make_frame
from hearth_ingest.context import build_context
from hearth_ingest.parsing import build_source, document_kind, parse_lines

REPO = Path(__file__).resolve().parents[2]
SAMPLE = REPO / "tests" / "data" / "work-month"
SECONDS = float(os.environ.get("HEARTH_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("HEARTH_SOAK_SEED", "0")) or random.SystemRandom().getrandbits(40)
ROUND = 40
"""Files of one round, which share a process."""
HANG = 240.0
TYPES = {
    "email": ("*.mbox",),
    "documents": ("documents/**/*",),
    "teams": ("teams/**/*",),
    "calendar": ("calendar/**/*",),
}


def seeds(kind: str) -> list[Path]:
    found = [path for pattern in TYPES[kind] for path in sorted(SAMPLE.glob(pattern)) if path.is_file()]
    assert found, kind
    return found


def pieces(data: bytes, kind: str) -> bytes:
    """A mailbox is cut to a few of its mails: a round must be quick."""
    if kind != "email":
        return data
    mails = data.split(b"\nFrom ")
    start = random.randrange(len(mails))
    return b"From " + b"\nFrom ".join(mails[start : start + 3]).removeprefix(b"From ")


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One of the ways in which files break or are broken on purpose."""
    if data[:2] == b"PK" and rng.random() < 0.6:
        return _mutate_zip(data, rng)
    if data[:1] in b"[{" and rng.random() < 0.6:
        return _mutate_json(data, rng)
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 40))):
        place = rng.randrange(len(out) + 1)
        match rng.randrange(9):
            case 0:
                del out[place:]
            case 1:
                del out[place : place + rng.randrange(1, 400)]
            case 2:
                out[place:place] = rng.randbytes(rng.randrange(1, 60))
            case 3:
                for _ in range(min(len(out), rng.randrange(1, 30))):
                    out[rng.randrange(len(out))] = rng.randrange(256)
            case 4:
                piece = bytes(out[place : place + rng.randrange(1, 2000)])
                out[place:place] = piece * rng.randrange(1, 20)
            case 5:
                other = rng.randrange(len(out) + 1)
                out[place:place] = out[other : other + rng.randrange(1, 500)]
            case 6:
                lines = bytes(out).split(b"\n")
                rng.shuffle(lines)
                out = bytearray(b"\n".join(lines))
            case 7:
                words = (
                    b"\x00",
                    b"\xff\xfe",
                    b"%PDF-1.7",
                    b"<!DOCTYPE a [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>&a;",
                )
                words += (
                    b"RRULE:FREQ=SECONDLY\n",
                    b'{"value":[',
                    b"Content-Type: multipart/mixed; boundary=a\n\n",
                    b"9" * 400,
                )
                out[place:place] = rng.choice(words)
            case _:
                if out:
                    out = bytearray(bytes(out).replace(bytes(out[place : place + 3]), rng.randbytes(2), 50))
        if not out:
            break
    return bytes(out[: 4 << 20])


_HOSTILE: tuple[Any, ...] = (
    None, True, 0, -1, 10**40, 1e308, "", " ", "\x00", "x" * 5000, "9999-12-31T23:59:60Z", "0001-01-01T00:00:00+14:00",
    "<div " * 300, "<quote>" * 50, "&#x110000;", "\ud800", [], {}, [[[[]]]], [None], {"id": {}}, {"value": [{"id": []}]},
    '{"a":', "8:orgid:", "19:@thread.v2", "https://teams.microsoft.com/l/meetup-join/" + "%" * 500,
)  # fmt: skip


def _mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Put hostile values into a JSON that stays one, so that the mutation reaches the reader behind its syntax."""
    try:
        root = json.loads(data)
    except ValueError:
        return data[: rng.randrange(len(data))]
    places = [
        (holder, key)
        for holder in _holders(root)
        for key in (holder if isinstance(holder, dict) else range(len(holder)))
    ]
    for holder, key in rng.choices(places, k=rng.choice((1, 3, 20, 200))) if places else ():
        match rng.randrange(3):
            case 0:
                holder[key] = rng.choice(_HOSTILE)
            case 1:
                other, where = rng.choice(places)
                holder[key] = json.loads(json.dumps(other[where])) if len(json.dumps(other[where])) < 20_000 else None
            case _ if isinstance(holder, dict):
                holder[rng.choice(("replies", "attachments", "mentions", "properties", "eventDetail", "body"))] = (
                    rng.choice(_HOSTILE)
                )
    return json.dumps(root).encode()[: 4 << 20]


def _holders(root: Any) -> list[Any]:
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        if isinstance(node, (dict, list)):
            found.append(node)
            stack.extend(node.values() if isinstance(node, dict) else node)
    return found


def _mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """Break a member and pack again, so that the mutation reaches the parser behind the container."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as before:
            entries = [(info, before.read(info)) for info in before.infolist()]
    except (zipfile.BadZipFile, OSError, ValueError):
        return data[: rng.randrange(len(data))]
    victim = rng.randrange(len(entries))
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        for number, (info, content) in enumerate(entries):
            after.writestr(info.filename, mutate(content, rng) if number == victim else content)
    return out.getvalue()


def read_folder(kind: str, folder: str, answer: Any) -> None:
    """Read a folder as a source; in a child."""
    context = build_context("soak", kind=kind)
    frame = make_frame(CalendarSettings(), today=date(2026, 11, 1), whole_months=True) if kind == "calendar" else None
    source = build_source(kind, (Path(folder),), context=context, frame=frame)
    counts: Counter[str] = Counter()
    seen = ""
    for line in parse_lines(source, kind=document_kind(kind), context=context):
        body = json.loads(line)
        seen += body["origin"]["uri"] + "\n"
        if "error" in body:
            assert body["error"]["code"], line
            counts["refused"] += 1
            continue
        document = NormalDocument.model_validate(body)
        counts["documents"] += 1
        text = "".join(segment.text for segment in document.segments)
        text.encode("utf-8")
        assert document.content_hash.startswith("sha256:")
        assert all(part.reason for part in document.parts)
        assert document.segments or document.parts or document.warnings, f"{document.origin.key} says nothing of itself"
        for finding in document.findings:
            assert finding.start < finding.end
    if kind == "documents":  # a mail, a chat or an event may stand in several files and is one document
        lost = [file.name for file in Path(folder).iterdir() if file.stat().st_size and file.name not in seen]
        assert not lost, lost
    answer.put(dict(counts))


@pytest.mark.parametrize("kind", TYPES)
def test_a_parser_takes_anything(kind: str, tmp_path: Path) -> None:
    rng = random.Random(f"{SEED}-{kind}")
    random.seed(f"{SEED}-{kind}-pieces")
    originals = [(path.name, path.read_bytes()) for path in seeds(kind)]
    end, total, rounds = time.monotonic() + SECONDS / len(TYPES), Counter[str](), 0
    spawn = multiprocessing.get_context("spawn")
    while time.monotonic() < end:
        rounds += 1
        folder = tmp_path / f"{kind}-{rounds}"
        folder.mkdir()
        for number in range(ROUND):
            name, data = rng.choice(originals)
            (folder / f"{number:03}-{name}").write_bytes(mutate(pieces(data, kind), rng))
        answers = spawn.Queue()
        child = spawn.Process(target=read_folder, args=(kind, str(folder), answers))
        child.start()
        child.join(HANG)
        hung = child.is_alive()
        if hung:
            child.kill()
            child.join()
        if hung or child.exitcode != 0:
            kept = REPO / ".local" / "soak" / f"{kind}-{SEED}-{rounds}"
            shutil.copytree(folder, kept, dirs_exist_ok=True)
            pytest.fail(f"{'hung' if hung else f'ended with {child.exitcode}'}; the files are in {kept}", pytrace=False)
        total.update(answers.get(timeout=10))
        shutil.rmtree(folder)
    print(f"\n{kind}: seed {SEED}, {rounds * ROUND} files, {dict(total)}")
    assert total["documents"] > 0
