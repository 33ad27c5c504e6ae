# ruff: noqa: INP001 (a script, not a package)
"""How long a backup, its check and its restore take, and how long a writer waits for it.

    hack/bench/run backup [--documents 10000] [--kilobytes 8]

Documents of made-up text, each with an original, are handed to a real service (SQLite, encrypted files; no Milvus: a
backup holds no vectors). While the backup is made, one writer hands over a document after the other.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPO = HERE.parents[2]
sys.path[:0] = [str(REPO / "tests"), str(HERE)]

from latency import Language  # noqa: E402
from timed_pod import describe_machine  # noqa: E402

from hearth_knowledge.backup.restore import choose_backup, restore, verify_backup  # noqa: E402
from hearth_knowledge.crypto import Keyring  # noqa: E402
from support.knowledge import mail  # noqa: E402
from support.knowledge_fakes import CONFIG, Fixture, knowledge  # noqa: E402

BATCH = 100
WORDS = 250


async def fill(fixture: Fixture, *, documents: int, kilobytes: int) -> None:
    """Hand over the documents and their originals."""
    await fixture.json("PUT", "/v1/kbs/work", account="hearth-operator", body=CONFIG.to_json_object())
    language = Language(seed=7)
    original = os.urandom(kilobytes * 1024)
    for start in range(0, documents, BATCH):
        batch = [mail(f"m{n}", language.text(WORDS)) for n in range(start, min(documents, start + BATCH))]
        await fixture.put("work", batch)
        for one in batch:
            path = f"/v1/kbs/work/documents/{one.id}/original"
            await fixture.call("PUT", path, account="hearth-ingest-inbox", body=original)


async def write_on(fixture: Fixture, done: asyncio.Event) -> list[float]:
    """Hand over documents until told to stop. Returns the seconds that each took."""
    took: list[float] = []
    while not done.is_set():
        began = time.perf_counter()
        await fixture.put("work", [mail(f"meanwhile{len(took)}", "A mail that comes while the backup is made.")])
        took.append(time.perf_counter() - began)
    return took


async def measure(folder: Path, *, documents: int, kilobytes: int) -> dict[str, Any]:
    """Return seconds and bytes of each step."""
    async with knowledge(folder, HEARTH_BACKUP_DIR=str(folder / "backups")) as fixture:
        await fill(fixture, documents=documents, kilobytes=kilobytes)
        done = asyncio.Event()
        writer = asyncio.create_task(write_on(fixture, done))
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        made = await fixture.json("POST", "/v1/backups", account="hearth-gateway")
        seconds = time.perf_counter() - began
        done.set()
        waits = await writer
    keyring = Keyring(folder / "kek")
    backup = choose_backup(folder / "backups")
    began = time.perf_counter()
    verify_backup(backup, keyring=keyring, work=folder)
    checked = time.perf_counter()
    restore(backup, data=folder / "restored", keyring=keyring)
    restored = time.perf_counter()
    return {
        "documents": made["documents"],
        "megabytes": sum(path.stat().st_size for path in backup.iterdir()) / 1e6,
        "backup": seconds,
        "longest wait of a writer": max(waits),
        "verify": checked - began,
        "restore": restored - checked,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--kilobytes", type=int, default=8, help="size of each original")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), documents=options.documents, kilobytes=options.kilobytes))
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items()))
    for name, value in found.items():
        unit = "" if name == "documents" else " MB" if name == "megabytes" else " s"
        print(f"{name:<26} {value:>10,.{0 if name == 'documents' else 2}f}{unit}")


if __name__ == "__main__":
    main()
