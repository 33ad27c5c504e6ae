"""Keeps HEARTH_DATA readable for ingestion: mailboxes are mode 0600 by custom, and pods are not root."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

FILE_BITS = stat.S_IRGRP
FOLDER_BITS = stat.S_IRGRP | stat.S_IXGRP | stat.S_ISGID
SHARE_OF_TIME = 50  # a pass over a large folder may take one part in so many of a processor


def entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Files and folders below, links left out: their targets are not ours."""
    with os.scandir(folder) as found:
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield entry.path, status
                yield from entries(Path(entry.path))
            elif stat.S_ISREG(status.st_mode):
                yield entry.path, status


def share(folder: Path, *, group: int) -> int:
    """Gives the group what it lacks, and nobody else anything. Returns how many entries were changed."""
    changed = 0
    for path, status in entries(folder):
        bits = FOLDER_BITS if stat.S_ISDIR(status.st_mode) else FILE_BITS
        if status.st_gid == group and status.st_mode & bits == bits:
            continue
        if status.st_gid != group:
            os.chown(path, -1, group, follow_symlinks=False)
        Path(path).chmod(stat.S_IMODE(status.st_mode) | bits)
        changed += 1
    return changed


def keep_shared(folder: Path, *, group: int) -> None:
    """Passes for ever, about once a second: a pod starts a second or two after its source is applied."""
    while True:
        began = time.monotonic()
        try:
            if changed := share(folder, group=group):
                print(f"made {changed} entries of {folder} readable for group {group}", flush=True)
        except OSError as error:
            # A file that moved away between listing and changing: the next pass sees what is there then.
            print(f"looking again at {folder}: {error}", flush=True)
        time.sleep(max(1.0, SHARE_OF_TIME * (time.monotonic() - began)))
