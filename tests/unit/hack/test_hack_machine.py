import os
import shlex
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from hearth_hack.cgroups import ensure_groups, hierarchies, missing_controllers
from hearth_hack.envfile import environment_text
from hearth_hack.machine import Machine, add_daemon, read_machine, write_machine
from hearth_hack.mounts import mounts_below
from hearth_hack.network import ClusterNetwork
from hearth_hack.paths import cache_root
from hearth_hack.processes import ProcessRecord, boot_id, start_time

MOUNTS = """22 1 0:1 / / rw - ext4 /dev/vda rw
30 22 0:2 / /run/hearth/containerd/sandbox rw - overlay overlay rw
31 22 0:2 / /run/hearth/containerd/sandbox/shm rw - tmpfs tmpfs rw
32 22 0:2 / /run/hearthstone rw - tmpfs tmpfs rw
33 22 0:2 / /var/lib/hearth/a\\040b rw - tmpfs tmpfs rw
"""


def own_record(name="etcd"):
    return ProcessRecord(name=name, pid=os.getpid(), started=start_time(os.getpid()) or 0, boot=boot_id())


def machine(checkout, *daemons):
    return Machine(
        checkout=str(checkout),
        containerd_root="/cache/containerd",
        network=ClusterNetwork(whole=IPv4Network("10.213.0.0/16")),
        sysctls=(("net/ipv4/ip_forward", "0"),),
        daemons=daemons,
        binaries="/cache/bin/all-1",
    )


def test_the_record_survives_its_file(tmp_path):
    file = tmp_path / "run" / "cluster.json"
    assert read_machine(file) is None
    write_machine(machine("/a", own_record()), file=file)
    assert read_machine(file) == machine("/a", own_record())


def test_a_restarted_daemon_replaces_its_record(tmp_path):
    file = tmp_path / "cluster.json"
    write_machine(machine("/a", own_record(), own_record("kubelet")), file=file)
    newer = ProcessRecord(name="etcd", pid=1, started=2, boot="b")
    add_daemon(newer, file=file)
    found = read_machine(file)
    assert found is not None
    assert found.daemons == (own_record("kubelet"), newer)


def test_a_cluster_belongs_to_another_only_while_it_lives_and_its_checkout_exists(tmp_path):
    (tmp_path / "hack").mkdir()
    (tmp_path / "hack" / "down").touch()
    dead = ProcessRecord(name="etcd", pid=os.getpid(), started=1, boot=boot_id())
    assert machine(tmp_path, own_record()).belongs_to_another("/mine")
    assert not machine(tmp_path, own_record()).belongs_to_another(str(tmp_path))
    assert not machine(tmp_path, dead).belongs_to_another("/mine")
    assert not machine(tmp_path / "deleted", own_record()).belongs_to_another("/mine")


def test_mounts_below_a_folder_come_youngest_first():
    folders = (Path("/run/hearth"), Path("/var/lib/hearth"))
    assert mounts_below(folders, mountinfo=MOUNTS) == [
        "/var/lib/hearth/a b",
        "/run/hearth/containerd/sandbox/shm",
        "/run/hearth/containerd/sandbox",
    ]


def test_groups_of_version_one_have_one_hierarchy_per_controller(tmp_path):
    for name in ("cpu", "memory", "pids"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "alias").symlink_to("cpu")
    assert [folder.name for folder in hierarchies(tmp_path)] == ["cpu", "memory", "pids"]
    assert missing_controllers(tmp_path) == []
    ensure_groups(tmp_path)
    assert (tmp_path / "pids" / "hearth" / "daemons").is_dir()


def test_groups_of_version_two_have_one_hierarchy(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io pids\n")
    assert hierarchies(tmp_path) == [tmp_path]
    assert missing_controllers(tmp_path) == ["memory"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HEARTH_CACHE": "/big", "XDG_CACHE_HOME": "/x", "HOME": "/root"}, "/big"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/root"}, "/x/hearth"),
        ({"HOME": "/home/anna"}, "/home/anna/.cache/hearth"),
    ],
)
def test_the_cache_is_where_the_user_wants_it(environ, expected):
    assert cache_root(environ) == Path(expected)


def test_a_shell_reads_back_the_environment_file():
    text = environment_text(
        url="http://10.213.255.1:30080",
        api_key="hearth_a_b$c",
        kubeconfig=Path("/home/o'neil/kubeconfig"),
        data=Path("/data folder"),
        bin_folder=Path("/x/bin"),
    )
    script = text + 'printf "%s\\n" "$HEARTH_URL" "$HEARTH_API_KEY" "$KUBECONFIG" "$HEARTH_DATA" "${PATH%%:*}"'
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == [
        "http://10.213.255.1:30080",
        "hearth_a_b$c",
        "/home/o'neil/kubeconfig",
        "/data folder",
        "/x/bin",
    ]
    assert shlex.split(text.splitlines()[1]) == ["export", "HEARTH_URL=http://10.213.255.1:30080"]
