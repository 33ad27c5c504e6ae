"""How Ray is started on a joined machine: on the loopback, with its token, and nothing of the owner's environment."""

from collections.abc import Mapping
from pathlib import Path

from hearth_api.names import RAY_NODE_LABEL
from hearth_node.config import NodeConfig, Paths

_OBJECT_STORE_BYTES = 80_000_000
"""Only text passes: the smallest store that Ray takes."""
MARK = "HEARTH_NODE_RAY"
"""Variable of every process that belongs to a prefix: they, and no other Ray, are ended with it."""
_KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "LD_LIBRARY_PATH",
    "HF_HOME",
    "HF_TOKEN_PATH",
)


def ray_command(config: NodeConfig, paths: Paths, *, bin_dir: Path) -> list[str]:
    """Return the command of a head that lives in the foreground."""
    inside = config.inside
    return [
        str(bin_dir / "ray"),
        *("start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={inside.gcs}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={inside.dashboard}"),
        f"--dashboard-agent-listen-port={inside.agent}",
        *(f"--temp-dir={paths.ray}", f"--num-cpus={config.cpus}", f"--num-gpus={config.gpus}"),
        *(f"--object-store-memory={_OBJECT_STORE_BYTES}", f"--labels={RAY_NODE_LABEL}={config.name}"),
        "--disable-usage-stats",
    ]


def ray_environment(
    config: NodeConfig,
    paths: Paths,
    *,
    environ: Mapping[str, str],
    bin_dir: Path,
    own: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment of Ray and of everything it starts. `own` are the owner's variables: none changes ours."""
    kept = {name: environ[name] for name in _KEPT if name in environ}
    user = config.user or environ.get("USER") or "hearth"
    path = kept.pop("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    return (
        {"HEARTH_WEIGHTS_STORE": str(paths.var / "weights")}
        | dict(own or {})
        | kept
        | {
            "PATH": f"{bin_dir}:{path}",
            "HOME": str(paths.var),
            "USER": user,
            "LOGNAME": user,
            "PYTHONUNBUFFERED": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(paths.ray_token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "HF_HUB_OFFLINE": "1",
            "HEARTH_SERVE_TOKEN_PATH": str(paths.serve_token),
            "HEARTH_SERVE_LOOPBACK": "1",
            "HEARTH_NODE_PREFIX": str(paths.prefix),
            MARK: str(paths.prefix),
        }
    )
