"""A real API server for tests: etcd and kube-apiserver on free loopback ports, in a folder that is thrown away.

    with ControlPlane() as plane:
        plane.kubeconfig   # Path of an administrator's kubeconfig

No kubelet: pods stay Pending. `controllers=True` adds the controller manager (service accounts, garbage collection,
namespace deletion, Jobs and Deployments up to their pods).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from hearth_hack.apiserver import (
    ADMIN,
    CONTROLLER_MANAGER,
    KUBELET_CLIENT,
    ControlPlaneAddresses,
    apiserver_command,
    client_context,
    controller_manager_command,
    etcd_command,
    etcd_subject,
    http_probe,
    self_signed_context,
    server_subject,
)
from hearth_hack.audit import audit_flags
from hearth_hack.binaries import ensure_binaries
from hearth_hack.certs import Authority, ensure_authority, write_kubeconfig
from hearth_hack.paths import Paths
from hearth_hack.processes import Daemon, ProcessRecord, is_alive, reap, start_daemon, stop_process, wait_ready

READY_SECONDS = 90.0


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago; all are held open until the last is found, so they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class ControlPlane:
    """Context manager: started on enter (3-4 s once the binaries are built), stopped and deleted on exit.

    Raises DaemonError when a daemon does not start, CommandError when its binary cannot be built.
    """

    def __init__(
        self, *, controllers: bool = False, apiserver_args: tuple[str, ...] = (), paths: Paths | None = None
    ) -> None:
        self._controllers = controllers
        self._extra = apiserver_args
        self._paths = paths
        self._records: list[ProcessRecord] = []
        self._daemons: dict[str, Daemon] = {}
        self.directory = Path()
        self.kubeconfig = Path()
        self.url = ""

    def __enter__(self) -> Self:
        binaries = ensure_binaries(["kubernetes", "etcd"], paths=self._paths)
        self.directory = Path(tempfile.mkdtemp(prefix="hearth-plane-"))
        port, etcd_client, etcd_peer, manager_port = free_ports(4)
        addresses = ControlPlaneAddresses(host="127.0.0.1", port=port, etcd_client=etcd_client, etcd_peer=etcd_peer)
        subjects = [ADMIN, CONTROLLER_MANAGER, KUBELET_CLIENT, etcd_subject(), server_subject()]
        authority = ensure_authority(self.directory / "pki", subjects=subjects, now=dt.datetime.now(dt.UTC))
        self.url = addresses.url
        self.kubeconfig = self.directory / "kubeconfig"
        write_kubeconfig(self.kubeconfig, authority=authority, user=ADMIN.file, server=addresses.url)
        daemons = self._make_daemons(
            binaries.directory, addresses=addresses, authority=authority, manager_port=manager_port
        )
        try:
            for daemon in daemons:
                self._daemons[daemon.name] = daemon
                self.start(daemon.name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def audit_log(self) -> Path:
        """Return the audit log of service accounts."""
        return self.directory / "audit" / "audit.log"

    def start(self, name: str) -> None:
        """Start one daemon as it was started before, on its port and data, and wait until it is ready."""
        record = start_daemon(self._daemons[name])
        self._records = [*(known for known in self._records if known.name != name), record]
        wait_ready(self._daemons[name], record, seconds=READY_SECONDS)

    def signal(self, name: str, sign: signal.Signals) -> None:
        """Send a signal to one daemon. A kill returns when the daemon is gone."""
        (record,) = (known for known in self._records if known.name == name)
        os.kill(record.pid, sign)
        while sign == signal.SIGKILL and is_alive(record):
            reap(record.pid)
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the daemons, the youngest first, and deletes their folder."""
        while self._records:
            stop_process(self._records.pop(), seconds=5)
        if self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)

    def _make_daemons(
        self, binaries: Path, *, addresses: ControlPlaneAddresses, authority: Authority, manager_port: int
    ) -> list[Daemon]:
        directory = self.directory
        daemons = [
            Daemon(
                name="etcd",
                command=etcd_command(
                    binaries / "etcd", addresses=addresses, authority=authority, data=directory / "etcd"
                ),
                log=directory / "etcd.log",
                ready=lambda: http_probe(
                    f"{addresses.etcd_url}/readyz", context=lambda: client_context(authority, user="etcd")
                ),
            ),
            Daemon(
                name="kube-apiserver",
                command=apiserver_command(
                    binaries / "kube-apiserver",
                    addresses=addresses,
                    authority=authority,
                    config=directory / "config",
                    # Leases and endpoints of a control plane that lives for seconds only make noise.
                    extra=(
                        "--endpoint-reconciler-type=none",
                        *(() if self._controllers else ("--disable-admission-plugins=ServiceAccount",)),
                        *audit_flags(config=directory / "config", log=self.audit_log),
                        *self._extra,
                    ),
                ),
                log=directory / "kube-apiserver.log",
                ready=lambda: http_probe(f"{addresses.url}/readyz", context=lambda: client_context(authority)),
            ),
        ]
        if self._controllers:
            config = directory / "controller-manager.kubeconfig"
            write_kubeconfig(config, authority=authority, user=CONTROLLER_MANAGER.file, server=addresses.url)
            command = controller_manager_command(
                binaries / "kube-controller-manager", kubeconfig=config, authority=authority, port=manager_port
            )
            probe = f"https://127.0.0.1:{manager_port}/healthz"
            daemons.append(
                Daemon(
                    name="kube-controller-manager",
                    command=command,
                    log=directory / "kube-controller-manager.log",
                    ready=lambda: http_probe(probe, context=self_signed_context),
                )
            )
        return daemons
