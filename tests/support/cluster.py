"""A running Hearth from outside: kubectl, the HTTP API, the data folder."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

NAMESPACE = "hearth"
RUN_NOW = "hearth.banjonet.com/run-now"


@dataclass(frozen=True)
class Cluster:
    url: str
    # Left out of representations: a failing test prints its fixtures.
    key: str = field(repr=False)
    data: Path
    env: dict[str, str] = field(repr=False)

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", "--namespace", NAMESPACE, *arguments],
            env={**os.environ, **self.env},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", kind, name, "-o", "json").stdout)

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        return json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json").stdout)["items"]

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects))

    @contextmanager
    def applied(self, *objects: dict[str, Any]) -> Iterator[None]:
        """Apply the objects and delete them again, whatever happens."""
        self.apply(*objects)
        try:
            yield
        finally:
            self.kubectl(
                "delete", "--ignore-not-found", "--timeout=120s", "-f", "-", stdin=yaml.safe_dump_all(objects[::-1])
            )

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        """Return the condition, or an empty mapping while there is none of the current generation."""
        item = self.get(kind, name)
        for condition in item.get("status", {}).get("conditions", []):
            if condition["type"] == type_ and condition.get("observedGeneration", 0) >= item["metadata"]["generation"]:
                return condition
        return {}

    def wait_for(self, what: str, probe: Callable[[], Any], *, seconds: float = 180, every: float = 1.0) -> Any:
        """Return the first truthy answer of `probe`; after `seconds` fail with `what` and the last answer."""
        end = time.monotonic() + seconds
        last: Any = None
        while time.monotonic() < end:
            try:
                if last := probe():
                    return last
            except (AssertionError, OSError) as failure:
                last = failure
            time.sleep(every)
        raise AssertionError(f"{what}: not within {seconds:.0f} s; last: {last!r}")

    def wait_ready(self, kind: str, name: str, *, seconds: float = 240) -> None:
        def ready() -> bool:
            condition = self.condition(kind, name, "Ready")
            if condition.get("status") == "True":
                return True
            raise AssertionError(f"{condition.get('reason')}: {condition.get('message')}")

        self.wait_for(f"{kind} {name} Ready", ready, seconds=seconds)

    def run_now(self, source: str, *, seconds: float = 240) -> dict[str, Any]:
        """Start a run of a source, wait for its report, return status.lastRun."""
        stamp = uuid.uuid4().hex[:12]
        before = self.get("ingestionsource", source).get("status", {}).get("lastRun", {}).get("job")
        self.kubectl("annotate", "ingestionsource", source, f"{RUN_NOW}={stamp}", "--overwrite")

        def reported() -> dict[str, Any] | None:
            status = self.get("ingestionsource", source).get("status", {})
            run = status.get("lastRun", {})
            if status.get("lastRunNow") == stamp and run.get("job") != before and run.get("finished"):
                return run
            return None

        return self.wait_for(f"run of {source}", reported, seconds=seconds)

    def wait_indexed(self, knowledge_base: str, *, seconds: float = 240) -> dict[str, Any]:
        """Wait until nothing is queued and the index equals the manifest; return the status."""

        def settled() -> dict[str, Any] | None:
            for entry in self.request("GET", "/v1/status")["knowledge_bases"]:
                if entry["name"] == knowledge_base and entry["consistent"] and not entry["queue"]["pending"]:
                    return entry
            return None

        return self.wait_for(f"{knowledge_base} indexed", settled, seconds=seconds)

    def request(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Return the JSON answer. Raises urllib.error.HTTPError for other than 2xx."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.key if key is None else key}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    def search(self, knowledge_base: str, query: str, **extra: Any) -> list[dict[str, Any]]:
        body = {"query": query, "knowledge_bases": [knowledge_base], **extra}
        return self.request("POST", "/v1/search", body)["results"]

    def failure(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Return (status, error object) of a call that must fail."""
        try:
            answer = self.request(method, path, body, key=key)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)["error"]
        raise AssertionError(f"{method} {path} answered {answer!r}")
