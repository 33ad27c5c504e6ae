"""What a joined machine tells of itself, and what it is asked: `/hearth/machine` and `/hearth/wake` on the front of
services/node.

Every field that a machine may not be able to tell is None then: nobody may read an absence as "all is quiet".
"""

from ipaddress import IPv4Address
from typing import Annotated

from pydantic import AwareDatetime, Field

from hearth_api.base import LenientModel, StrictModel
from hearth_api.kinds.fields import MacAddress

Bytes = Annotated[int, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]


class GpuFacts(LenientModel):
    """A graphics card."""

    name: str
    memory_total: Bytes
    memory_used: Bytes
    memory_others: Bytes | None = None
    """Held by processes that are not Hearth's; None: the driver does not say whose memory it is (WSL2)."""
    utilization: Percent | None = None
    """Share of the last moments in which it computed, for anybody."""
    power_watts: Annotated[float, Field(ge=0)] | None = None
    temperature_celsius: float | None = None


class MachineFacts(LenientModel):
    """A machine at one moment."""

    system: str
    """Linux or Darwin."""
    time: AwareDatetime
    """Its clock."""
    boot_time: AwareDatetime
    cpus: Annotated[int, Field(ge=1)]
    load: Annotated[float, Field(ge=0)]
    """Processes that compute or wait to, mean of a minute."""
    memory_total: Bytes
    memory_available: Bytes
    """What a program could take without anything being swapped out."""
    memory_pressure: Percent | None = None
    """Share of the last 10 s in which some process waited for memory (Linux PSI)."""
    sessions: Annotated[int, Field(ge=0)] | None = None
    """How many are logged in."""
    owner_idle_seconds: Annotated[float, Field(ge=0)] | None = None
    """Since the last key or move of anybody who is logged in; since boot where nobody is."""
    on_battery: bool | None = None
    power_watts: Annotated[float, Field(ge=0)] | None = None
    """Of the processor packages."""
    gpus: tuple[GpuFacts, ...] = ()


class WakeRequest(StrictModel):
    """`POST /hearth/wake`: send the magic packet for another machine, which sleeps in the same network."""

    mac: MacAddress
    broadcast: IPv4Address
