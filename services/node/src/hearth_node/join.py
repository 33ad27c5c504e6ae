"""`hearth-node join`: from an environment that lies there to a machine that the cluster can call."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from hearth_node.bundle import Bundle, node_manifest
from hearth_node.config import NodeConfig, Paths, ServiceKind, read_config, write_config, write_file
from hearth_node.detect import Hardware
from hearth_node.errors import NodeError
from hearth_node.service import (
    execute,
    own,
    owner_of,
    restart_commands,
    running_pid,
    start_commands,
    unit_file,
    user_commands,
)
from hearth_node.steps import Step

LINUX_USER, MAC_USER = "hearth", "_hearth"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinWish:
    """What the owner asked for; what is None is found out. Sizes in bytes."""

    release: str
    service: ServiceKind
    listen: str = "0.0.0.0"  # noqa: S104 (the front demands TLS and a token)
    user: str | None = None
    memory: int | None = None
    reserve: int = 0
    limit: int | None = None
    cpus: int | None = None


def plan_config(
    bundle: Bundle, wish: JoinWish, hardware: Hardware, *, user_exists: Callable[[str], bool]
) -> NodeConfig:
    """Return what the machine will remember."""
    made = wish.user is not None and not user_exists(wish.user)
    return NodeConfig(
        name=bundle.name,
        namespace=bundle.namespace,
        hosts=bundle.hosts,
        listen=wish.listen,
        serve_port=bundle.serve_port,
        ray_port=bundle.ray_port,
        accelerator=hardware.accelerator,
        memory=wish.memory if wish.memory is not None else hardware.memory,
        limit=wish.limit,
        cpus=wish.cpus or hardware.cpus,
        gpus=hardware.gpus,
        user=wish.user,
        made_user=made,
        service=wish.service,
    )


def keep_made_user(paths: Paths, config: NodeConfig) -> NodeConfig:
    """Return the configuration with what an earlier join knows: whether the user is ours. Raises NodeError."""
    if not paths.config.exists():
        return config
    before = read_config(paths)
    if before.name != config.name:
        raise NodeError(
            f"this machine has joined as {before.name}: run hack/node/leave first, or join as {before.name}"
        )
    return config.model_copy(update={"made_user": before.made_user or config.made_user})


def join_steps(
    config: NodeConfig, bundle: Bundle | None, paths: Paths, *, release: str, platform: str = sys.platform
) -> list[Step]:
    """Return every step up to the running service. `bundle` None: only to be told."""
    steps = []
    if config.made_user and config.user is not None:
        commands = user_commands(config.user, home=paths.var, platform=platform)
        steps += [Step(f"run {' '.join(command)}", _command(command)) for command in commands]
    steps += [
        Step(
            f"make the folders {paths.prefix}/etc, var and ray, for {config.user or 'you'} only",
            lambda: _folders(config, paths),
        ),
        Step(
            f"write {paths.config} and beside it the authority, the certificate with its key and both tokens",
            lambda: _files(config, _need(bundle), paths),
        ),
        Step(f"let {paths.current} name releases/{release}", lambda: switch(paths, release)),
    ]
    described = unit_file(config, paths)
    if described is not None:
        place, text = described
        steps.append(Step(f"write {place}", lambda: write_file(place, text, mode=0o644)))
    running = bundle is not None and running_pid(paths) is not None
    for command in restart_commands(config.service) if running else start_commands(config.service):
        steps.append(Step(f"run {' '.join(command)}", _command(command)))
    return steps


def _need(bundle: Bundle | None) -> Bundle:
    if bundle is None:
        raise NodeError("there is nothing to join with")
    return bundle


def _command(command: list[str]) -> Callable[[], None]:
    return lambda: execute(command)


def _folders(config: NodeConfig, paths: Paths) -> None:
    owner = owner_of(config)
    paths.prefix.mkdir(parents=True, exist_ok=True)
    paths.prefix.chmod(0o755)
    for folder in (paths.config.parent, paths.var, paths.ray):
        folder.mkdir(exist_ok=True)
        own(folder, owner, mode=0o700)
    own(paths.config.parent, owner, mode=0o755)  # `doctor` without root reads what is no secret


def _files(config: NodeConfig, bundle: Bundle, paths: Paths) -> None:
    owner = owner_of(config)
    write_file(paths.authority, bundle.authority.encode(), mode=0o644, owner=owner)
    write_file(paths.certificate, f"{bundle.key}{bundle.certificate}".encode(), mode=0o600, owner=owner)
    write_file(paths.ray_token, bundle.ray_token.encode(), mode=0o600, owner=owner)
    write_file(paths.serve_token, bundle.serve_token.encode(), mode=0o600, owner=owner)
    write_config(paths, config, owner=owner)


def switch(paths: Paths, release: str) -> None:
    """Let `current` name a release, at once. Raises NodeError."""
    if not (paths.releases / release).is_dir():
        raise NodeError(f"there is no {paths.releases / release}: run hack/node/join, which makes it")
    fresh = paths.prefix / ".current.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("releases") / release)
    fresh.replace(paths.current)


def node_yaml(bundle: Bundle, config: NodeConfig, *, reserve: int) -> str:
    """Return the InferenceNode to apply."""
    manifest = node_manifest(bundle, accelerator=config.accelerator, memory=config.memory, reserve=reserve)
    said = "# The machine that joined. kubectl apply -f this file; the memory is what models may take there.\n"
    return said + str(yaml.safe_dump(manifest, sort_keys=False))
