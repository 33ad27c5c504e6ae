"""Builds the images of images/ without a container engine and hands them to containerd.

An image's tag is the hash of what goes into it, so that an unchanged image is neither built nor imported again.

    ./hack/images build [NAME...]     builds what changed, imports it where the cluster runs, prints names and sizes
    ./hack/images save FOLDER [NAME...]   writes docker archives
    ./hack/images push --registry HOST/PATH [NAME...]   pushes them
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_hack.baseimage import build_environment, buildah, ensure_base, has_image
from hearth_hack.binaries import Binaries, file_lock, link_tools
from hearth_hack.containerd import drop_images, import_archive, stored_images
from hearth_hack.packageindex import build_mounts
from hearth_hack.paths import Paths, default_paths
from hearth_hack.processes import run_logged

DEFAULT_IMAGES = ("control", "milvus-lite", "serve")
ON_DEMAND = ("serve-torch",)
REGISTRY = "hearth.local"
PACKAGES_STAGE = "packages"  # of every Dockerfile in images/
SKIPPED = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


@dataclass(frozen=True, slots=True)
class Image:
    """One image of images/<name>: `tag` is twelve hex digits over its inputs and its base."""

    name: str
    tag: str

    @property
    def reference(self) -> str:
        """Return the name by which containerd and the chart know it."""
        return f"{REGISTRY}/hearth-{self.name}:{self.tag}"


def copied_sources(dockerfile: str) -> list[str]:
    """What the COPY lines take from the build context, in order; copies between stages are not part of it."""
    sources: list[str] = []
    for line in dockerfile.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["COPY"] and not any(word.startswith("--from") for word in words):
            sources.extend(word for word in words[1:-1] if not word.startswith("--"))
    return list(dict.fromkeys(sources))


def input_files(sources: Sequence[str], *, repo: Path) -> Iterator[Path]:
    """The files below the sources, without what Python leaves behind."""
    for source in sources:
        path = repo / source
        if path.is_file():
            yield path
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(each for each in folders if each not in SKIPPED and not each.endswith(".egg-info"))
            yield from (Path(folder) / file for file in sorted(files) if not file.endswith(".pyc"))


def read_image(name: str, *, base: str, repo: Path) -> Image:
    """Hashes the inputs. Raises FileNotFoundError for an unknown name."""
    text = (repo / "images" / name / "Dockerfile").read_text()
    digest = hashlib.sha256(f"{base}\0{text}\0".encode())
    for file in input_files(copied_sources(text), repo=repo):
        digest.update(f"{file.relative_to(repo)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return Image(name=name, tag=digest.hexdigest()[:12])


def stage_context(name: str, *, repo: Path, folder: Path) -> Path:
    """Copies exactly the inputs: the build sees nothing else of the checkout. Returns the Dockerfile's copy."""
    text = (repo / "images" / name / "Dockerfile").read_text()
    for file in input_files(copied_sources(text), repo=repo):
        target = folder / file.relative_to(repo)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(text)
    return dockerfile


def build_image(name: str, *, base: str, paths: Paths) -> Image:
    """Builds it unless the store has it. Layers are kept, so a change of code builds the last steps only."""
    image = read_image(name, base=base, repo=paths.repo)
    with file_lock(paths.cache / f"image-{name}.lock"):
        if has_image(image.reference, paths=paths):
            return image
        environ = build_environment(paths)
        with tempfile.TemporaryDirectory(dir=environ["TMPDIR"]) as scratch:
            folder = Path(scratch)
            (folder / "context").mkdir()
            dockerfile = stage_context(name, repo=paths.repo, folder=folder / "context")
            common = ["--isolation=chroot", "--layers", "--format=docker", "--build-arg", f"BASE={base}"]
            common += ["--file", str(dockerfile)]
            for mount in build_mounts(folder / "settings"):
                common += ["--volume", mount]
            # The stage of third-party packages keeps a name, so that pruning leaves its cached layers alone.
            kept = ["--target", PACKAGES_STAGE, "--tag", f"{REGISTRY}/{PACKAGES_STAGE}-{name}:latest"]
            for wanted in (kept, ["--tag", image.reference]):
                command = [*buildah(paths), "build", *common, *wanted, str(folder / "context")]
                run_logged(command, log=paths.logs / f"image-{name}.log", environ=environ)
    return image


def image_size(image: Image, *, paths: Paths) -> int:
    """Bytes, unpacked."""
    answer = subprocess.run(
        [*buildah(paths), "images", "--json", image.reference], capture_output=True, text=True, check=True
    )
    size = json.loads(answer.stdout)[0]["size"]
    return int(parse_size(size) if isinstance(size, str) else size)


def parse_size(text: str) -> float:
    """`330 MB` -> 330000000.0."""
    number, unit = text.split()
    return float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()]


