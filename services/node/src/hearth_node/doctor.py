"""`hearth-node doctor`: what is wrong with this machine, each in one sentence with its remedy."""

import importlib.metadata
import json
import platform as host
import shutil
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from hearth_api.kinds.node import AcceleratorType
from hearth_node.ask import AskError, ask
from hearth_node.config import NodeConfig, Paths
from hearth_node.detect import Hardware, is_wsl
from hearth_node.service import running_pid
from hearth_node.tls import CertificateError, check_certificate, read_certificate, read_facts

RAY_VERSION = "2.60.0"
_MOST_SKEW = 300
_LITTLE_DISK = 10 << 30
_SOON = timedelta(days=7)
_REJOIN = "run hack/node/join again (or invite and join --bundle): it makes new ones"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check. `text` is a sentence; where it is not `ok` it ends with the remedy."""

    check: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the checks look at, so that a test can be any machine."""

    config: NodeConfig
    paths: Paths
    hardware: Hardware
    now: datetime
    ray_version: str
    python: tuple[int, int]
    free_disk: int
    addresses: Callable[[str], set[str]]
    """Addresses that a name has here; empty: none."""
    own_addresses: frozenset[str]


def examine(machine: Machine) -> list[Finding]:
    """Return all findings, good ones too. Nothing of them is secret."""
    checks = (clock, name, version, files, certificate, memory, disk, driver, ports)
    return [finding for check in checks for finding in check(machine)]


def clock(m: Machine) -> Iterator[Finding]:
    """Compare this clock with what the operator said last, and with the certificate."""
    try:
        told = json.loads(m.paths.clock.read_text())
        ahead, at = int(told["ahead"]), str(told["at"])[:19]
    except (OSError, ValueError, KeyError, TypeError):
        try:
            born = read_facts(read_certificate(m.paths.certificate.read_bytes())).not_before
        except (OSError, CertificateError):
            return
        if m.now < born:
            text = f"The clock says {m.now:%Y-%m-%d %H:%M} UTC, which is before the machine joined: {_set_clock()}."
            yield Finding(check="clock", ok=False, text=text)
        return
    if abs(ahead) > _MOST_SKEW:
        way = "ahead of" if ahead > 0 else "behind"
        text = f"The clock is {_span(abs(ahead))} {way} the cluster's (seen {at} UTC): {_set_clock()}."
        yield Finding(check="clock", ok=False, text=text)
    else:
        yield Finding(check="clock", ok=True, text=f"The clock is within {abs(ahead)} s of the cluster's.")


def _set_clock() -> str:
    return "set it by 'sudo sntp -sS time.apple.com'" if sys.platform == "darwin" else "run 'timedatectl set-ntp true'"


def _span(seconds: int) -> str:
    return f"{seconds / 86400:.1f} days" if seconds >= 86400 else f"{seconds // 60} minutes"


def name(m: Machine) -> Iterator[Finding]:
    """Look whether the cluster's name for this machine leads to it."""
    for called in m.config.hosts:
        found = m.addresses(called)
        if not found:
            text = f"{called} has no address here: give the machine that name in DNS, or join again with --address IP."
            yield Finding(check="name", ok=False, text=text)
        elif not found & m.own_addresses:
            yield Finding(
                check="name",
                ok=False,
                text=f"{called} is {', '.join(sorted(found))}, which is no address of this machine: give it that "
                "address (a fixed lease in the router), or join again with --address and its present one.",
            )
        else:
            yield Finding(check="name", ok=True, text=f"{called} is this machine.")


def version(m: Machine) -> Iterator[Finding]:
    """Compare Ray and Python with those that the cluster runs."""
    if m.ray_version != RAY_VERSION:
        text = f"Ray {m.ray_version or 'is missing'} here, and the cluster runs {RAY_VERSION}: run hack/node/upgrade."
        yield Finding(check="version", ok=False, text=text)
    elif not (3, 11) <= m.python <= (3, 13):
        text = f"Python {m.python[0]}.{m.python[1]} runs here, not 3.11 to 3.13: install one, then hack/node/upgrade."
        yield Finding(check="version", ok=False, text=text)
    else:
        text = f"Ray {m.ray_version} on Python {m.python[0]}.{m.python[1]}, release {m.paths.release()}."
        yield Finding(check="version", ok=True, text=text)


