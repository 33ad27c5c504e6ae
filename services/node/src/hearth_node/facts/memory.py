"""How hard the machine looks for memory: the kernel's pressure stall information."""

from pathlib import Path

_PRESSURE = Path("/proc/pressure/memory")


def read_pressure(path: Path = _PRESSURE) -> float | None:
    """Return percent of the last 10 s in which some process waited for memory; None: this kernel does not tell."""
    try:
        return parse_pressure(path.read_text())
    except (OSError, UnicodeDecodeError):
        return None


def parse_pressure(text: str) -> float | None:
    """Return `avg10` of the line `some`, as Documentation/accounting/psi.rst of Linux writes it."""
    for line in text.splitlines():
        kind, *figures = line.split() or [""]
        if kind != "some":
            continue
        for figure in figures:
            name, _, value = figure.partition("=")
            if name == "avg10":
                return _percent(value)
    return None


def _percent(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number <= 100 else None
