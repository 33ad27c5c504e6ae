"""Builds the cluster's programs once per content of hack/cluster/ and keeps them in the cache that clones share.

python -m hearth_hack.binaries [MODULE...]      builds what is missing, prints the folder that holds all of them
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hearth_hack.golang import find_go, go_environment
from hearth_hack.paths import Paths, default_paths
from hearth_hack.processes import CommandError, run_logged
from hearth_hack.tools import MODULES, TOOLS, Tool, select, tool_key


@dataclass(frozen=True, slots=True)
class Binaries:
    """The folder of the built programs."""

    directory: Path

    def path(self, name: str) -> Path:
        """Return where a program lies."""
        return self.directory / name


def binaries_directory(paths: Paths) -> Path:
    """One folder of links for this content of hack/cluster/, whichever tools are built so far."""
    keys = "".join(tool_key(tool, modules=paths.cluster_modules) for tool in TOOLS)
    return paths.binaries / f"all-{hashlib.sha256(keys.encode()).hexdigest()[:12]}"


def tool_directory(tool: Tool, *, paths: Paths) -> Path:
    """Return where a tool's programs lie once they are built."""
    return paths.binaries / f"{tool.module}-{tool_key(tool, modules=paths.cluster_modules)}"


def is_built(tool: Tool, *, paths: Paths) -> bool:
    """Return whether the tool's folder is complete."""
    return tool_directory(tool, paths=paths).is_dir()


@contextlib.contextmanager
def file_lock(file: Path) -> Iterator[None]:
    """Exclusive between processes, clones included; the kernel releases it when its holder dies."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_tool(tool: Tool, *, paths: Paths) -> None:
    """Compiles into a scratch folder and renames it: a folder under its final name is always complete."""
    final = tool_directory(tool, paths=paths)
    with file_lock(paths.binaries / f"{tool.module}.lock"):
        if final.is_dir():
            return
        scratch = final.with_name(f"{final.name}.part")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        log = paths.binaries / f"{tool.module}.log"
        log.unlink(missing_ok=True)
        go = find_go(paths.cache)
        environ = go_environment(paths.cache, module=tool.module)
        for name, package in tool.programs:
            command = ["nice", str(go), "build", *tool.flags, "-o", str(scratch / name), package]
            run_logged(command, log=log, environ=environ, cwd=paths.cluster_modules / tool.module)
        for alias in tool.aliases:
            (scratch / alias).symlink_to(tool.programs[0][0])
        scratch.rename(final)
        # Gigabytes that only another version would read again; the module cache is shared and goes at the end.
        shutil.rmtree(environ["GOCACHE"], ignore_errors=True)


def download_modules(tool: Tool, *, paths: Paths) -> None:
    """Fills the module cache, so that the network is busy while something else uses the processor."""
    if is_built(tool, paths=paths):
        return
    log = paths.binaries / f"{tool.module}-download.log"
    command = [str(find_go(paths.cache)), "mod", "download"]
    environ = go_environment(paths.cache, module=tool.module)
    run_logged(command, log=log, environ=environ, cwd=paths.cluster_modules / tool.module)


def link_tools(paths: Paths) -> Binaries:
    """Links every built program into one folder."""
    directory = binaries_directory(paths)
    directory.mkdir(parents=True, exist_ok=True)
    for tool in TOOLS:
        if not is_built(tool, paths=paths):
            continue
        home = tool_directory(tool, paths=paths)
        for name in tool.names:
            replace_link(directory / name, target=home / name)
    return Binaries(directory=directory)


def replace_link(link: Path, *, target: Path) -> None:
    """Atomic: another process never sees the name missing."""
    if link.is_symlink() and link.readlink() == target:
        return
    scratch = link.with_name(f".{link.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.replace(link)


def ensure_binaries(modules: Sequence[str] = MODULES, *, paths: Paths | None = None) -> Binaries:
    """Builds what is missing of `modules`. Raises CommandError, or KeyError for an unknown name."""
    paths = paths or default_paths()
    for tool in select(modules):
        build_tool(tool, paths=paths)
    return link_tools(paths)


def drop_module_cache(paths: Paths) -> None:
    """Deletes the downloaded sources once every program is built."""
    if all(is_built(tool, paths=paths) for tool in TOOLS):
        shutil.rmtree(paths.cache / "go" / "mod", ignore_errors=True)


def main(argv: Sequence[str]) -> int:
    """Build what the arguments name."""
    unknown = [name for name in argv if name not in MODULES]
    if unknown:
        sys.stderr.write(f"unknown module {unknown[0]}: choose from {', '.join(MODULES)}\n")
        return 2
    try:
        binaries = ensure_binaries(argv or MODULES)
    except CommandError as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    sys.stdout.write(f"{binaries.directory}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
