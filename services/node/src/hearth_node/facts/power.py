"""Mains or battery, and what the processor packages draw (RAPL on Linux; macOS tells root only)."""

from pathlib import Path

import psutil

_RAPL = Path("/sys/class/powercap")


def on_battery() -> bool | None:
    """Whether the machine runs on its battery; None: it has none, or does not tell."""
    try:
        battery = psutil.sensors_battery()
    except (OSError, AttributeError, ValueError, RuntimeError, NotImplementedError):  # as the driver's files are
        return None
    if battery is None or battery.power_plugged is None:
        return None
    return not battery.power_plugged


class PackagePower:
    """Watts between two readings of the packages' energy counters, which only some kernels let everybody read."""

    def __init__(self, folder: Path = _RAPL) -> None:
        self._folder = folder
        self._last: tuple[float, int] | None = None

    def read(self, *, now: float) -> float | None:
        """Return the mean since the last call; None at first, and where nothing is told. `now`: seconds."""
        energy, last = self._energy(), self._last
        self._last = None if energy is None else (now, energy)
        if energy is None or last is None or now <= last[0] or energy < last[1]:  # the counter begins anew
            return None
        return (energy - last[1]) / 1e6 / (now - last[0])

    def _energy(self) -> int | None:
        """Microjoules of all packages: `intel-rapl:0`, not its parts `intel-rapl:0:1`; AMD has the same names."""
        try:
            packages = [path for path in self._folder.glob("intel-rapl:*") if path.name.count(":") == 1]
            return sum(int((path / "energy_uj").read_text()) for path in packages) if packages else None
        except (OSError, ValueError):
            return None
