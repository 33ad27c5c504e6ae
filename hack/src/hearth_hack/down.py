"""./hack/down: takes back every process, mount, interface and table of the cluster; --purge caches and data too."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hearth_hack.machine import read_machine, remove_cluster
from hearth_hack.mounts import unmount_below
from hearth_hack.paths import Paths, default_paths


def stop(paths: Paths) -> int:
    """Stops this checkout's cluster, or cleans up after a dead one of any checkout."""
    machine = read_machine(paths.record)
    if machine is None:
        print("No cluster is recorded on this machine.")
        return 0
    if machine.belongs_to_another(str(paths.repo)):
        print(
            f"hack/down: the running cluster belongs to {machine.checkout}: use {machine.checkout}/hack/down.",
            file=sys.stderr,
        )
        return 1
    began = time.monotonic()
    stuck = remove_cluster(machine, paths=paths)
    for sentence in stuck:
        print(f"hack/down: {sentence}", file=sys.stderr)
    took = time.monotonic() - began
    print(f"The cluster is gone ({took:.1f} s). Caches and data stay; ./hack/down --purge removes them.")
    return 1 if stuck else 0


def purge(paths: Paths, *, confirmed: bool) -> int:
    """Deletes what a first run would have to make again, and the data."""
    folders = [folder for folder in (paths.local, paths.cache) if folder.exists()]
    if not folders:
        return 0
    print("This deletes, with all data in it:")
    for folder in folders:
        print(f"  {folder}")
    if not confirmed and input("Type yes to go on: ").strip() != "yes":
        print("Nothing was deleted.")
        return 1
    for folder in folders:
        unmount_below([folder])
        remove_tree(folder)
    return 0


def remove_tree(folder: Path) -> None:
    """Image stores hold folders without write permission; root deletes them all the same."""
    shutil.rmtree(folder)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="hack/down", description="Stop the cluster that ./hack/up started.")
    parser.add_argument("--purge", action="store_true", help="also delete caches and data, after asking")
    parser.add_argument("--context", metavar="NAME", help="uninstall Hearth from that cluster; its data stays")
    parser.add_argument("--yes", action="store_true", help="with --purge: do not ask")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """The command line."""
    arguments = parse_arguments(argv)
    paths = default_paths()
    if arguments.context:
        from hearth_hack.upcontext import down  # noqa: PLC0415 (needs the environment, which a plain down does not)

        return down(arguments.context, paths=paths, environ=os.environ)
    status = stop(paths)
    if arguments.purge and status == 0:
        status = purge(paths, confirmed=arguments.yes)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
