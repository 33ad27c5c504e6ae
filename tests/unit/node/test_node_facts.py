"""What a machine tells of itself, from recorded answers of the systems, and from rubbish."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_api.wire.machine import MachineFacts
from hearth_node.facts import MachineReader
from hearth_node.facts.gpus import read_gpus
from hearth_node.facts.memory import parse_pressure, read_pressure
from hearth_node.facts.owner import parse_ioreg, parse_sessions, session_idle, terminal_idle
from hearth_node.facts.power import PackagePower

GIB = 1 << 30
PSI = """some avg10=12.34 avg60=3.10 avg300=0.70 total=81762034
full avg10=8.01 avg60=2.00 avg300=0.41 total=51127750
"""
IOREG = """+-o IOHIDSystem  <class IOHIDSystem, id 0x100000467, registered, matched, active, busy 0 (0 ms), retain 28>
    {
      "HIDIdleTime" = 83500000000
      "HIDScrollCountMaxTimeDeltaBetween" = 600
      "HIDParameters" = {"HIDMouseAcceleration"=98304,"HIDIdleTimeDelta"=5}
    }
"""
SESSIONS = """Id=2
Class=user
State=active
Type=wayland
IdleHint=no
IdleSinceHint=1763900000000000

Id=c1
Class=greeter
State=online
Type=wayland
IdleHint=no
IdleSinceHint=0

Id=7
Class=user
State=online
Type=x11
IdleHint=yes
IdleSinceHint=1763900000000000

Id=9
Class=user
State=active
Type=tty
IdleHint=no
IdleSinceHint=1763900000000000
"""
NOW = 1763900600.0


def test_memory_pressure_is_read(tmp_path: Path) -> None:
    assert parse_pressure(PSI) == 12.34
    assert parse_pressure("some avg10=nan\n") is None
    assert parse_pressure("some avg10=inf\n") is None
    assert read_pressure(tmp_path / "none") is None


def test_idle_time_of_a_mac() -> None:
    assert parse_ioreg(IOREG) == 83.5
    assert parse_ioreg("") is None


def test_sessions_that_count() -> None:
    """The greeter is nobody, a terminal is asked itself, an active desktop is 0 s idle."""
    assert session_idle(parse_sessions(SESSIONS), now=NOW) == [0.0, 600.0]
    assert session_idle(parse_sessions(SESSIONS.replace("Class=user", "Class=background")), now=NOW) == []
    assert session_idle([{"Class": "user", "Type": "x11", "IdleHint": "yes", "IdleSinceHint": "?"}], now=NOW) == [0.0]
    assert terminal_idle([NOW - 30, NOW + 5], now=NOW) == [30, 0.0]


@given(text=st.text() | st.text(alphabet='some avg10=.0123\n "HIDIdleTime"IdleHint=yesClassuserTypex11'))
def test_rubbish_tells_nothing_and_breaks_nothing(text: str) -> None:
    pressure, idle = parse_pressure(text), parse_ioreg(text)
    assert pressure is None or 0 <= pressure <= 100
    assert idle is None or idle >= 0
    assert all(seconds >= 0 for seconds in session_idle(parse_sessions(text), now=NOW))


def test_power_is_a_difference(tmp_path: Path) -> None:
    for name, energy in (("intel-rapl:0", 1_000_000), ("intel-rapl:1", 0), ("intel-rapl:0:0", 99)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
    power = PackagePower(tmp_path)
    assert power.read(now=10.0) is None
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("81000000\n")
    assert power.read(now=12.0) == pytest.approx(40.0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("5\n")  # the counter began anew
    assert power.read(now=13.0) is None
    assert PackagePower(tmp_path / "none").read(now=1.0) is None


class NvmlError(Exception):
    pass


def driver(held: int | None) -> SimpleNamespace:
    """NVIDIA's library with one card: a desktop and a game beside a model of ours."""

    def refuse(_card: int) -> None:
        raise NvmlError

    game = SimpleNamespace(pid=7, usedGpuMemory=held)
    return SimpleNamespace(
        NVMLError=NvmlError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda n: n,
        nvmlDeviceGetMemoryInfo=lambda _card: SimpleNamespace(total=24 * GIB, used=9 * GIB),
        nvmlDeviceGetName=lambda _card: "NVIDIA GeForce RTX 4090",
        nvmlDeviceGetPowerUsage=lambda _card: 231_500,
        nvmlDeviceGetUtilizationRates=refuse,
        nvmlDeviceGetTemperature=lambda _card, _sensor: 61,
        nvmlDeviceGetComputeRunningProcesses=lambda _card: [SimpleNamespace(pid=100, usedGpuMemory=6 * GIB), game],
        nvmlDeviceGetGraphicsRunningProcesses=lambda _card: [game, SimpleNamespace(pid=8, usedGpuMemory=GIB)],
    )


@pytest.mark.parametrize(("held", "others"), [(2 * GIB, 3 * GIB), (None, None)])
def test_whose_memory_a_card_holds(monkeypatch: pytest.MonkeyPatch, held: int | None, others: int | None) -> None:
    monkeypatch.setattr("hearth_node.facts.gpus.pynvml", driver(held))
    (card,) = read_gpus(lambda pid: pid == 100)
    assert (card.memory_used, card.memory_others) == (9 * GIB, others)
    assert (card.power_watts, card.temperature_celsius, card.utilization) == (231.5, 61, None)


def test_no_driver_is_no_card() -> None:
    assert read_gpus(lambda _pid: True) == () or Path("/dev/nvidia0").exists()


def test_this_machine_tells_of_itself() -> None:
    facts = MachineReader(ours=lambda _pid: False).read()
    assert facts.cpus == os.cpu_count()
    assert facts.boot_time < facts.time
    assert MachineFacts.model_validate_json(facts.model_dump_json(by_alias=True)) == facts
