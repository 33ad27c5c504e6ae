"""The API server over HTTPS, without a client library between a test and its answers."""

import http.client
import json
import ssl
import tempfile
import time
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

from hearth_api.kinds import KINDS
from hearth_api.names import API_VERSION

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STRICT = "fieldValidation=Strict"


@dataclass(frozen=True)
class Answer:
    code: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.code in {200, 201}

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


def _material(entry: dict[str, Any], key: str, folder: Path) -> str:
    if key in entry:
        return str(entry[key])
    path = folder / key
    path.write_bytes(b64decode(entry[f"{key}-data"]))
    return str(path)


class ApiServer:
    """One kept connection as the administrator of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        with tempfile.TemporaryDirectory() as folder:
            context = ssl.create_default_context(cafile=_material(cluster, "certificate-authority", Path(folder)))
            context.load_cert_chain(
                _material(user, "client-certificate", Path(folder)), _material(user, "client-key", Path(folder))
            )
        url = urlsplit(cluster["server"])
        self._connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, media: str = "application/json"
    ) -> Answer:
        """Send one request; JSON is YAML, so apply patches travel as JSON too."""
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, {"Content-Type": media, "Accept": "application/json"})
        response = self._connection.getresponse()
        return Answer(code=response.status, body=json.loads(response.read()))

    def create_crd(self, crd: dict[str, Any]) -> Answer:
        return self.request("POST", f"{CRDS}?{STRICT}", crd)

    def create(self, obj: dict[str, Any], *, dry_run: bool = False) -> Answer:
        return self.request("POST", f"{collection(obj['kind'])}?{STRICT}{_dry(dry_run)}", obj)

    def apply(self, obj: dict[str, Any]) -> Answer:
        path = f"{collection(obj['kind'])}/{obj['metadata']['name']}?fieldManager=test&force=true&{STRICT}"
        return self.request("PATCH", path, obj, media="application/apply-patch+yaml")

    def get(self, kind: str, name: str) -> Answer:
        return self.request("GET", f"{collection(kind)}/{name}")

    def replace(self, obj: dict[str, Any], *, status: bool = False, dry_run: bool = True) -> Answer:
        path = f"{collection(obj['kind'])}/{obj['metadata']['name']}{'/status' if status else ''}"
        return self.request("PUT", f"{path}?{STRICT}{_dry(dry_run)}", obj)

    def delete(self, kind: str, name: str) -> Answer:
        return self.request("DELETE", f"{collection(kind)}/{name}")


def _dry(dry_run: bool) -> str:
    return "&dryRun=All" if dry_run else ""


def collection(kind: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/default/{KINDS[kind].info.plural}"


def wait_established(server: ApiServer, *, count: int, seconds: float = 60) -> None:
    """Wait until so many CRDs are established and their resources answer.

    The server publishes a CRD's resource in the background and tells nobody: until then even a watch answers 404.
    """
    deadline = time.monotonic() + seconds
    while True:
        crds = server.request("GET", CRDS).body["items"]
        conditions = [{c["type"]: c["status"] for c in (crd.get("status", {}).get("conditions") or ())} for crd in crds]
        established = sum(c.get("Established") == "True" for c in conditions)
        if established == count and all(server.request("GET", collection(kind)).ok for kind in KINDS):
            return
        assert time.monotonic() < deadline, f"{established} of {count} CRDs were established in {seconds} s"
        time.sleep(0.05)
