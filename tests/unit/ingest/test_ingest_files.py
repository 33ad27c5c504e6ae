"""A source stays inside its root."""

import os
from pathlib import Path

import pytest

from hearth_ingest.context import build_context
from hearth_ingest.documents.source import DocumentSource
from hearth_ingest.errors import SourceError
from hearth_ingest.files import matches
from hearth_ingest.item import Listing


def listing(root: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Listing:
    context = build_context("docs", kind="documents")
    return DocumentSource((root,), context=context, include=include, exclude=exclude).observe()


def test_links_are_refused_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key.txt").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_text("fine")
    (root / "link.txt").symlink_to(tmp_path / "secret/key.txt")
    (root / "folder").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "pipe.txt")
    found = listing(root)
    assert [item.key for item in found.items] == ["file:a.txt"]
    assert {(r.uri, r.code) for r in found.refusals} == {
        (f"file:{n}", "file-not-regular") for n in ("link.txt", "folder", "pipe.txt")
    }
    assert found.complete


def test_hidden_files_are_left_alone_and_other_types_are_skipped(tmp_path: Path) -> None:
    for name in (".git/config.txt", ".env", "a.txt", "b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = listing(tmp_path)
    assert [item.key for item in found.items] == ["file:a.txt"]
    assert [(r.uri, r.code) for r in found.skipped] == [("file:b.png", "no-parser")]
    assert found.refusals == ()


def test_names_that_are_not_unicode_do_not_stop_a_run(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))).write_text("x")
    assert [item.key for item in listing(tmp_path).items] == ["file:caf\\xe9.txt"]


def test_a_folder_that_cannot_be_listed_makes_the_listing_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = tmp_path / "shut"
    shut.mkdir()
    iterdir = Path.iterdir

    def refuse(path: Path) -> object:
        if path == shut:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    found = listing(tmp_path)
    assert not found.complete
    assert [(r.code, r.detail) for r in found.refusals] == [("file-unreadable", "Permission denied")]


def test_a_missing_root_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gone does not exist: is the volume mounted and the path right"):
        listing(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "include", "exclude", "wanted"),
    [
        ("a.md", (), (), True),
        ("sub/a.md", ("*.md",), (), True),
        ("sub/a.md", ("sub/*",), (), True),
        ("sub/a.md", ("other/*",), (), False),
        ("a.md", ("**/*.md",), (), True),
        ("sub/deep/a.md", ("**/*.md",), (), True),
        ("sub/a.md", (), ("sub/*",), False),
        ("drafts/a.md", ("*.md",), ("drafts/*",), False),
        ("a.txt", ("*.md", "*.txt"), (), True),
    ],
)
def test_globs(name: str, include: tuple[str, ...], exclude: tuple[str, ...], wanted: bool) -> None:
    assert matches(name, include=include, exclude=exclude) is wanted
