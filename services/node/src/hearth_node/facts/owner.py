"""Whether the machine's owner sits at it: logind and terminals on Linux, the HID system on macOS.

A graphical session tells only through logind when it became idle (GNOME, KDE and swayidle set the hint); until then its
owner counts as active. On WSL2 the owner sits in Windows, which cannot be seen from here: nothing is told then.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from hearth_node.detect import is_wsl

_SECONDS = 2.0
_IOREG = ("/usr/sbin/ioreg", "-r", "-d", "1", "-c", "IOHIDSystem")
_PROPERTIES = ("Id", "Class", "State", "Type", "IdleHint", "IdleSinceHint")


@dataclass(frozen=True, slots=True)
class Owner:
    """None: cannot be told here."""

    sessions: int | None
    idle_seconds: float | None


def read_owner(*, uptime: float) -> Owner:
    """Return who is logged in and for how long nobody did anything. `uptime`: seconds since boot."""
    if sys.platform == "darwin":
        return Owner(sessions=len(psutil.users()), idle_seconds=parse_ioreg(_told(_IOREG)))
    if is_wsl():
        return Owner(sessions=None, idle_seconds=None)
    now = time.time()
    idle = [*session_idle(parse_sessions(_logind()), now=now), *terminal_idle(_terminals(), now=now)]
    known = idle or Path("/run/systemd/seats").exists() or Path("/run/utmp").exists()
    if not known:
        return Owner(sessions=None, idle_seconds=None)
    return Owner(sessions=len(idle), idle_seconds=min(idle, default=uptime))


def parse_ioreg(text: str) -> float | None:
    """Return seconds since the last input; ioreg tells nanoseconds."""
    found = re.search(r'"HIDIdleTime"\s*=\s*(\d{1,20})\b', text)
    return int(found[1]) / 1e9 if found else None


def parse_sessions(text: str) -> list[dict[str, str]]:
    """Return what `loginctl show-session` told: blocks of NAME=value with an empty line between."""
    blocks = (block.splitlines() for block in re.split(r"\n\s*\n", text))
    read = [dict(line.split("=", 1) for line in block if "=" in line) for block in blocks]
    return [block for block in read if block]


def session_idle(sessions: Iterable[Mapping[str, str]], *, now: float) -> list[float]:
    """Return idle seconds of each graphical session of a person; terminals are asked themselves."""
    idle = []
    for session in sessions:
        if session.get("Class") != "user" or session.get("State") == "closing":
            continue
        if session.get("Type") not in {"x11", "wayland", "mir"}:
            continue
        since = session.get("IdleSinceHint", "")
        seconds = now - int(since) / 1e6 if since.isascii() and since.isdigit() and int(since) else 0.0
        idle.append(max(0.0, seconds) if session.get("IdleHint") == "yes" else 0.0)
    return idle


def terminal_idle(read_at: Iterable[float], *, now: float) -> list[float]:
    """Return idle seconds of each terminal, from when it was last read (seconds since 1970)."""
    return [max(0.0, now - moment) for moment in read_at]


def _terminals() -> list[float]:
    moments = []
    for user in psutil.users():
        if user.terminal and not user.terminal.startswith(":"):
            try:
                moments.append(Path("/dev", user.terminal).stat().st_atime)
            except OSError:
                continue
    return moments


def _logind() -> str:
    listed = _told(("loginctl", "list-sessions", "--no-legend", "--no-pager"))
    names = [words[0] for line in listed.splitlines() if (words := line.split())]
    names = [name for name in names if name.isalnum()]
    if not names:
        return ""
    return _told(("loginctl", "show-session", *(f"--property={name}" for name in _PROPERTIES), *names))


def _told(command: Sequence[str]) -> str:
    """Return what a program prints; nothing where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
