"""Settings from the environment. Every name begins with HEARTH_ and stands in the README."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from hearth_common.kube import pod_namespace
from hearth_egress.errors import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes, seconds and numbers of connections at the same time."""

    head_bytes: int = 32_768
    head_seconds: float = 10.0
    connections: int = 256
    tunnels_per_source: int = 16
    connect_seconds: float = 10.0
    idle_seconds: float = 300.0
    total_seconds: float = 7200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that the proxy is told at its start."""

    namespace: str
    host: str = "0.0.0.0"  # noqa: S104 (a pod's ports)
    port: int = 3128
    web_port: int = 8080
    denied: tuple[Network, ...] = ()
    log_level: str = "INFO"
    limits: Limits = Limits()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the environment. SettingsError names a variable that has no sense."""
        default = Limits()
        return cls(
            namespace=pod_namespace(environment),
            host=environment.get("HEARTH_HOST", "0.0.0.0"),  # noqa: S104 (a pod's ports)
            port=_number(environment, "HEARTH_PROXY_PORT", default=3128),
            web_port=_number(environment, "HEARTH_PORT", default=8080),
            denied=_networks(environment, "HEARTH_DENIED_NETWORKS"),
            log_level=environment.get("HEARTH_LOG_LEVEL", "INFO"),
            limits=Limits(
                connections=_number(environment, "HEARTH_CONNECTIONS", default=default.connections),
                tunnels_per_source=_number(
                    environment, "HEARTH_TUNNELS_PER_SOURCE", default=default.tunnels_per_source
                ),
                idle_seconds=_number(environment, "HEARTH_IDLE_SECONDS", default=int(default.idle_seconds)),
                total_seconds=_number(environment, "HEARTH_TOTAL_SECONDS", default=int(default.total_seconds)),
            ),
        )


def _number(environment: Mapping[str, str], name: str, *, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SettingsError(name, problem="must be a whole number above 0")
    return int(text)


def _networks(environment: Mapping[str, str], name: str) -> tuple[Network, ...]:
    try:
        words = environment.get(name, "").replace(",", " ").split()
        return tuple(ipaddress.ip_network(word, strict=False) for word in words)
    except ValueError as error:
        raise SettingsError(name, problem="must be addresses or networks, as 10.0.0.0/8 fd00::/8") from error
