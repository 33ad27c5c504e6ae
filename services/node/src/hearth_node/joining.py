"""Joining from the command line: what is found out, the steps, and the resource for the owner to apply."""

import argparse
import os
import pwd
import sys
from pathlib import Path

from hearth_node.ask import AskError, wait_ready
from hearth_node.bundle import Bundle
from hearth_node.cluster import Kubectl
from hearth_node.config import NodeConfig, Paths, ServiceKind, write_file
from hearth_node.detect import detect
from hearth_node.errors import NodeError
from hearth_node.join import LINUX_USER, MAC_USER, JoinWish, join_steps, keep_made_user, node_yaml, plan_config
from hearth_node.main import size
from hearth_node.service import running_pid, service_kind
from hearth_node.steps import run_steps
from hearth_node.upgrade import READY_SECONDS

_UNKNOWN = "0" * 43


def join(arguments: argparse.Namespace, *, bundle: Bundle | None, kubectl: Kubectl | None) -> int:
    """Do or tell the steps; write the InferenceNode."""
    paths = Paths(arguments.prefix.absolute())
    platform = arguments.platform if arguments.dry_run and arguments.platform else sys.platform
    wish = _wish(arguments, platform=platform, root=os.geteuid() == 0 or arguments.dry_run)
    told = bundle or _told(arguments)
    config = plan_config(told, wish, detect(), user_exists=user_exists if platform == sys.platform else lambda _: False)
    config = keep_made_user(paths, config)
    run_steps(join_steps(config, bundle, paths, release=wish.release, platform=platform), dry=arguments.dry_run)
    if arguments.dry_run:
        return 0
    text = node_yaml(told, config, reserve=wish.reserve)
    out = arguments.out or paths.prefix / "inferencenode.yaml"
    write_file(out, text.encode(), mode=0o644)
    if arguments.apply:
        _apply(kubectl, text)
    return _finish(config, paths, out=out, applied=arguments.apply)


def _apply(kubectl: Kubectl | None, text: str) -> None:
    if kubectl is None:
        raise NodeError("--apply needs the cluster, which a bundle does not give: apply the file where kubectl works")
    kubectl.call(["apply", "-f", "-"], stdin=text)


def _finish(config: NodeConfig, paths: Paths, *, out: Path, applied: bool) -> int:
    if config.service is not ServiceKind.NONE or running_pid(paths) is not None:
        try:
            wait_ready(config, paths, release=None, seconds=READY_SECONDS)
        except AskError as error:
            raise NodeError(f"it was installed, but does not answer: {error}. Run hack/node/doctor") from error
        print(f"{config.name} serves.")
    else:
        print(f"No service manager runs here: start it by {paths.current}/bin/hearth-node run --prefix {paths.prefix}")
    print(f"{out} is the InferenceNode{', and was applied' if applied else ': kubectl apply -f it'}.")
    return 0


def _wish(arguments: argparse.Namespace, *, platform: str, root: bool) -> JoinWish:
    service = ServiceKind(arguments.service) if arguments.service else service_kind(platform=platform, root=root)
    user = arguments.user or (MAC_USER if platform == "darwin" else LINUX_USER)
    return JoinWish(
        release=arguments.release,
        service=service,
        listen=arguments.listen,
        user=user if root else None,
        memory=size(arguments.memory),
        reserve=size(arguments.reserve) or 0,
        limit=size(arguments.limit),
        cpus=arguments.cpus,
    )


def _told(arguments: argparse.Namespace) -> Bundle:
    """Return a bundle without secrets, for a dry run."""
    if not arguments.name or not arguments.address:
        raise NodeError("say the name and --address of this machine, or --bundle FILE of hack/node/invite")
    return Bundle.model_validate(
        {
            "name": arguments.name,
            "namespace": arguments.namespace,
            "hosts": arguments.address,
            "serve_port": arguments.serve_port,
            "ray_port": arguments.ray_port,
            "ray_token": _UNKNOWN,
            "serve_token": _UNKNOWN,
            "authority": "",
            "certificate": "",
            "key": "",
            "issued": "1970-01-01T00:00:00Z",
        }
    )


def user_exists(user: str) -> bool:
    """Whether the machine has a user."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
