"""Another machine on this one: its own network, processes and files, on a cable that can be pulled.

Its root is an overlay on ours: what it changed, and nothing else, lies in the upper folder. No systemd runs there.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_NET = f"198.18.{os.getpid() % 256}"  # for benchmarks: nobody's, and another one for each run
HOST, ADDRESS = f"{_NET}.1", f"{_NET}.2"
_SCRIPT = """set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
for part in dev sys; do mount --rbind "/$part" "$0/root/$part"; done
mount -t proc proc "$0/root/proc"
mount -t tmpfs tmpfs "$0/root/tmp"
mount -t tmpfs tmpfs "$0/root/run"
for shared; do
  [ -e "$0/root$shared" ] || { mkdir -p "$0/root$shared" && mount --bind "$shared" "$0/root$shared"; }
done
ip link set lo up
touch "$0/up"
exec chroot "$0/root" sleep infinity
"""


@dataclass(frozen=True, slots=True)
class OtherMachine:
    """A machine that runs."""

    folder: Path
    pid: int
    cable: str

    def command(self, *command: str) -> list[str]:
        spaces = ("--net", "--mount", "--pid", "--root", "--wd")
        return ["nsenter", f"--target={self.pid}", *spaces, *command]

    def run(self, *command: str, env: Mapping[str, str] | None = None, timeout: float = 300, ok: bool = True) -> str:
        """Run to the end there; return what it printed, errors too."""
        given = {**_environment(), **(env or {})}
        done = subprocess.run(
            self.command(*command),
            env=given,
            timeout=timeout,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode == 0) == ok, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-4000:]}"
        return done.stdout

    @contextmanager
    def running(self, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run in the background there."""
        with (self.folder / "run.log").open("ab") as log:
            process = subprocess.Popen(self.command(*command), env=_environment(), stdout=log, stderr=log)
            try:
                yield process
            finally:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=60)

    def pull_cable(self) -> None:
        _ip("link", "set", self.cable, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self.cable, "up")

    def changed(self) -> set[str]:
        """Return the files that are other than before. The backups that useradd itself keeps do not count."""
        upper = self.folder / "upper"
        files = (p for p in upper.rglob("*") if not p.is_dir() or p.is_symlink())
        return {
            name for p in files if (name := str(p.relative_to(upper))) not in _BACKUPS and not _same(p, Path("/", name))
        }

    def processes(self) -> set[str]:
        """Return the command lines of what runs there, but for its first process."""
        own = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != self.pid and Path(f"/proc/{process.pid}/ns/pid").readlink() == own:
                    found.add(" ".join(process.cmdline()))
        return found


_BACKUPS = {"etc/.pwd.lock", *(f"etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid"))}


def _same(one: Path, other: Path) -> bool:
    """Whether a file was written again with what it held before."""
    if not (one.is_file() and other.is_file()) or one.is_symlink() or other.is_symlink():
        return False
    return one.read_bytes() == other.read_bytes() and one.stat().st_mode == other.stat().st_mode


def _shared() -> tuple[Path, ...]:
    """Return what the machine has of this one, also where it lies below /tmp: the checkout and the caches."""
    caches = Path(os.environ.get("HOME", "/root")) / ".cache"
    return (
        Path(__file__).resolve().parents[2],
        Path(os.environ.get("HEARTH_CACHE", caches / "hearth")),
        Path(os.environ.get("UV_CACHE_DIR", caches / "uv")),
    )


def _environment() -> dict[str, str]:
    home = os.environ.get("HOME", "/root")
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "LANG": "C.UTF-8"}


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10)


@contextmanager
def other_machine(folder: Path) -> Iterator[OtherMachine]:
    """Start a machine; end every process of it afterwards."""
    for part in ("upper", "work", "root"):
        (folder / part).mkdir(parents=True)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _SCRIPT, str(folder)]
    command += [str(path) for path in _shared() if path.exists()]
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + 20
        while not (folder / "up").exists():
            assert process.poll() is None, "no namespaces: is this root?"
            assert time.monotonic() < end, "the machine does not start"
            time.sleep(0.05)
        (child,) = psutil.Process(process.pid).children()
        cable = f"hn{os.getpid() % 1_000_000}"
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(child.pid))
        _ip("addr", "add", f"{HOST}/30", "dev", cable)
        _ip("link", "set", cable, "up")
        # While the cable is out nobody else is asked for the machine.
        _ip("route", "add", "unreachable", f"{_NET}.0/24")
        machine = OtherMachine(folder=folder, pid=child.pid, cable=cable)
        machine.run("ip", "addr", "add", f"{ADDRESS}/30", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        machine.run("ip", "route", "add", "default", "via", HOST)
        yield machine
    finally:
        subprocess.run(["ip", "route", "del", "unreachable", f"{_NET}.0/24"], check=False, capture_output=True)
        process.send_signal(signal.SIGKILL)  # unshare ends its child, and with it the cable
        process.wait(timeout=30)
