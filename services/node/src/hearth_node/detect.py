"""What a machine has: its accelerator, memory and cores, as far as joining needs it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from hearth_api.kinds.node import AcceleratorType

_SECONDS = 20
_MIB = 1 << 20
_METAL_SHARE = 0.75
"""Of unified memory, that Metal lets one process take by default."""
_CPU_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """`memory` is for models, in bytes; `main` is the machine's."""

    accelerator: AcceleratorType
    memory: int
    main: int
    cpus: int
    gpus: int
    driver: str | None = None


def detect() -> Hardware:
    """Return what this machine has."""
    main = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpus = os.cpu_count() or 1
    cards = graphics_cards()
    if sys.platform == "darwin":
        return Hardware(
            accelerator=AcceleratorType.METAL, memory=int(main * _METAL_SHARE), main=main, cpus=cpus, gpus=0
        )
    if cards:
        memory = sum(size for size, _ in cards)
        return Hardware(
            accelerator=AcceleratorType.CUDA, memory=memory, main=main, cpus=cpus, gpus=len(cards), driver=cards[0][1]
        )
    return Hardware(accelerator=AcceleratorType.CPU, memory=int(main * _CPU_SHARE), main=main, cpus=cpus, gpus=0)


def graphics_cards() -> list[tuple[int, str]]:
    """Return bytes and driver of each NVIDIA card; none where the driver does not answer."""
    program = shutil.which("nvidia-smi") or ("/usr/lib/wsl/lib/nvidia-smi" if is_wsl() else None)
    if program is None:
        return []
    command = [program, "--query-gpu=memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_cards(done.stdout) if done.returncode == 0 else []


def parse_cards(text: str) -> list[tuple[int, str]]:
    """Return the rows of nvidia-smi's answer, a card each; rows that are none are left out."""
    found = []
    for line in text.splitlines():
        size, _, driver = (part.strip() for part in line.partition(","))
        if size.isdigit():
            found.append((int(size) * _MIB, driver))
    return found


def is_wsl() -> bool:
    """Whether Linux runs inside Windows here."""
    return "microsoft" in os.uname().release.lower()
