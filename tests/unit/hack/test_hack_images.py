import hashlib
import io
import json
import tarfile
import tomllib

import pytest

from hearth_hack.baseimage import PackageSourceError, parse_targets
from hearth_hack.binaries import Binaries
from hearth_hack.containerd import nameless_images, pause_reference, write_pause_archive
from hearth_hack.golang import parse_version
from hearth_hack.images import Image, copied_sources, old_images, read_image, stage_context
from hearth_hack.packageindex import pip_settings, uv_settings
from hearth_hack.tools import TOOLS, select, tool_key

DOCKERFILE = """ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS build
COPY pyproject.toml uv.lock ./
COPY crds/src \\
     crds/src
FROM ${BASE}
COPY --from=build /opt/venv /opt/venv
"""


@pytest.fixture
def repo(tmp_path):
    (tmp_path / "images" / "control").mkdir(parents=True)
    (tmp_path / "images" / "control" / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "crds" / "src" / "__pycache__").mkdir(parents=True)
    (tmp_path / "crds" / "src" / "a.py").write_text("A = 1\n")
    (tmp_path / "crds" / "src" / "__pycache__" / "a.pyc").write_bytes(b"x")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "uv.lock").write_text("version = 1\n")
    (tmp_path / "README.md").write_text("hello\n")
    return tmp_path


def test_the_copied_sources_are_those_of_the_build_context():
    assert copied_sources(DOCKERFILE) == ["pyproject.toml", "uv.lock", "crds/src"]


def test_a_tag_changes_with_its_inputs_and_with_nothing_else(repo):
    before = read_image("control", base="base:1", repo=repo)
    (repo / "README.md").write_text("changed\n")
    (repo / "crds" / "src" / "__pycache__" / "a.pyc").write_bytes(b"y")
    assert read_image("control", base="base:1", repo=repo) == before
    (repo / "crds" / "src" / "a.py").write_text("A = 2\n")
    assert read_image("control", base="base:1", repo=repo) != before
    assert read_image("control", base="base:2", repo=repo).tag != before.tag


def test_a_build_sees_exactly_its_inputs(repo, tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    stage_context("control", repo=repo, folder=folder)
    staged = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert staged == ["Dockerfile", "crds/src/a.py", "pyproject.toml", "uv.lock"]


def test_the_current_image_and_the_one_before_it_are_kept():
    def stored(created, *names):
        return {"id": f"id{created}", "created": created, "names": list(names) or None}

    listing = [
        stored(1, "hearth.local/base:bookworm-2"),
        *(stored(10 + number, f"hearth.local/hearth-control:t{number}") for number in range(4)),
        stored(30, "hearth.local/hearth-serve:other"),
        stored(40),
        stored(50, "hearth.local/packages-control:latest"),
    ]
    # t0 was built first and is in use again, after a change was taken back.
    old = old_images(listing, images=[Image("control", "t0")])
    assert old == ["id40", "hearth.local/hearth-control:t2", "hearth.local/hearth-control:t1"]


def test_a_digest_without_a_name_is_an_image_nobody_needs():
    listing = """REF TYPE DIGEST SIZE PLATFORMS LABELS
hearth.local/hearth-control:t1 application/x sha256:m1 10 MiB linux/amd64 -
sha256:c1 application/x sha256:m1 10 MiB linux/amd64 -
sha256:c0 application/x sha256:m0 10 MiB linux/amd64 -
"""
    assert nameless_images(listing) == ["sha256:c0"]


def test_the_users_uv_settings_are_kept_and_the_systems_certificates_used():
    text = '[[index]]\nname = "house"\nurl = "https://pypi.example/simple"\n'
    settings = tomllib.loads(uv_settings(text, environ={"UV_DEFAULT_INDEX": 'https://a.example/"x"'}))
    assert settings["native-tls"] is True
    assert settings["index-url"] == 'https://a.example/"x"'
    assert settings["index"] == [{"name": "house", "url": "https://pypi.example/simple"}]


def test_uv_settings_that_say_something_themselves_win():
    settings = tomllib.loads(
        uv_settings("native-tls = false\nindex-url = 'https://b'\n", environ={"UV_INDEX_URL": "c"})
    )
    assert settings == {"native-tls": False, "index-url": "https://b"}


def test_pip_is_pointed_at_the_users_index():
    assert "index-url = https://a.example/simple" in pip_settings({"PIP_INDEX_URL": "https://a.example/simple"})


def test_the_release_itself_is_chosen_not_its_updates():
    text = "http://d/debian bookworm-updates\nhttp://d/debian bookworm\nhttp://s/security bookworm-security\n"
    assert parse_targets(text, codename="bookworm").mirror == "http://d/debian"
    with pytest.raises(PackageSourceError, match="noble"):
        parse_targets(text, codename="noble")


def test_the_pause_archive_is_one_layer_with_one_program(tmp_path):
    (tmp_path / "pause").write_bytes(b"program")
    binaries = Binaries(directory=tmp_path)
    archive = tmp_path / "pause.tar"
    write_pause_archive(archive, binaries=binaries)
    with tarfile.open(archive) as tar:
        content = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar.getmembers()}
    (manifest,) = json.loads(content["manifest.json"])
    config = json.loads(content[manifest["Config"]])
    assert manifest["RepoTags"] == [pause_reference(binaries)]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(content['layer.tar']).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(content["layer.tar"])) as layer:
        assert [(member.name, member.mode) for member in layer.getmembers()] == [("pause", 0o755)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("go version go1.26.8 linux/amd64", (1, 26, 8)), ("go version go1.27 linux/arm64", (1, 27, 0)), ("nothing", None)],
)
def test_go_versions(text, expected):
    assert parse_version(text) == expected


def test_a_tools_key_follows_its_module_files(tmp_path):
    (tool,) = select(["etcd"])
    (tmp_path / "etcd").mkdir()
    (tmp_path / "etcd" / "go.mod").write_text("module etcd\n")
    before = tool_key(tool, modules=tmp_path)
    assert tool_key(tool, modules=tmp_path) == before
    (tmp_path / "etcd" / "go.sum").write_text("sum\n")
    assert tool_key(tool, modules=tmp_path) != before


def test_no_name_selects_every_tool():
    assert select([]) == TOOLS
    with pytest.raises(KeyError):
        select(["docker"])
