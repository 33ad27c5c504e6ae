"""`hearth-node leave`: nothing of Hearth stays on the machine."""

import sys
from collections.abc import Callable
from contextlib import suppress

from hearth_api.names import ray_secret_name, serve_secret_name
from hearth_node.cluster import Kubectl
from hearth_node.config import NodeConfig, Paths, ServiceKind
from hearth_node.service import execute, remove_tree, remove_user_commands, stop_service, unit_file
from hearth_node.steps import Step


def leave_steps(
    config: NodeConfig, paths: Paths, *, kubectl: Kubectl | None, platform: str = sys.platform
) -> list[Step]:
    """Return every step. `kubectl`: the cluster forgets the machine too."""
    steps = []
    if kubectl is not None:
        steps.append(
            Step(f"delete InferenceNode {config.name} in the cluster", _delete(kubectl, "inferencenode", config.name))
        )
    steps.append(
        Step(
            "stop taking requests, finish those under way, and end Ray and everything it started",
            lambda: stop_service(config, paths),
        )
    )
    if kubectl is not None:
        secrets = (ray_secret_name(config.name), serve_secret_name(config.name))
        steps.append(Step(f"delete the Secrets {' and '.join(secrets)}", _delete(kubectl, "secret", *secrets)))
    described = unit_file(config, paths)
    if described is not None:
        place = described[0]
        steps.append(Step(f"remove {place}", lambda: place.unlink(missing_ok=True)))
    if config.service is ServiceKind.SYSTEMD:
        steps.append(Step("run systemctl daemon-reload", lambda: execute(["systemctl", "daemon-reload"])))
    steps.append(Step(f"remove {paths.prefix}", lambda: remove_prefix(paths)))
    if config.made_user and config.user is not None:
        commands = remove_user_commands(config.user, platform=platform)
        steps += [Step(f"run {' '.join(command)}", _command(command)) for command in commands]
    return steps


def remove_prefix(paths: Paths) -> None:
    """Remove the prefix; where it is a mount or another's folder, everything in it."""
    if paths.prefix.is_dir():
        for entry in paths.prefix.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                remove_tree(entry)
            else:
                entry.unlink()
        with suppress(OSError):
            paths.prefix.rmdir()


def _delete(kubectl: Kubectl, kind: str, *names: str) -> Callable[[], None]:
    return lambda: kubectl.delete(kind, *names)


def _command(command: list[str]) -> Callable[[], None]:
    return lambda: execute(command)
