"""Projected tokens follow the kubelet's rotation."""

import pytest

from hearth_common.errors import TokenFileError
from hearth_common.tokens import ProjectedToken, token_path


def test_a_rotated_token_is_read_again(tmp_path):
    # The kubelet's layout: a symlink to a folder, swapped atomically.
    for name, text in (("one", "first"), ("two", "second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(text + "\n")
    link = tmp_path / "data"
    link.symlink_to("one")
    token = ProjectedToken(link / "token")
    assert token.read() == "first"
    fresh = tmp_path / "fresh"
    fresh.symlink_to("two")
    fresh.rename(link)
    assert token.read() == "second"
    assert token.header() == {"Authorization": "Bearer second"}


def test_an_unchanged_file_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text("abc")
    token = ProjectedToken(path)
    token.read()
    monkeypatch.setattr("pathlib.Path.read_text", lambda *a, **k: pytest.fail("read again"))
    assert token.read() == "abc"


@pytest.mark.parametrize("content", [None, "", "\n", "ümlaut"])
def test_a_missing_empty_or_broken_file_says_so(tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenFileError) as raised:
        ProjectedToken(path).read()
    assert raised.value.path == str(path)


def test_paths_are_by_audience():
    assert str(token_path("hearth-gateway")) == "/var/run/secrets/hearth/hearth-gateway/token"
