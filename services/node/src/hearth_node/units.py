"""What starts `hearth-node run` with the machine: a systemd unit or a launchd daemon, as texts."""

import plistlib
from pathlib import Path

from hearth_node.config import NodeConfig, Paths

SYSTEMD_UNIT = Path("/etc/systemd/system/hearth-node.service")
LAUNCHD_LABEL = "com.banjonet.hearth.node"
LAUNCHD_PLIST = Path(f"/Library/LaunchDaemons/{LAUNCHD_LABEL}.plist")
_RESTART_SECONDS = 5
_OPEN_FILES = 65536


def systemd_unit(config: NodeConfig, paths: Paths) -> str:
    """Return the unit. `MemoryMax` is enforced by the kernel: what exceeds it is ended, and started again."""
    lines = [
        "[Unit]",
        f"Description=Hearth: models on this machine ({config.name})",
        "Wants=network-online.target",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={_program(paths)} run --prefix {paths.prefix}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=always",
        f"RestartSec={_RESTART_SECONDS}",
        "KillMode=mixed",
        "TimeoutStopSec=60",
        f"LimitNOFILE={_OPEN_FILES}",
        "OOMPolicy=continue",
    ]
    if config.user is not None:
        lines += [f"User={config.user}", f"Group={config.user}"]
    if config.limit is not None:
        lines += [f"MemoryMax={config.limit}", "MemorySwapMax=0"]
    lines += [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "PrivateTmp=yes",
        f"ReadWritePaths={paths.prefix}",
        "ProtectControlGroups=yes",
        "ProtectKernelModules=yes",
        "RestrictSUIDSGID=yes",
        "UMask=0077",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


def launchd_plist(config: NodeConfig, paths: Paths) -> bytes:
    """Return the daemon. macOS enforces no memory limit on it: `hearth-node run` watches its own."""
    daemon: dict[str, object] = {
        "Label": LAUNCHD_LABEL,
        "ProgramArguments": [str(_program(paths)), "run", "--prefix", str(paths.prefix)],
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": _RESTART_SECONDS,
        "ExitTimeOut": 60,
        "ProcessType": "Interactive",  # else macOS slows the processor for it
        "WorkingDirectory": str(paths.var),
        "StandardOutPath": str(paths.var / "run.log"),
        "StandardErrorPath": str(paths.var / "run.log"),
        "SoftResourceLimits": {"NumberOfFiles": _OPEN_FILES},
        "HardResourceLimits": {"NumberOfFiles": _OPEN_FILES},
        "EnvironmentVariables": {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        "Umask": 0o077,
    }
    if config.user is not None:
        daemon |= {"UserName": config.user, "GroupName": config.user}
    return plistlib.dumps(daemon)


def _program(paths: Paths) -> Path:
    return paths.current / "bin" / "hearth-node"
