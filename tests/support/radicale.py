"""A real Radicale over TLS on an address of the machine, with one user."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.dovecot import Authority, free_port


@dataclass(frozen=True)
class Radicale:
    """Where it answers. Its calendars are folders with .ics files below `collections`."""

    url: str
    username: str
    password: str
    collections: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait(timeout=10)

    def put(self, calendar: str, name: str, ics: str) -> None:
        """Write an event as a calendar program that syncs with the server would leave it."""
        folder = self.collections / "collection-root" / self.username / calendar
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".Radicale.props").write_text(json.dumps({"tag": "VCALENDAR", "D:displayname": calendar}))
        (folder / f"{name}.ics").write_text(ics)


def start_radicale(folder: Path, *, authority: Authority, address: str = "127.0.0.1") -> Radicale:
    """Start a server and wait until it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = authority.issue("radicale", hosts=(address,))
    (folder / "users").write_text("anna:secret\n")
    port = free_port()
    options = {
        "server-hosts": f"{address}:{port}",
        "server-ssl": "true",
        "server-certificate": str(certificate),
        "server-key": str(key),
        "auth-type": "htpasswd",
        "auth-htpasswd-filename": str(folder / "users"),
        "auth-htpasswd-encryption": "plain",
        "auth-delay": "0",
        "storage-filesystem-folder": str(folder / "collections"),
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "radicale", "--config", "", *arguments], stdout=log, stderr=log
        )
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            break
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"Radicale did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.1)
    return Radicale(
        url=f"https://{address}:{port}/",
        username="anna",
        password="secret",
        collections=folder / "collections",
        process=process,
    )


@contextlib.contextmanager
def running_radicale(folder: Path, *, authority: Authority, address: str) -> Iterator[Radicale]:
    """Run a server inside the block."""
    server = start_radicale(folder, authority=authority, address=address)
    try:
        yield server
    finally:
        server.stop()