def write_archive(image: Image, *, file: Path, paths: Paths) -> None:
    """Write a docker archive of a built image."""
    file.unlink(missing_ok=True)
    target = f"docker-archive:{file}:{image.reference}"
    command = [*buildah(paths), "push", "--disable-compression", image.reference, target]
    run_logged(command, log=paths.logs / f"image-{image.name}.log", environ=build_environment(paths))


def push_image(image: Image, *, registry: str, plain_http: bool, paths: Paths) -> str:
    """Push a built image; credentials are those of `buildah login`. Returns its name there. Raises CommandError."""
    reference = f"{registry}/hearth-{image.name}:{image.tag}"
    command = [*buildah(paths), "push", f"--tls-verify={'false' if plain_http else 'true'}"]
    run_logged(
        [*command, image.reference, f"docker://{reference}"],
        log=paths.logs / f"image-{image.name}.log",
        environ=build_environment(paths),
    )
    return reference


def import_images(images: Sequence[Image], *, binaries: Binaries, paths: Paths) -> list[Image]:
    """Imports what containerd lacks. Returns it."""
    present = stored_images(binaries, paths=paths)
    missing = [image for image in images if image.reference not in present]
    for image in missing:
        archive = Path(build_environment(paths)["TMPDIR"]) / f"{image.name}.tar"
        write_archive(image, file=archive, paths=paths)
        import_archive(archive, binaries=binaries, paths=paths)
        archive.unlink()
    if missing:
        prune_images(images, binaries=binaries, paths=paths)
    return missing


def old_images(listing: Sequence[Mapping[str, Any]], *, images: Sequence[Image], keep: int = 2) -> list[str]:
    """What `buildah images --json` lists and nobody needs, by reference or id.

    Of each of the named images the newest `keep` stay, so that the release before can be rolled back to. Nameless
    ones are what build stages left; the stage with the third-party packages has a name.
    """
    newest = sorted(listing, key=lambda each: int(each["created"]), reverse=True)
    current = {image.reference for image in images}
    counts = Counter(image.name for image in images)
    old = [str(each["id"]) for each in newest if not each.get("names")]
    for reference in (str(name) for each in newest for name in each.get("names") or []):
        name = reference.removeprefix(f"{REGISTRY}/hearth-").partition(":")[0]
        if name not in counts or reference in current:
            continue
        counts[name] += 1
        if counts[name] > keep:
            old.append(reference)
    return old


def prune_images(images: Sequence[Image], *, binaries: Binaries, paths: Paths) -> None:
    """Removes old images from both stores: each build of changed code would add half a gigabyte for good."""
    answer = subprocess.run([*buildah(paths), "images", "--json"], capture_output=True, text=True, check=True)
    old = old_images(json.loads(answer.stdout), images=images)
    for reference in old:
        # An image that a running build uses refuses to go; it is asked again after the next build.
        subprocess.run([*buildah(paths), "rmi", reference], capture_output=True, check=False)
    named = [reference for reference in old if ":" in reference]
    drop_images(named, binaries=binaries, paths=paths)


def build_all(names: Sequence[str], *, paths: Paths) -> list[Image]:
    """Build the base and then the images, in this order."""
    base = ensure_base(paths=paths)
    return [build_image(name, base=base, paths=paths) for name in names]


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="hack/images", description="Build the images of images/.")
    commands = parser.add_subparsers(dest="command", required=True)
    choices = (*DEFAULT_IMAGES, *ON_DEMAND)
    build = commands.add_parser("build", help="build what changed and import it into a running cluster")
    build.add_argument("names", nargs="*", choices=[*choices, []], metavar="NAME", help=", ".join(choices))
    save = commands.add_parser("save", help="write docker archives")
    save.add_argument("folder", type=Path)
    save.add_argument("names", nargs="*", choices=[*choices, []], metavar="NAME", help=", ".join(choices))
    push = commands.add_parser("push", help="push to a registry")
    push.add_argument("--registry", required=True, metavar="HOST/PATH", help="as registry.house.lan/hearth")
    push.add_argument("--plain-http", action="store_true", help="the registry has no TLS")
    push.add_argument("names", nargs="*", choices=[*choices, []], metavar="NAME", help=", ".join(choices))
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    arguments = parse_arguments(argv)
    paths = default_paths()
    images = build_all(arguments.names or DEFAULT_IMAGES, paths=paths)
    if arguments.command == "save":
        arguments.folder.mkdir(parents=True, exist_ok=True)
        for image in images:
            write_archive(image, file=arguments.folder.absolute() / f"{image.name}.tar", paths=paths)
    elif arguments.command == "push":
        for image in images:
            print(push_image(image, registry=arguments.registry, plain_http=arguments.plain_http, paths=paths))
        return 0
    elif paths.containerd_socket.exists():
        import_images(images, binaries=link_tools(paths), paths=paths)
    for image in images:
        print(f"{image.reference}  {image_size(image, paths=paths) / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
