"""The command line `hearth-node`. Heavy modules are imported by the command that needs them."""

import argparse
import json
import os
import pwd
import secrets
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hearth_api.quantities import to_bytes
from hearth_node.bundle import Bundle, read_bundle, write_bundle
from hearth_node.cluster import Kubectl, invite
from hearth_node.config import DEFAULT_PREFIX, RAY_PORT, SERVE_PORT, Paths, ServiceKind, read_config
from hearth_node.errors import NodeError

_MOST_SKEW = 300


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except NodeError as error:
        print(f"hearth-node: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"hearth-node: {error.filename} may not be written: run it as root (sudo)", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="hearth-node", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], said: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=said, description=said)
        found.set_defaults(command=command)
        found.add_argument("--prefix", type=Path, default=DEFAULT_PREFIX, help="where everything lies (/opt/hearth)")
        return found

    invite_ = add("invite", invite_command, "write the bundle by which a machine joins (where kubectl works)")
    _cluster_arguments(invite_, needed=True)
    invite_.add_argument("--out", type=Path, help="the file (hearth-NAME.bundle.json)")
    join = add("join", join_command, "let this machine join")
    _cluster_arguments(join, needed=False)
    _join_arguments(join)
    run = add("run", run_command, "serve in the foreground, as the service does")
    run.set_defaults(command=run_command)
    leave = add("leave", leave_command, "remove everything of Hearth from this machine")
    leave.add_argument("--kubeconfig", help="also delete the machine's resource and Secrets in the cluster")
    leave.add_argument("--dry-run", action="store_true")
    upgrade = add("upgrade", upgrade_command, "switch to another release, and back where it does not answer")
    upgrade.add_argument("--release", required=True)
    upgrade.add_argument("--seconds", type=float, default=120.0, help="how long the new one has to answer")
    doctor = add("doctor", doctor_command, "say what is wrong here, and the remedy")
    doctor.add_argument("--json", action="store_true")
    doctor.add_argument("--report", action="store_true", help="print what may be sent to somebody who helps")
    return parser


def _cluster_arguments(parser: argparse.ArgumentParser, *, needed: bool) -> None:
    parser.add_argument("name", nargs=None if needed else "?", help="of the InferenceNode")
    parser.add_argument("--address", action="append", default=[], required=needed, help="by which the cluster calls it")
    parser.add_argument("--namespace", default="hearth")
    parser.add_argument("--kubeconfig", help="of the cluster; default: kubectl's own")
    parser.add_argument("--serve-port", type=int, default=SERVE_PORT)
    parser.add_argument("--ray-port", type=int, default=RAY_PORT)
    parser.add_argument("--new-tokens", action="store_true", help="also when the machine had joined before")


def _join_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, help="of hack/node/invite; without it kubectl is asked")
    parser.add_argument("--release", required=True, help="folder in PREFIX/releases")
    parser.add_argument("--memory", help="for models, e.g. 400Gi; default: what the accelerator has")
    parser.add_argument("--reserve", default="0", help="of it kept for the owner, e.g. 16Gi")
    parser.add_argument("--limit", help="of main memory for everything of Hearth, e.g. 24Gi")
    parser.add_argument("--cpus", type=int)
    parser.add_argument("--listen", default="0.0.0.0", help="address of this machine to listen on")  # noqa: S104
    parser.add_argument("--user", help="who runs it (hearth; _hearth on macOS)")
    parser.add_argument("--service", choices=[kind.value for kind in ServiceKind], help="default: what runs here")
    parser.add_argument("--platform", choices=["linux", "darwin"], help="with --dry-run: as on that system")
    parser.add_argument("--out", type=Path, help="file for the InferenceNode (PREFIX/inferencenode.yaml)")
    parser.add_argument("--apply", action="store_true", help="apply it too")
    parser.add_argument("--dry-run", action="store_true")


def _kubectl(arguments: argparse.Namespace, *, namespace: str) -> Kubectl:
    chosen = ("--kubeconfig", arguments.kubeconfig) if arguments.kubeconfig else ()
    return Kubectl(base=("kubectl", *chosen), namespace=namespace)


