"""The sample's files in HEARTH_DATA/sample: put there, and kept like the checkout's."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from hearth_hack.paths import Paths
from hearth_hack.volumes import USER, make_folder

SAMPLE_PARTS = ("mail.mbox", "documents", "teams", "calendar")
"""What of tests/data/work-month becomes HEARTH_DATA/sample."""
RECORD = ".sample.json"


def copy_sample(paths: Paths) -> bool:
    """Puts the sample into HEARTH_DATA. Returns whether anything changed.

    What an earlier checkout put there becomes this checkout's. A file that somebody changed or added stays; one that
    somebody removed stays away. Without a record (a checkout before there was one) a file of the sample's name is ours.
    """
    make_folder(paths.data)
    source, target = paths.repo / "tests" / "data" / "work-month", paths.data / "sample"
    record = paths.data / RECORD
    known: dict[str, str] = json.loads(record.read_text()) if record.exists() and target.exists() else {}
    wanted = {str(path.relative_to(source)): path for path in sample_files(source)}
    digests = {name: digest(path) for name, path in wanted.items()}
    changed = False
    for name, path in wanted.items():
        there = target / name
        found = digest(there) if there.is_file() else None
        gone = found is None and name in known
        theirs = found is not None and name in known and found != known[name]
        if found != digests[name] and not gone and not theirs:
            put_file(path, there, root=paths.data)
            changed = True
    for name in known.keys() - wanted.keys():
        there = target / name
        if there.is_file() and digest(there) == known[name]:
            there.unlink()
            changed = True
    kept = {name: old for name, old in known.items() if name in digests and not _holds(target / name, digests[name])}
    record.write_text(json.dumps(digests | kept, indent=1) + "\n")
    return changed


def sample_files(source: Path) -> list[Path]:
    """Return every file of the sample's parts."""
    found = []
    for part in SAMPLE_PARTS:
        path = source / part
        found.extend([path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()))
    return found


def put_file(path: Path, target: Path, *, root: Path) -> None:
    """Copies a file whole or not at all, readable to the pods' user."""
    for folder in reversed([each for each in target.parents if root in each.parents]):
        if not folder.exists():
            folder.mkdir()
            os.chown(folder, USER, USER)
            folder.chmod(0o2770)
    scratch = root / ".sample.part"
    if scratch.is_dir():  # an earlier checkout copied the whole folder at once
        shutil.rmtree(scratch)
    shutil.copyfile(path, scratch)
    os.chown(scratch, USER, USER)
    scratch.chmod(0o660)
    scratch.replace(target)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _holds(path: Path, wanted: str) -> bool:
    return path.is_file() and digest(path) == wanted
