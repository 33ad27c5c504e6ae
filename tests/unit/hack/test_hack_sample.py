import os
from pathlib import Path

import pytest

from hearth_hack import sample
from hearth_hack.paths import Paths

NAMES = ("mail.mbox", "documents/a.txt", "documents/b.txt", "teams/users/x.json", "calendar/c.ics")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(sample, "USER", os.getuid())
    monkeypatch.setattr(sample, "make_folder", lambda folder: folder.mkdir(parents=True, exist_ok=True))
    found = Paths(**{name: tmp_path / name for name in ("repo", "local", "cache", "run", "state")})
    for name in NAMES:
        write(month(found) / name, "first")
    return found


def month(paths: Paths) -> Path:
    return paths.repo / "tests" / "data" / "work-month"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def there(paths: Paths) -> dict[str, str]:
    root = paths.data / "sample"
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_the_sample_is_copied_once(paths: Paths) -> None:
    write(month(paths) / "questions.json", "not a part of it")
    assert sample.copy_sample(paths)
    assert there(paths) == dict.fromkeys(NAMES, "first")
    assert (paths.data / "sample" / "teams" / "users").stat().st_mode & 0o7777 == 0o2770
    assert not sample.copy_sample(paths)


def test_a_newer_checkout_brings_its_files_and_takes_its_old_ones_away(paths: Paths) -> None:
    sample.copy_sample(paths)
    write(month(paths) / "mail.mbox", "second")
    (month(paths) / "calendar" / "c.ics").rename(month(paths) / "calendar" / "d.ics")
    assert sample.copy_sample(paths)
    expected = {**dict.fromkeys(NAMES, "first"), "mail.mbox": "second", "calendar/d.ics": "first"}
    del expected["calendar/c.ics"]
    assert there(paths) == expected


def test_what_somebody_changed_added_or_removed_stays_so(paths: Paths) -> None:
    sample.copy_sample(paths)
    root = paths.data / "sample"
    write(root / "documents" / "a.txt", "mine")
    write(root / "documents" / "own.txt", "mine")
    (root / "documents" / "b.txt").unlink()
    for text in ("second", "third"):
        write(month(paths) / "documents" / "a.txt", text)
        write(month(paths) / "documents" / "b.txt", text)
        sample.copy_sample(paths)
        found = there(paths)
        assert (found["documents/a.txt"], found["documents/own.txt"]) == ("mine", "mine")
        assert "documents/b.txt" not in found


def test_a_sample_of_a_checkout_without_a_record_is_widened(paths: Paths) -> None:
    write(paths.data / "sample" / "mail.mbox", "old")
    write(paths.data / "sample" / "documents" / "own.txt", "mine")
    (paths.data / ".sample.part").mkdir()
    assert sample.copy_sample(paths)
    assert there(paths) == {**dict.fromkeys(NAMES, "first"), "documents/own.txt": "mine"}