def files(m: Machine) -> Iterator[Finding]:
    """Look whether tokens and keys are there, and closed to others."""
    for path in (m.paths.ray_token, m.paths.serve_token, m.paths.certificate):
        try:
            mode = path.stat().st_mode
            length = len(path.read_bytes().strip())
        except PermissionError:
            yield Finding(check="files", ok=False, text=f"{path} cannot be read: run doctor as root (sudo).")
            continue
        except OSError:
            yield Finding(check="files", ok=False, text=f"{path} is missing: {_REJOIN}.")
            continue
        if length < 16:
            yield Finding(check="files", ok=False, text=f"{path} is empty or too short: {_REJOIN}.")
        elif mode & 0o077:
            yield Finding(check="files", ok=False, text=f"{path} can be read by others: chmod 600 {path}.")
    if m.paths.ray_token.exists() and m.paths.serve_token.exists():
        try:
            if m.paths.ray_token.read_text() == m.paths.serve_token.read_text():
                yield Finding(check="files", ok=False, text=f"Both tokens are the same: {_REJOIN} with --new-tokens.")
        except OSError:
            return


def certificate(m: Machine) -> Iterator[Finding]:
    """Look whether the cluster would trust the certificate now."""
    try:
        own = read_certificate(m.paths.certificate.read_bytes())
        authority = read_certificate(m.paths.authority.read_bytes())
    except OSError as error:
        text = f"The certificate cannot be read ({error.strerror}): run doctor as root, or {_REJOIN}."
        yield Finding(check="certificate", ok=False, text=text)
        return
    except CertificateError as error:
        yield Finding(check="certificate", ok=False, text=f"The certificate is damaged, {error}: {_REJOIN}.")
        return
    try:
        check_certificate(own, authority=authority, hosts=m.config.hosts, now=m.now)
    except CertificateError as error:
        remedy = _set_clock() if m.now < own.not_valid_before_utc else _REJOIN
        yield Finding(check="certificate", ok=False, text=f"The certificate does not serve: {error}: {remedy}.")
        return
    until = own.not_valid_after_utc
    if until - m.now < _SOON:
        text = (
            f"The certificate ends {until:%Y-%m-%d} and the operator has not renewed it: can the cluster reach port "
            f"{m.config.ray_port} here? If not for long, {_REJOIN}."
        )
        yield Finding(check="certificate", ok=False, text=text)
    else:
        yield Finding(check="certificate", ok=True, text=f"The certificate serves until {until:%Y-%m-%d}.")


def memory(m: Machine) -> Iterator[Finding]:
    """Look whether models may use what the machine has."""
    config, hardware = m.config, m.hardware
    if config.limit is not None and config.limit > hardware.main:
        text = f"The limit {_gib(config.limit)} exceeds this machine's {_gib(hardware.main)}: join again with --limit."
        yield Finding(check="memory", ok=False, text=text)
    elif config.accelerator is not AcceleratorType.CUDA and config.memory > hardware.main:
        text = (
            f"Models may take {_gib(config.memory)}, the machine has {_gib(hardware.main)}: join again with --memory."
        )
        yield Finding(check="memory", ok=False, text=text)
    else:
        yield Finding(check="memory", ok=True, text=f"Models may take {_gib(config.memory)} here.")


def disk(m: Machine) -> Iterator[Finding]:
    """Look whether weights have room."""
    if m.free_disk < _LITTLE_DISK:
        text = f"Only {_gib(m.free_disk)} are free at {m.paths.prefix}: make room, or join with --prefix elsewhere."
        yield Finding(check="disk", ok=False, text=text)
    else:
        yield Finding(check="disk", ok=True, text=f"{_gib(m.free_disk)} are free at {m.paths.prefix}.")


def driver(m: Machine) -> Iterator[Finding]:
    """Look whether the card that was there still answers."""
    if m.config.accelerator is AcceleratorType.CUDA and m.hardware.gpus < m.config.gpus:
        where = (
            "update NVIDIA's driver in Windows, then 'wsl --shutdown'"
            if is_wsl()
            else "reinstall the driver and reboot"
        )
        text = f"nvidia-smi shows {m.hardware.gpus} of {m.config.gpus} cards: {where}."
        yield Finding(check="driver", ok=False, text=text)
    elif m.hardware.driver is not None:
        yield Finding(check="driver", ok=True, text=f"NVIDIA's driver {m.hardware.driver} answers.")


