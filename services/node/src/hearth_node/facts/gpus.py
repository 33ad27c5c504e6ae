"""NVIDIA cards through the driver's own library; none where there is no driver."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pynvml

from hearth_api.wire.machine import GpuFacts


def read_gpus(ours: Callable[[int], bool]) -> tuple[GpuFacts, ...]:
    """Return a line for each card. `ours` tells whether a process id is one of Hearth's."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        count = pynvml.nvmlDeviceGetCount()
        return tuple(_read(pynvml, pynvml.nvmlDeviceGetHandleByIndex(n), ours=ours) for n in range(count))
    except pynvml.NVMLError:  # a card that fell off its bus, a driver that is being replaced
        return ()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read(nvml: Any, card: Any, *, ours: Callable[[int], bool]) -> GpuFacts:
    memory = nvml.nvmlDeviceGetMemoryInfo(card)
    name = nvml.nvmlDeviceGetName(card)
    power = _maybe(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(card))
    return GpuFacts(
        name=name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        memory_total=memory.total,
        memory_used=memory.used,
        memory_others=_others(nvml, card, ours=ours),
        utilization=_maybe(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(card).gpu),
        power_watts=power / 1000 if power is not None else None,
        temperature_celsius=_maybe(nvml, lambda: nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)),
    )


def _others(nvml: Any, card: Any, *, ours: Callable[[int], bool]) -> int | None:
    """Bytes of processes that are not ours, those that draw and those that compute; a process may be in both lists."""
    held: dict[int, int] = {}
    try:
        for process in _processes(nvml, card):
            if process.usedGpuMemory is None:
                return None
            held[process.pid] = max(held.get(process.pid, 0), process.usedGpuMemory)
    except nvml.NVMLError:
        return None
    return sum(size for pid, size in held.items() if not ours(pid))


def _processes(nvml: Any, card: Any) -> Iterator[Any]:
    yield from nvml.nvmlDeviceGetComputeRunningProcesses(card)
    yield from nvml.nvmlDeviceGetGraphicsRunningProcesses(card)


def _maybe(nvml: Any, ask: Callable[[], Any]) -> Any:
    """Return what one call tells; None where this card does not support it."""
    try:
        return ask()
    except nvml.NVMLError:
        return None
