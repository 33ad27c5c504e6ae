"""Clusters that exist already: how images get there, what is copied, what is asked for."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from hearth_hack import foreign
from hearth_hack.foreign import Context, ContextError
from hearth_hack.images import Image
from hearth_hack.paths import default_paths
from hearth_hack.sample import SAMPLE_PARTS
from hearth_hack.up import parse_arguments

REPO = Path(__file__).parents[3]


def context(name: str) -> Context:
    return Context(name=name, paths=default_paths())


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("kind-lab", ["kind", "load", "image-archive", "--name", "lab"]),
        ("k3d-lab", ["k3d", "image", "import", "--cluster", "lab"]),
        ("minikube", ["minikube", "image", "load"]),
        ("house", None),
    ],
)
def test_the_clusters_own_tool_loads_images(name: str, loader: list[str] | None) -> None:
    tools = {"kind", "k3d", "minikube"}
    assert foreign.find_loader(context(name), which=lambda tool: tool if tool in tools else None) == loader
    assert foreign.find_loader(context(name), which=lambda _: None) is None


def test_a_context_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncontexts: [{name: lab, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: secret}}]\n"
    )
    paths = default_paths(REPO)
    with pytest.raises(ContextError, match=r"there is no context house; your kubeconfig has: lab"):
        foreign.open_context("house", paths=paths, environ={**os.environ, "KUBECONFIG": str(config)})


def test_a_context_is_copied_for_its_owner_only_and_switched_to(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: other\ncontexts: [{name: lab, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {token: secret}}]\n"
    )
    (tmp_path / "repo").mkdir()
    paths = default_paths(tmp_path / "repo")
    (tmp_path / "repo" / ".venv").symlink_to(REPO / ".venv")
    found = foreign.open_context("lab", paths=paths, environ={**os.environ, "KUBECONFIG": str(config)})
    assert "current-context: lab" in found.kubeconfig.read_text()
    assert found.kubeconfig.stat().st_mode & 0o77 == 0
    assert found.folder.stat().st_mode & 0o77 == 0


def test_the_helper_pod_passes_pod_security_restricted_and_has_no_token() -> None:
    pod = foreign.helper_pod("registry/hearth-control:1")
    assert pod["spec"]["automountServiceAccountToken"] is False
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert json.dumps(pod)


def test_the_sample_is_packed_for_hearths_user(tmp_path: Path) -> None:
    for part in SAMPLE_PARTS:
        (tmp_path / part).mkdir()
        (tmp_path / part / "file").write_text(part)
    with tarfile.open(fileobj=io.BytesIO(foreign.sample_archive(tmp_path))) as archive:
        entries = {entry.name: entry for entry in archive}
    assert {f"sample/{part}/file" for part in SAMPLE_PARTS} <= set(entries)
    assert {(entry.uid, entry.uname) for entry in entries.values()} == {(10001, "")}


def test_values_name_the_registry_and_each_tag() -> None:
    values = foreign.context_values([Image("control", "t1"), Image("serve", "t2")], registry="r.lan/h")
    assert values == {"image": {"registry": "r.lan/h", "tags": {"control": "t1", "serve": "t2"}}}


@pytest.mark.parametrize("flags", [["--registry", "r"], ["--images-loaded"], ["--values", "v.yaml"]])
def test_flags_of_a_context_need_one(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(flags)
    assert "goes with --context" in capsys.readouterr().err
    assert parse_arguments(["--context", "lab", *flags]).context == "lab"
