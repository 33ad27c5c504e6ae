"""The command line as a person and the kubelet use it."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from hearth_api.wire.documents import NormalDocument
from hearth_ingest.main import main

MAIL = b"From a@example.org Mon Oct  5 09:12:44 2026\nMessage-ID: <1@x>\nFrom: a@example.org\n\npassword: hunter2\n"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    path = tmp_path / "m.mbox"
    path.write_bytes(MAIL)
    return path


def spec(path: Path, folder: Path, **more: object) -> Path:
    body = {"source": "inbox", "knowledgeBase": "work", "type": "email", "path": str(path)}
    body |= {"knowledgeUrl": "http://127.0.0.1:9", "tokenPath": str(folder / "token"), **more}
    file = folder / "run.json"
    file.write_text(json.dumps(body))
    return file


def test_parse_prints_a_normal_document_a_line(mbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parse", "--type", "email", "--source", "inbox", str(mbox)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    document = NormalDocument.model_validate_json(line)
    assert (document.source, document.origin.key) == ("inbox", "mid:<1@x>")


def test_parse_prints_what_cannot_be_read_as_error_lines_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"nothing")
    (tmp_path / "b.txt").write_text("words")
    (tmp_path / "c.png").write_text("x")
    assert main(["parse", "--type", "documents", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    errors = {line["origin"]["key"]: line["error"]["code"] for line in lines if "error" in line}
    assert errors == {"file:a.pdf": "pdf-unparseable", "file:c.png": "no-parser"}
    assert [line["title"] for line in lines if "title" in line] == ["b.txt"]


def test_parse_of_a_missing_path_fails_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parse", "--type", "email", str(tmp_path / "gone")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_redact_prints_findings_and_text(mbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mbox.write_text("write a@example.org")
    assert main(["redact", "--type", "text", str(mbox)]) == 0
    finding = {"type": "email", "start": 6, "end": 19, "score": 0.95}
    assert json.loads(capsys.readouterr().out) == {"findings": [finding], "text": "write [email]"}


class _Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_redact_reads_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        "sys.stdin", _Stdin('{"id": "x", "text": "a@example.org"}\n\n{"id": 2, "text": "no\u2028thing"}\n'.encode())
    )
    assert main(["redact", "--ndjson", "-"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.split("\n") if line]
    assert [(line["id"], line["text"], len(line["findings"])) for line in lines] == [
        ("x", "[email]", 1),
        (2, "no\u2028thing", 0),
    ]


def test_redact_names_the_line_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", _Stdin(b'{"id": 1, "text": "x"}\nnot json\n'))
    assert main(["redact", "--ndjson", "-"]) == 1
    assert "line 2 is not a JSON object" in capsys.readouterr().err


def test_an_offline_dry_run_prints_the_plan(mbox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--spec", str(spec(mbox, tmp_path)), "--dry-run", "--offline"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "add       mid:<1@x>  (not in the knowledge base)",
        "1 to add, 0 to update, 0 to delete, 0 unchanged",
    ]


def test_a_run_of_a_missing_source_fails_and_tells_the_kubelet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "termination"
    assert main(["run", "--spec", str(spec(tmp_path / "gone", tmp_path)), "--termination-log", str(log)]) == 1
    report = json.loads(log.read_text())
    assert report["outcome"] == "Failed"
    assert "does not exist: is the volume mounted" in report["firstError"]
    assert json.loads(capsys.readouterr().out) == report


def test_a_run_does_not_leave_through_a_link(mbox: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(mbox)
    log = tmp_path / "termination"
    assert main(["run", "--spec", str(spec(link, tmp_path)), "--termination-log", str(log)]) == 1
    assert "neither '..' nor a symbolic link is followed" in json.loads(log.read_text())["firstError"]


def test_a_wrong_spec_names_its_field(mbox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--spec", str(spec(mbox, tmp_path, trust="Blind"))]) == 1
    assert "trust: Input should be 'Own', 'Known' or 'External'" in capsys.readouterr().err
