"""The machine's own service manager and users, by their commands."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from hearth_node.config import NodeConfig, Paths, ServiceKind
from hearth_node.errors import NodeError
from hearth_node.units import LAUNCHD_LABEL, LAUNCHD_PLIST, SYSTEMD_UNIT, launchd_plist, systemd_unit

_SECONDS = 90
_STOP_SECONDS = 75.0
_MAC_ID = 391
"""First user id that is tried for the daemon: below 400, where macOS hides users."""


def service_kind(*, platform: str = sys.platform, root: bool) -> ServiceKind:
    """Return what starts daemons here; NONE without systemd (a container, WSL2 without it) or without root."""
    if not root:
        return ServiceKind.NONE
    if platform == "darwin":
        return ServiceKind.LAUNCHD
    return ServiceKind.SYSTEMD if Path("/run/systemd/system").exists() else ServiceKind.NONE


def user_commands(user: str, *, home: Path, platform: str) -> list[list[str]]:
    """Return the commands that make the user of the daemon."""
    if platform != "darwin":
        shell = "/usr/sbin/nologin"
        return [
            ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(home), "--shell", shell, user]
        ]
    record, group, number = f"/Users/{user}", f"/Groups/{user}", str(_MAC_ID)
    create = ["dscl", ".", "-create"]
    return [
        [*create, group],
        [*create, group, "PrimaryGroupID", number],
        [*create, record],
        [*create, record, "UniqueID", number],
        [*create, record, "PrimaryGroupID", number],
        [*create, record, "UserShell", "/usr/bin/false"],
        [*create, record, "NFSHomeDirectory", str(home)],
        [*create, record, "IsHidden", "1"],
    ]


def remove_user_commands(user: str, *, platform: str) -> list[list[str]]:
    """Return the commands that remove it again."""
    if platform != "darwin":
        return [["userdel", user]]
    return [["dscl", ".", "-delete", f"/Users/{user}"], ["dscl", ".", "-delete", f"/Groups/{user}"]]


def start_commands(kind: ServiceKind) -> list[list[str]]:
    """Return the commands that start the service now and with the machine."""
    if kind is ServiceKind.SYSTEMD:
        return [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", SYSTEMD_UNIT.name]]
    if kind is ServiceKind.LAUNCHD:
        return [["launchctl", "bootstrap", "system", str(LAUNCHD_PLIST)]]
    return []


def restart_commands(kind: ServiceKind) -> list[list[str]]:
    """Return the commands that start the service anew."""
    if kind is ServiceKind.SYSTEMD:
        return [["systemctl", "daemon-reload"], ["systemctl", "restart", SYSTEMD_UNIT.name]]
    if kind is ServiceKind.LAUNCHD:
        return [["launchctl", "kickstart", "-k", f"system/{LAUNCHD_LABEL}"]]
    return []


def stop_commands(kind: ServiceKind) -> list[list[str]]:
    """Return the commands that stop the service for good."""
    if kind is ServiceKind.SYSTEMD:
        return [["systemctl", "disable", "--now", SYSTEMD_UNIT.name]]
    if kind is ServiceKind.LAUNCHD:
        return [["launchctl", "bootout", f"system/{LAUNCHD_LABEL}"]]
    return []


def unit_file(config: NodeConfig, paths: Paths) -> tuple[Path, bytes] | None:
    """Return where the service is described, and the description."""
    if config.service is ServiceKind.SYSTEMD:
        return SYSTEMD_UNIT, systemd_unit(config, paths).encode()
    if config.service is ServiceKind.LAUNCHD:
        return LAUNCHD_PLIST, launchd_plist(config, paths)
    return None


def execute(command: list[str], *, allowed: frozenset[int] = frozenset({0})) -> None:
    """Run a command. Raises NodeError with its last line."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"{' '.join(command)} could not run: {error}") from error
    if done.returncode not in allowed:
        said = ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1]
        raise NodeError(f"{' '.join(command)} failed: {said[:300]}")


def owner_of(config: NodeConfig) -> tuple[int, int] | None:
    """Return the ids of the daemon's user; None: whoever runs this."""
    if config.user is None or os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(config.user)
    except KeyError as error:
        raise NodeError(f"the user {config.user} does not exist any more: run hack/node/join again") from error
    return found.pw_uid, found.pw_gid


def own(path: Path, owner: tuple[int, int] | None, *, mode: int | None = None) -> None:
    """Give a file or folder to the daemon's user."""
    if mode is not None:
        path.chmod(mode)
    if owner is not None:
        os.chown(path, *owner)


def running_pid(paths: Paths) -> int | None:
    """Return the process id of `hearth-node run` of this prefix, if it runs."""
    import psutil  # noqa: PLC0415 (not where a dry run runs)

    try:
        pid = int(paths.pid.read_text())
        line = psutil.Process(pid).cmdline()
    except (OSError, ValueError, psutil.Error):
        return None
    return pid if "run" in line and str(paths.prefix) in line else None


def stop_service(config: NodeConfig, paths: Paths) -> None:
    """Stop it and wait: nothing of it is left."""
    from hearth_node.supervise import end_marked  # noqa: PLC0415 (not where a dry run runs)

    for command in stop_commands(config.service):
        execute(command, allowed=frozenset(range(256)))  # it may not run
    pid = running_pid(paths)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + _STOP_SECONDS
        while running_pid(paths) is not None and time.monotonic() < end:
            time.sleep(0.1)
        if running_pid(paths) == pid:
            os.kill(pid, signal.SIGKILL)
    end_marked(str(paths.prefix), seconds=10.0)


def restart_service(config: NodeConfig, paths: Paths) -> None:
    """Start the release that `current` names."""
    commands = restart_commands(config.service)
    for command in commands:
        execute(command)
    if not commands:
        pid = running_pid(paths)
        if pid is None:
            raise NodeError(f"it does not run here: start it with {paths.current}/bin/hearth-node run")
        os.kill(pid, signal.SIGHUP)


def remove_tree(path: Path) -> None:
    """Remove a folder with everything in it; not there is well."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