def ports(m: Machine) -> Iterator[Finding]:
    """Ask both ports as the cluster does, with the right token, the other one and none."""
    own = {"Serve": (m.config.serve_port, m.paths.serve_token), "Ray": (m.config.ray_port, m.paths.ray_token)}
    other = {"Serve": m.paths.ray_token, "Ray": m.paths.serve_token}
    for label, (port, token) in own.items():
        try:
            right = ask(m.config, m.paths, "/hearth/state", port=port, token=token)
            wrong = ask(m.config, m.paths, "/hearth/state", port=port, token=other[label])
            none = ask(m.config, m.paths, "/hearth/state", port=port, token=None)
        except AskError as error:
            yield Finding(check="port", ok=False, text=_closed(m, port, str(error)))
            continue
        if right.status != 200:
            said = f"Port {port} refuses the {label} token of this machine ({right.status})"
            text = f"{said}: another program listens there, or {_REJOIN}."
            yield Finding(check="token", ok=False, text=text)
        elif wrong.status != 403 or none.status != 401:
            text = f"Port {port} is not Hearth's front: end what listens there (see 'lsof -i :{port}'), then restart."
            yield Finding(check="token", ok=False, text=text)
        else:
            yield Finding(check="port", ok=True, text=f"Port {port} takes the {label} token and no other.")
            if label == "Ray":
                yield from _ray(m)


def _ray(m: Machine) -> Iterator[Finding]:
    try:
        found = ask(m.config, m.paths, "/api/version", port=m.config.ray_port, token=m.paths.ray_token)
    except AskError as error:
        found = None
        said = str(error)
    if found is not None and found.status == 200:
        yield Finding(check="ray", ok=True, text=f"Ray {(found.body or {}).get('ray_version')} answers.")
        return
    said = f"{found.status}" if found is not None else said
    text = f"Ray does not answer ({said}): look at the end of {m.paths.var / 'ray.log'}; it is started again by itself."
    yield Finding(check="ray", ok=False, text=text)


def _closed(m: Machine, port: int, why: str) -> str:
    if "certificate" in why:
        return f"Port {port}: {why}: {_REJOIN}."
    if running_pid(m.paths) is None:
        start = {
            "systemd": "systemctl start hearth-node",
            "launchd": "launchctl kickstart system/com.banjonet.hearth.node",
            "none": f"{m.paths.current}/bin/hearth-node run",
        }[m.config.service.value]
        return f"Port {port}: {why}, and Hearth does not run: start it by '{start}'."
    return (
        f"Port {port}: {why} although Hearth runs: is it taken by another program (see 'lsof -i :{port}') or blocked?"
    )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def own_addresses() -> frozenset[str]:
    """Return the addresses of this machine's interfaces."""
    import psutil  # noqa: PLC0415 (not where a dry run runs)

    return frozenset(a.address.partition("%")[0] for found in psutil.net_if_addrs().values() for a in found)


def resolve(called: str) -> set[str]:
    """Return the addresses of a name."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(called, None)}
    except OSError:
        return set()


def this_machine(config: NodeConfig, paths: Paths, hardware: Hardware) -> Machine:
    """Return what the checks look at, here."""
    try:
        ray = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        ray = ""
    return Machine(
        config=config,
        paths=paths,
        hardware=hardware,
        now=datetime.now(UTC),
        ray_version=ray,
        python=sys.version_info[:2],
        free_disk=shutil.disk_usage(paths.prefix).free,
        addresses=resolve,
        own_addresses=own_addresses(),
    )


def report(machine: Machine, findings: list[Finding]) -> dict[str, object]:
    """Return what the owner may send to somebody who helps: no token, no key, no prompt, no log."""
    hardware = machine.hardware
    return {
        "system": {"name": host.system(), "release": host.release(), "machine": host.machine(), "wsl": is_wsl()},
        "python": host.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "packages": {
            p: _version(p)
            for p in ("ray", "xllamacpp", "onnxruntime", "torch", "transformers", "vllm", "mlx", "mlx-lm")
        },
        "release": machine.paths.release(),
        "hardware": {**asdict(hardware), "accelerator": hardware.accelerator.value},
        "config": {k: v for k, v in machine.config.to_json_object().items() if k != "hosts"},
        "findings": [asdict(finding) for finding in findings],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
