"""What the machine tells of itself at `GET /hearth/machine`: read where it is cheap, None where it cannot be told."""

import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime

import psutil

from hearth_api.wire.machine import GpuFacts, MachineFacts
from hearth_node.facts.gpus import read_gpus
from hearth_node.facts.memory import read_pressure
from hearth_node.facts.owner import read_owner
from hearth_node.facts.power import PackagePower, on_battery


class MachineReader:
    """Reads again and again: power is a difference between two readings. Call from one thread at a time."""

    def __init__(
        self, *, ours: Callable[[int], bool], cards: Callable[[Callable[[int], bool]], tuple[GpuFacts, ...]] = read_gpus
    ) -> None:
        self._ours = ours
        self._cards = cards
        self._power = PackagePower()

    def read(self) -> MachineFacts:
        """Return the facts of this moment; takes some 10 ms."""
        memory, boot = psutil.virtual_memory(), psutil.boot_time()
        owner = read_owner(uptime=max(0.0, time.time() - boot))
        return MachineFacts(
            system=platform.system(),
            time=datetime.now(UTC),
            boot_time=datetime.fromtimestamp(boot, UTC),
            cpus=os.cpu_count() or 1,
            load=os.getloadavg()[0],
            memory_total=memory.total,
            memory_available=memory.available,
            memory_pressure=read_pressure(),
            sessions=owner.sessions,
            owner_idle_seconds=owner.idle_seconds,
            on_battery=on_battery(),
            power_watts=self._power.read(now=time.monotonic()),
            gpus=self._cards(self._ours),
        )
