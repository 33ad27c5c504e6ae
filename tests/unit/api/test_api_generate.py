"""Generated files are those in the repository, and a difference is named."""

from pathlib import Path

import pytest

from hearth_api.condition_reasons import REASONS_OF, may_carry
from hearth_api.conditions import ConditionType
from hearth_api.generate import BEGIN, CONDITIONS_BEGIN, CONDITIONS_END, END, find_differences, main, write_files
from hearth_api.reasons import Reason

ROOT = Path(__file__).resolve().parents[3]


def test_the_repository_holds_what_the_models_generate() -> None:
    assert find_differences(ROOT) == []


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "crds").mkdir()
    (tmp_path / "crds/README.md").write_text(f"before\n{CONDITIONS_BEGIN}\n{CONDITIONS_END}\n{BEGIN}\n{END}\nafter\n")
    return tmp_path


def test_writing_twice_changes_nothing_the_second_time(empty: Path) -> None:
    first = write_files(empty)
    assert len(first) == 10  # four CRDs twice, the fields, the reasons
    assert write_files(empty) == []
    assert main(["--check", "--root", str(empty)]) == 0


def test_a_changed_a_missing_and_a_foreign_file_are_named(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(empty)
    (empty / "crds/knowledgebases.yaml").write_text("changed")
    (empty / "charts/hearth/files/crds/inferencenodes.yaml").unlink()
    (empty / "crds/leftover.yaml").write_text("")
    assert main(["--check", "--root", str(empty)]) == 1
    named = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    assert named == [
        "charts/hearth/files/crds/inferencenodes.yaml",
        "crds/knowledgebases.yaml",
        "crds/leftover.yaml",
    ]


def test_readme_without_markers_is_refused(empty: Path) -> None:
    (empty / "crds/README.md").write_text("no markers")
    with pytest.raises(ValueError, match="needs the lines"):
        write_files(empty)


def test_readme_lists_every_reason_with_its_sentence() -> None:
    text = (ROOT / "crds/README.md").read_text()
    for reason in Reason:
        assert f"| `{reason.value}` | {reason.meaning} |" in text


def test_every_condition_has_its_reasons_and_every_reason_a_condition() -> None:
    assert set(REASONS_OF) == set(ConditionType)
    listed = {reason for reasons in REASONS_OF.values() for reason in reasons}
    assert listed == set(Reason), f"in no condition: {sorted(set(Reason) - listed)}"
    for reasons in REASONS_OF.values():
        assert len(set(reasons)) == len(reasons)
    assert may_carry("Ready", "Loading")
    assert may_carry("Available", "Loading")
    assert not may_carry("Fits", "Loading")


def test_reasons_are_one_word_and_one_sentence() -> None:
    assert len({reason.value for reason in Reason}) == len(Reason)
    for reason in Reason:
        assert reason.value.isalpha()
        assert reason.value[0].isupper()
        assert reason.meaning.endswith(".")
        assert Reason.lookup(reason.value) is reason
    assert Reason.lookup("OfANewerRelease") is None


def test_every_reason_is_given_somewhere() -> None:
    """A reason that nothing sets would only mislead whoever reads the table."""
    sources = [*(ROOT / "operator/src").rglob("*.py"), ROOT / "crds/src/hearth_api/conditions.py"]
    text = "".join(path.read_text() for path in sources)
    missing = [r.name for r in Reason if f"Reason.{r.name}" not in text and f'"{r.value}"' not in text]
    assert missing == []
