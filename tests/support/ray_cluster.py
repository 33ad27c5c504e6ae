"""A real Ray in its own PID namespace: own ports, own folder, Serve over TLS, gone when the test ends.

`ray start --head` refuses to start where it finds another raylet with its address in /proc, and `ray stop` would end
other people's: so the head gets a PID namespace of its own (unshare), and ends with its first process.
"""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

RAY_TOKEN = "ray-token-of-this-test-0123456789abcdef"
SERVE_TOKEN = "serve-token-of-this-test-0123456789abc"
NODE = "home"
START_TIMEOUT = 120.0
DEPLOY_TIMEOUT = 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_certificate(folder: Path, *addresses: str) -> None:
    """One self-signed certificate for localhost and further addresses: its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(a)) for a in ("127.0.0.1", *addresses))]
            ),
            False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "tls.crt").write_bytes(certificate.public_bytes(pem))
    (folder / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    folder: Path
    dashboard_port: int
    serve_port: int
    address: str = "localhost"
    """Of the head, where the dashboard and a proxy answer."""

    @property
    def token_path(self) -> str:
        return str(self.folder / "token")

    def call(
        self, url: str, *, method: str = "GET", token: str | None, body: object = None, timeout: float = 60
    ) -> Answer:
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        context = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def dashboard(
        self, path: str, *, method: str = "GET", token: str | None = RAY_TOKEN, body: object = None
    ) -> Answer:
        return self.call(f"{self.dashboard_url}{path}", method=method, token=token, body=body)

    def model(self, path: str, *, method: str = "GET", token: str | None = SERVE_TOKEN, body: object = None) -> Answer:
        return self.call(f"{self.serve_url}{path}", method=method, token=token, body=body)

    @property
    def dashboard_url(self) -> str:
        host = "127.0.0.1" if self.address == "localhost" else self.address
        return f"http://{host}:{self.dashboard_port}"

    @property
    def serve_url(self) -> str:
        return f"https://{self.address}:{self.serve_port}"

    def put(self, *applications: Mapping[str, Any]) -> None:
        """Declare the whole truth, as the operator does."""
        config = {
            "proxy_location": "HeadOnly",
            "http_options": {
                "host": "127.0.0.1",
                "port": self.serve_port,
                "ssl_certfile": str(self.folder / "tls.crt"),
                "ssl_keyfile": str(self.folder / "tls.key"),
            },
            "applications": list(applications),
        }
        answer = self.dashboard("/api/serve/applications/", method="PUT", body=config)
        assert answer.status == 200, answer.raw

    def application(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.dashboard("/api/serve/applications/").json["applications"].get(name, {})
        return found

    def wait_for(self, name: str, *statuses: str, timeout: float = DEPLOY_TIMEOUT) -> dict[str, Any]:
        """Poll Ray's own status, as the operator does, until the application has one of `statuses`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            app = self.application(name)
            if app.get("status") in statuses:
                return app
            time.sleep(0.3)
        raise TimeoutError(f"{name} did not become {statuses}: {app}")

    def wait_gone(self, name: str, *, timeout: float = DEPLOY_TIMEOUT) -> None:
        end = time.monotonic() + timeout
        while self.application(name):
            assert time.monotonic() < end, f"{name} is still there"
            time.sleep(0.3)


def application(
    cluster: RayCluster, name: str, *, user_config: Mapping[str, Any] | None = None, **args: Any
) -> dict[str, Any]:
    """One application as the operator writes it."""
    model, _, variant = name.partition(".")
    given = {"modelId": model, "node": NODE, "tokenPath": cluster.token_path, "numCpus": 0.5, **args}
    deployment: dict[str, Any] = {
        "name": "Model",
        "num_replicas": 1,
        "max_ongoing_requests": given.get("concurrency", 1) + given.get("maxWaiting", 8) + 16,
        "ray_actor_options": {"num_cpus": given["numCpus"], "label_selector": {"hearth-node": given["node"]}},
    }
    if user_config is not None:
        deployment["user_config"] = dict(user_config)
    return {
        "name": name,
        "route_prefix": f"/{model}/{variant}",
        "import_path": "hearth_serve.app:build",
        "args": given,
        "deployments": [deployment],
    }


def ray_environment(folder: Path) -> dict[str, str]:
    """Return what Ray's processes are started with: the token's file, and no proxy."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "ray-token"),
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(64 * 2**20),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@contextmanager
def running_ray(folder: Path, **variables: str) -> Iterator[RayCluster]:
    """Start a head with the operator's flags; end every one of its processes afterwards. They have `variables` too."""
    write_certificate(folder)
    (folder / "token").write_text(SERVE_TOKEN)
    (folder / "ray-token").write_text(RAY_TOKEN)
    cluster = RayCluster(folder=folder, dashboard_port=free_port(), serve_port=free_port())
    ray = shutil.which("ray", path=str(Path(sys.executable).parent))
    assert ray is not None
    command = [
        *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
        *(ray, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={free_port()}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={cluster.dashboard_port}", f"--temp-dir={folder}/ray"),
        *("--object-store-memory=80000000", "--num-cpus=4", f"--labels=hearth-node={NODE}"),
        *(f"--dashboard-agent-listen-port={free_port()}", "--disable-usage-stats"),
    ]
    environment = ray_environment(folder) | variables
    with (folder / "ray.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        try:
            wait_for_head(cluster, process)
            yield cluster
        finally:
            process.send_signal(signal.SIGKILL)  # unshare's child is the namespace's first process: all end with it
            process.wait(timeout=30)


def wait_for_head(cluster: RayCluster, process: "subprocess.Popen[bytes]") -> None:
    """Return once the dashboard answers; fail with Ray's log when it ends first."""
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        assert process.poll() is None, (cluster.folder / "ray.log").read_text()
        try:
            if cluster.dashboard("/api/gcs_healthz", token=None).status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError((cluster.folder / "ray.log").read_text())
