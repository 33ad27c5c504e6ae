"""What a joined machine remembers of itself, and where its files lie. Everything is below one prefix."""

import json
import os
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import Field, ValidationError

from hearth_api.base import StrictModel
from hearth_api.kinds.node import AcceleratorType
from hearth_node.errors import NodeError

DEFAULT_PREFIX = Path("/opt/hearth")
SERVE_PORT = 8000
RAY_PORT = 8265


class ServiceKind(StrEnum):
    """Who starts `hearth-node run`."""

    SYSTEMD = "systemd"
    LAUNCHD = "launchd"
    NONE = "none"
    """Somebody by hand: no service manager runs here."""


class InsidePorts(StrictModel):
    """Ports on 127.0.0.1. Ray's workers take 10002 to 19999 and outgoing connections begin at 32768."""

    gcs: int = 26379
    dashboard: int = 28265
    agent: int = 28266
    serve: int = 28000


class NodeConfig(StrictModel):
    """`etc/node.json`: no secret in it."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,36}[a-z0-9])?$")
    """Of the InferenceNode."""
    namespace: str = "hearth"
    hosts: tuple[str, ...] = Field(min_length=1)
    """Addresses or names under which the cluster calls; the first one stands in the InferenceNode."""
    listen: str = "0.0.0.0"  # noqa: S104 (the front demands TLS and a token)
    serve_port: int = Field(default=SERVE_PORT, ge=1, le=65535)
    ray_port: int = Field(default=RAY_PORT, ge=1, le=65535)
    inside: InsidePorts = InsidePorts()
    accelerator: AcceleratorType = AcceleratorType.CPU
    memory: int = Field(ge=0)
    """Bytes that models may use."""
    limit: int | None = Field(default=None, ge=1)
    """Bytes of main memory that everything of Hearth may take here; None: no limit."""
    cpus: int = Field(ge=1)
    gpus: int = Field(default=0, ge=0)
    user: str | None = None
    """Who runs it; None: whoever starts it."""
    made_user: bool = False
    """`join` made the user, so `leave` removes it."""
    service: ServiceKind = ServiceKind.NONE


@dataclass(frozen=True, slots=True)
class Paths:
    """Files of a joined machine."""

    prefix: Path

    @property
    def config(self) -> Path:
        """Return where NodeConfig lies."""
        return self.prefix / "etc" / "node.json"

    @property
    def ray_token(self) -> Path:
        """Return the token that opens Ray's API, and nothing else."""
        return self.prefix / "etc" / "ray-token"

    @property
    def serve_token(self) -> Path:
        """Return the token that opens Serve, and nothing else."""
        return self.prefix / "etc" / "serve-token"

    @property
    def certificate(self) -> Path:
        """Return one PEM file with the private key and the certificate: so both change at once."""
        return self.prefix / "etc" / "node.pem"

    @property
    def authority(self) -> Path:
        """Return the cluster's authority."""
        return self.prefix / "etc" / "ca.crt"

    @property
    def environment(self) -> Path:
        """Return the owner's variables for models, such as HF_TOKEN: a line NAME=value each."""
        return self.prefix / "etc" / "environment"

    @property
    def releases(self) -> Path:
        """Return the folder with one environment per release."""
        return self.prefix / "releases"

    @property
    def current(self) -> Path:
        """Return the link to the environment that runs."""
        return self.prefix / "current"

    @property
    def var(self) -> Path:
        """Return what changes while it runs: home of the user, models, logs."""
        return self.prefix / "var"

    @property
    def ray(self) -> Path:
        """Return Ray's folder. Short: its sockets' paths may have 103 characters on macOS."""
        return self.prefix / "ray"

    @property
    def pid(self) -> Path:
        """Return the process id of `hearth-node run`."""
        return self.var / "run.pid"

    @property
    def clock(self) -> Path:
        """Return what the operator last said of the time."""
        return self.var / "clock.json"

    def release(self) -> str | None:
        """Return the name of the release that runs."""
        return self.current.readlink().name if self.current.is_symlink() else None


def read_config(paths: Paths) -> NodeConfig:
    """Return what `join` wrote. Raises NodeError."""
    try:
        return NodeConfig.model_validate_json(paths.config.read_bytes())
    except FileNotFoundError as error:
        raise NodeError(f"this machine has not joined: there is no {paths.config}. Run hack/node/join") from error
    except OSError as error:
        raise NodeError(f"{paths.config} cannot be read: {error.strerror}. Run it as root (sudo)") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise NodeError(f"{paths.config} is damaged ({where}: {first['msg']}). Run hack/node/join again") from error


def read_environment(paths: Paths) -> dict[str, str]:
    """Return the owner's variables for models; lines that set none are left out. No file is none."""
    try:
        lines = paths.environment.read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, equals, value in pairs if equals and name.strip()}


def write_file(path: Path, data: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replace a file at once: readers see the old one or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            file.write(data)
            file.flush()
            os.fsync(handle)
        if owner is not None:
            os.chown(name, *owner)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_config(paths: Paths, config: NodeConfig, *, owner: tuple[int, int] | None = None) -> None:
    """Keep the configuration for everybody to read."""
    text = json.dumps(config.to_json_object(), indent=2) + "\n"
    write_file(paths.config, text.encode(), mode=0o644, owner=owner)
