"""Finds and removes the mounts below given folders."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path


def parse_mountinfo(text: str) -> list[str]:
    """Mount points in the order they were made; the kernel writes blanks and backslashes as octal."""
    points = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 4:
            points.append(fields[4].encode().decode("unicode_escape"))
    return points


def mounts_below(folders: Iterable[Path], *, mountinfo: str) -> list[str]:
    """The youngest first, so that unmounting in this order never meets a busy parent."""
    prefixes = [str(folder) for folder in folders]
    points = parse_mountinfo(mountinfo)
    return [
        point
        for point in reversed(points)
        if any(point == prefix or point.startswith(f"{prefix}/") for prefix in prefixes)
    ]


def unmount_below(folders: Iterable[Path]) -> int:
    """Unmounts all of them, lazily where a file is still open. Returns how many there were."""
    points = mounts_below(folders, mountinfo=Path("/proc/self/mountinfo").read_text())
    for point in points:
        plain = subprocess.run(["umount", point], capture_output=True, check=False)
        if plain.returncode != 0:
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    return len(points)
