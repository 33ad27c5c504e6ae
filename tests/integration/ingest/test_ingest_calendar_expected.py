"""What the tests of recurring-ical-events expect is what a run finds, and over years both find the same."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from support.calendar_compare import DIFFERENT, FOLDER, WINDOWS, ours, theirs

TESTS = FOLDER.parent
OTHERS = ("test_readme.py", "test_with_doctest.py", "test_repetitions_do_not_change.py")
"""They test the package's own page, need another package, or compare the library with itself."""


def test_every_expected_occurrence_is_found(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "support.calendar_expected"]
    command += [f"--rootdir={TESTS}", *(f"--ignore={TESTS / name}" for name in OTHERS), "-k", "not alarm", str(TESTS)]
    answer = tmp_path / "answer.json"
    support = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(support), "CALENDAR_EXPECTED": str(answer)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout[-3000:]
    result = json.loads(answer.read_text())
    assert result["missing"] == []
    assert len(result["seen"]) >= 70
    assert sum(result["seen"].values()) >= 9000


@pytest.mark.parametrize(("low", "high"), WINDOWS[:-1])
def test_occurrences_of_years_are_those_of_the_library(low: date, high: date) -> None:
    total, different = 0, []
    for path in sorted(FOLDER.glob("*.ics")):
        data = path.read_bytes()
        expected = theirs(data, low, high)
        total += len(expected)
        if ours(data, low, high) != expected:
            different.append(path.name)
    assert set(different) <= DIFFERENT.keys()
    assert total > 3000
