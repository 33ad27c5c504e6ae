"""`./hack/images push` and `save`: a real registry takes what was pushed, and an archive holds the image's name."""

import json
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hearth_hack.baseimage import build_environment, buildah
from hearth_hack.images import Image, push_image, write_archive
from hearth_hack.paths import default_paths
from hearth_hack.processes import CommandError


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """An image of one file in the store that ./hack/images builds into."""
    paths = default_paths()
    folder = tmp_path_factory.mktemp("image")
    (folder / "file").write_text("hello")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /file\n")
    found = Image(name="control", tag=f"test-{uuid.uuid4().hex[:8]}")
    command = [*buildah(paths), "build", "--isolation=chroot", "--format=docker", "--tag", found.reference, str(folder)]
    subprocess.run(command, check=True, capture_output=True, env=build_environment(paths))
    yield found
    subprocess.run([*buildah(paths), "rmi", found.reference], check=True, capture_output=True)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("docker-registry")
    assert program, "docker-registry is missing: apt-get install docker-registry, or ./hack/test, which installs it"
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


def test_a_pushed_image_is_there_under_the_name_that_the_chart_asks_for(image: Image, registry: str) -> None:
    name = push_image(image, registry=f"{registry}/lab/hearth", plain_http=True, paths=default_paths())
    assert name == f"{registry}/lab/hearth/hearth-control:{image.tag}"
    with urllib.request.urlopen(f"http://{registry}/v2/lab/hearth/hearth-control/tags/list", timeout=10) as answer:
        assert json.load(answer)["tags"] == [image.tag]


def test_a_registry_without_tls_is_not_pushed_to_unless_told(image: Image, registry: str) -> None:
    with pytest.raises(CommandError):
        push_image(image, registry=f"{registry}/lab/hearth", plain_http=False, paths=default_paths())


def test_an_archive_carries_the_name(image: Image, tmp_path: Path) -> None:
    file = tmp_path / "control.tar"
    write_archive(image, file=file, paths=default_paths())
    with tarfile.open(file) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert manifest[0]["RepoTags"] == [image.reference]
