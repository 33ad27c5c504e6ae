"""A real API server with our CRDs, a fresh namespace per test, and an operator that the test starts and stops."""

import asyncio
import contextlib
import logging
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from hearth_hack.controlplane import ControlPlane, free_ports
from hearth_operator.clients.kubernetes import KubernetesClient, connect
from hearth_operator.handlers.run import run_operator
from hearth_operator.rbac import role_rules
from hearth_operator.settings import Intervals, Settings
from support.operator_outside import FakeOutside, serve_fake

ROOT = Path(__file__).parents[3]
FAST = Intervals(
    resync=3.0,
    heartbeat=0.3,
    heartbeat_timeout=2.0,
    nodes=1.0,
    loading=0.3,
    look=0.4,
    look_again=0.2,
    probe=2.0,
    catalog=0.5,
    knowledge=0.5,
    knowledge_busy=0.3,
    not_yet=1.0,
    unreachable_first=0.3,
    unreachable_most=1.0,
    re_put=0.5,
    retry_first=3.0,
    retry_most=3.0,
)


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    """What a failing test shows of the operator: what it did and what changed, without every look at every resource."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """One API server with controllers for all tests."""
    with ControlPlane(controllers=True) as plane:
        apply_crds(plane)
        yield plane


def apply_crds(plane: ControlPlane) -> None:
    """Make our kinds known."""
    files = [str(f) for f in sorted((ROOT / "crds").glob("*.yaml"))]
    kubectl(plane.kubeconfig, "apply", "--server-side", *[a for f in files for a in ("-f", f)])
    kubectl(plane.kubeconfig, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")


def kubectl(kubeconfig: Path, *args: str) -> str:
    """Run kubectl and return its output."""
    done = subprocess.run(
        ["kubectl", f"--kubeconfig={kubeconfig}", *args], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def operator_kubeconfig(plane: ControlPlane, namespace: str, folder: Path) -> Path:
    """Return a kubeconfig of an account that has exactly the rights that the operator declares."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "hearth-operator", "namespace": namespace},
        "rules": role_rules(),
    }
    file = folder / "role.yaml"
    file.write_text(yaml.safe_dump(role))
    for command in (
        ("create", "serviceaccount", "hearth-operator"),
        ("apply", "-f", str(file)),
        (
            *("create", "rolebinding", "hearth-operator", "--role=hearth-operator"),
            f"--serviceaccount={namespace}:hearth-operator",
        ),
    ):
        kubectl(plane.kubeconfig, "-n", namespace, *command)
    # Longer than any soak: in a pod the kubelet renews the token's file, here nobody does.
    make_token = ("create", "token", "hearth-operator", "--duration=12h")
    token = kubectl(plane.kubeconfig, "-n", namespace, *make_token).strip()
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass
class Stage:
    """One test's namespace, its operator and what is outside."""

    plane: ControlPlane
    namespace: str
    kube: KubernetesClient
    fake: FakeOutside
    settings: Settings
    outside: Any
    operator_config: Path
    _tasks: list[tuple[asyncio.Event, asyncio.Task[None]]] = field(default_factory=list)

    async def start(self, *, settings: Settings | None = None) -> None:
        """Start the operator and wait until it watches."""
        stop, ready = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(
            run_operator(
                settings or self.settings,
                kubeconfig=str(self.operator_config),
                outside=self.outside,
                stop=stop,
                ready=ready,
            )
        )
        self._tasks.append((stop, task))
        waiter = asyncio.create_task(ready.wait())
        await asyncio.wait({waiter, task}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        if task.done():
            task.result()
        assert ready.is_set()

    async def stop(self) -> None:
        """Stop the operator."""
        while self._tasks:
            stop, task = self._tasks.pop()
            stop.set()
            await asyncio.wait_for(task, timeout=30)

    def apply(self, *documents: dict[str, Any] | Path) -> None:
        """kubectl apply."""
        text = "\n---\n".join(
            d.read_text() if isinstance(d, Path) else yaml.safe_dump(d, sort_keys=False) for d in documents
        )
        subprocess.run(
            ["kubectl", f"--kubeconfig={self.plane.kubeconfig}", "-n", self.namespace, "apply", "-f", "-"],
            input=text,
            text=True,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def kubectl(self, *args: str) -> str:
        """Run kubectl in the namespace."""
        return kubectl(self.plane.kubeconfig, "-n", self.namespace, *args)

    async def until(self, what: Callable[[], Awaitable[Any]], *, seconds: float = 30, why: str = "") -> Any:
        """Poll until `what` returns something true; a failing operator fails the test at once."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            found = await what()
            if found:
                return found
            for _, task in self._tasks:
                if task.done():
                    task.result()
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(
                    f"not within {seconds} s: {why or what}\n{self.kubectl('get', 'hearth', '-o', 'yaml')[-6000:]}"
                )
            await asyncio.sleep(0.1)

    async def condition(self, kind: str, name: str, type_: str = "Ready") -> dict[str, Any]:
        """Return a condition, or an empty one."""
        obj = await self.kube.get(kind, name) or {}
        found = (obj.get("status") or {}).get("conditions") or []
        return next((c for c in found if c["type"] == type_), {})

    async def until_condition(
        self, kind: str, name: str, status: str, *, type_: str = "Ready", reason: str | None = None, seconds: float = 30
    ) -> dict[str, Any]:
        """Wait for a condition's status (and reason)."""

        async def look() -> dict[str, Any] | None:
            c = await self.condition(kind, name, type_)
            return c if c.get("status") == status and reason in (None, c.get("reason")) else None

        return await self.until(look, seconds=seconds, why=f"{kind} {name} {type_}={status} {reason or ''}")


@pytest.fixture
async def stage(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    """A fresh namespace, with the claim that the chart makes, and the fake outside."""
    monkeypatch.setenv("LOGNAME", os.environ.get("LOGNAME", "hearth-operator"))
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    kubectl(plane.kubeconfig, "create", "namespace", namespace)
    config = operator_kubeconfig(plane, namespace, tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(config))
    kube, api = await connect(namespace=namespace, kubeconfig=str(plane.kubeconfig))
    settings = Settings(
        namespace=namespace,
        control_image="hearth.local/hearth-control:test",
        serve_image="hearth.local/hearth-serve:test",
        http_port=free_ports(1)[0],
        intervals=FAST,
    )
    fake = FakeOutside()
    async with serve_fake(fake) as outside:
        stage = Stage(
            plane=plane,
            namespace=namespace,
            kube=kube,
            fake=fake,
            settings=settings,
            outside=outside,
            operator_config=config,
        )
        stage.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "hearth-data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }
        )
        try:
            yield stage
        finally:
            with contextlib.suppress(TimeoutError):
                await stage.stop()
            await api.close()
            await asyncio.sleep(0.3)  # aiohttp closes TLS connections in the loop's next turns
            kubectl(plane.kubeconfig, "delete", "namespace", namespace, "--wait=false")
