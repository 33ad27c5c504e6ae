"""The cluster's own branch of the control groups, version 1 or 2: daemons and pods live in it, and nothing else.

So whatever a dead cluster left running is found by where it is, not by what it is called.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
NAME = "hearth"
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")


def is_unified(root: Path = ROOT) -> bool:
    """Version 2."""
    return (root / "cgroup.controllers").exists()


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The folders a group of ours is made under: one in version 2, one per controller in version 1."""
    if is_unified(root):
        return [root]
    # Aliases such as cpu -> cpu,cpuacct are links to a mount that is listed by itself.
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink() and has_tasks(entry))


def has_tasks(folder: Path) -> bool:
    """Return whether the folder is a control group."""
    return (folder / "cgroup.procs").exists()


def missing_controllers(root: Path = ROOT) -> list[str]:
    """Of the three that the kubelet refuses to start without."""
    needed = ("cpu", "memory", "pids")
    if is_unified(root):
        present = (root / "cgroup.controllers").read_text().split()
    else:
        present = [part for folder in hierarchies(root) for part in folder.name.split(",")]
    return [name for name in needed if name not in present]


def ensure_groups(root: Path = ROOT) -> None:
    """Makes hearth/ and hearth/daemons in every hierarchy."""
    if is_unified(root):
        enable_controllers(root)
    for hierarchy in hierarchies(root):
        group = hierarchy / NAME
        group.mkdir(exist_ok=True)
        if is_unified(root):
            enable_controllers(group)
        else:
            inherit_cpuset(group)
        (group / "daemons").mkdir(exist_ok=True)
        if not is_unified(root):
            inherit_cpuset(group / "daemons")


def enable_controllers(group: Path) -> None:
    """Hand the controllers that the kernel has to the group's children."""
    available = (group / "cgroup.controllers").read_text().split()
    for controller in CONTROLLERS:
        if controller in available:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def inherit_cpuset(group: Path) -> None:
    """A new version 1 cpuset is empty, and an empty one takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = group / name
        if file.exists() and not file.read_text().strip():
            file.write_text((group.parent / name).read_text())


def enter_daemons(pid: int, *, root: Path = ROOT) -> None:
    """Moves a process, and so whatever it starts later, into hearth/daemons."""
    for hierarchy in hierarchies(root):
        (hierarchy / NAME / "daemons" / "cgroup.procs").write_text(str(pid))


def groups(root: Path = ROOT) -> Iterator[Path]:
    """All our groups, the deepest first."""
    for hierarchy in hierarchies(root):
        top = hierarchy / NAME
        if top.is_dir():
            yield from (Path(folder) for folder, _, _ in os.walk(top, topdown=False))


def members(root: Path = ROOT) -> set[int]:
    """Process ids in any of our groups."""
    found: set[int] = set()
    for group in groups(root):
        try:
            found.update(int(line) for line in (group / "cgroup.procs").read_text().split())
        except (FileNotFoundError, OSError):
            continue  # the group vanished between listing and reading
    return found


def end_members(*, spare: Collection[int] = (), grace: float = 5.0, root: Path = ROOT) -> int:
    """Asks everything in our groups but `spare` to end, then kills what is left. Returns how many there were at first.

    Databases in pods close their files; what ignores the request costs `grace` seconds once.
    """
    first = members(root) - set(spare)
    for sign, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + seconds
        asked: set[int] = set()
        while (remaining := members(root) - set(spare)) and time.monotonic() < deadline:
            for pid in remaining - asked if sign == signal.SIGTERM else remaining:
                send_signal(pid, sign=sign)
            asked |= remaining
            time.sleep(0.1)
    return len(first)


def send_signal(pid: int, *, sign: signal.Signals) -> None:
    """Signal a process that may be gone by now."""
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return


def remove_groups(root: Path = ROOT) -> list[Path]:
    """Removes the empty groups. Returns those that would not go."""
    stuck = []
    for group in groups(root):
        try:
            group.rmdir()
        except OSError:
            stuck.append(group)
    return stuck