def _invite(arguments: argparse.Namespace, *, invited: bool) -> tuple[Kubectl, Bundle]:
    kubectl = _kubectl(arguments, namespace=arguments.namespace)
    bundle = invite(
        kubectl,
        name=arguments.name,
        hosts=tuple(arguments.address),
        ports=(arguments.serve_port, arguments.ray_port),
        invited=invited,
        new_tokens=arguments.new_tokens,
        random_bytes=secrets.token_bytes,
    )
    return kubectl, bundle


def invite_command(arguments: argparse.Namespace) -> int:
    """Write a bundle."""
    _, bundle = _invite(arguments, invited=True)
    path = arguments.out or Path(f"hearth-{bundle.name}.bundle.json")
    write_bundle(bundle, path)
    print(f"{path} is the key of {bundle.name}: bring it there (scp), then run there")
    print(f"  sudo hack/node/join --bundle {path.name}")
    print("and delete both copies afterwards.")
    return 0


def join_command(arguments: argparse.Namespace) -> int:
    """Join."""
    from hearth_node.joining import join  # noqa: PLC0415

    if arguments.dry_run or arguments.bundle is not None:
        return join(arguments, bundle=_given(arguments), kubectl=None)
    if not arguments.name or not arguments.address:
        raise NodeError("say the name and --address of this machine, or --bundle FILE of hack/node/invite")
    kubectl, bundle = _invite(arguments, invited=False)
    return join(arguments, bundle=bundle, kubectl=kubectl)


def _given(arguments: argparse.Namespace) -> Bundle | None:
    if arguments.bundle is None:
        return None
    bundle = read_bundle(arguments.bundle)
    behind = (bundle.issued - datetime.now(UTC)).total_seconds()
    if behind > _MOST_SKEW:
        raise NodeError(
            f"the bundle was made {behind / 3600:.1f} hours in the future of this clock: set the clock "
            "(timedatectl set-ntp true; on macOS sudo sntp -sS time.apple.com), then join again"
        )
    return bundle


def run_command(arguments: argparse.Namespace) -> int:
    """Serve in the foreground."""
    from hearth_node.run import main as run  # noqa: PLC0415

    paths = Paths(arguments.prefix.absolute())
    become(read_config(paths).user)
    return run(paths)


def become(user: str | None) -> None:
    """Go on as the daemon's user where root started it by hand."""
    if user is None or os.geteuid() != 0:
        return
    found = pwd.getpwnam(user)
    os.initgroups(user, found.pw_gid)
    os.setgid(found.pw_gid)
    os.setuid(found.pw_uid)


def leave_command(arguments: argparse.Namespace) -> int:
    """Leave."""
    from hearth_node.leave import leave_steps  # noqa: PLC0415
    from hearth_node.steps import run_steps  # noqa: PLC0415

    paths = Paths(arguments.prefix.absolute())
    config = read_config(paths)
    kubectl = _kubectl(arguments, namespace=config.namespace) if arguments.kubeconfig else None
    run_steps(leave_steps(config, paths, kubectl=kubectl), dry=arguments.dry_run)
    return 0


def upgrade_command(arguments: argparse.Namespace) -> int:
    """Switch to another release."""
    from hearth_node.upgrade import upgrade  # noqa: PLC0415

    paths = Paths(arguments.prefix.absolute())
    upgrade(read_config(paths), paths, release=arguments.release, seconds=arguments.seconds)
    return 0


def doctor_command(arguments: argparse.Namespace) -> int:
    """Say what is wrong."""
    from hearth_node.detect import detect  # noqa: PLC0415
    from hearth_node.doctor import examine, report, this_machine  # noqa: PLC0415

    paths = Paths(arguments.prefix.absolute())
    machine = this_machine(read_config(paths), paths, detect())
    findings = examine(machine)
    if arguments.report:
        print(json.dumps(report(machine, findings), indent=2))
    elif arguments.json:
        print(json.dumps([{"check": f.check, "ok": f.ok, "text": f.text} for f in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.text}")
    return 0 if all(finding.ok for finding in findings) else 1


def size(text: str | None) -> int | None:
    """Return bytes of a quantity such as 24Gi. Raises NodeError."""
    if text is None:
        return None
    try:
        return to_bytes(text)
    except ValueError as error:
        raise NodeError(f"{text} is no size: write it as 24Gi") from error


if __name__ == "__main__":
    sys.exit(main())
