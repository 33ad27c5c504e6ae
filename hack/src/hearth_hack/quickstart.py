"""The sample: its files in HEARTH_DATA, its resources, its first ingestion, its three questions."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hearth_hack.kube import Kube, Object
from hearth_hack.paths import Paths
from hearth_hack.release import NAMESPACE, NAMESPACE_PATH
from hearth_hack.steps import Say
from hearth_hack.waiting import Target, missing_targets, wait_for

API = f"/apis/hearth.banjonet.com/v1alpha1/namespaces/{NAMESPACE}"
PLURALS = {
    "InferenceNode": "inferencenodes",
    "ModelDeployment": "modeldeployments",
    "KnowledgeBase": "knowledgebases",
    "IngestionSource": "ingestionsources",
}
MODEL = "chat@work"
READY_SECONDS = 420.0
INDEX_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway said: `citations` are (title, where) pairs."""

    question: str
    text: str
    citations: tuple[tuple[str, str], ...]
    seconds: float


class AskError(RuntimeError):
    """The gateway refused a question; the message holds its words."""


def quickstart_objects(folder: Path) -> list[Object]:
    """The resources in the order of their files."""
    found: list[Object] = []
    for file in sorted(folder.glob("*.yaml")):
        found.extend(each for each in yaml.safe_load_all(file.read_text()) if each)
    return found


def path_of(resource: Object) -> str:
    """Return a resource's path at the API server."""
    return f"{API}/{PLURALS[resource['kind']]}/{resource['metadata']['name']}"


def targets_of(resources: list[Object]) -> list[Target]:
    """Return what must become Ready."""
    return [Target(kind=each["kind"], name=each["metadata"]["name"], path=path_of(each)) for each in resources]


def apply_quickstart(kube: Kube, *, paths: Paths) -> list[Target]:
    """Applies them as `kubectl apply --server-side` would."""
    resources = quickstart_objects(paths.repo / "crds" / "examples" / "quickstart")
    for each in resources:
        kube.apply(path_of(each), {**each, "metadata": {**each["metadata"], "namespace": NAMESPACE}})
    return targets_of(resources)


def wait_ready(kube: Kube, targets: list[Target], *, kinds: tuple[str, ...], say: Say) -> None:
    """Raises NotReadyError."""
    chosen = [target for target in targets if target.kind in kinds]
    wait_for(lambda: missing_targets(kube, chosen), seconds=READY_SECONDS, say=say)


def describe_ingestion(source: Object | None) -> str | None:
    """None when a run has ended; runs that failed are told apart by the source's own Ready condition."""
    if source is None:
        return "does not exist"
    status = source.get("status", {})
    if status.get("lastRun") is None:
        job = status.get("activeJob")
        return f"job {job} reads it" if job else "waits for its first run"
    return None


def describe_index(base: Object | None) -> str | None:
    """None when every document that was handed over is searchable."""
    status = (base or {}).get("status", {})
    if not status.get("documents"):
        return "no documents yet"
    if status.get("pending") is None or status["pending"] > 0:
        return f"{status.get('pending', '?')} documents wait to be indexed"
    return None


def wait_ingested(kube: Kube, targets: list[Target], *, say: Say) -> None:
    """Until every source has a report and every knowledge base an index. Raises NotReadyError."""

    def missing() -> list[str]:
        found = []
        for target in targets:
            if target.kind == "IngestionSource" and (reason := describe_ingestion(kube.get(target.path))):
                found.append(f"{target.kind}/{target.name}: {reason}")
            if target.kind == "KnowledgeBase" and (reason := describe_index(kube.get(target.path))):
                found.append(f"{target.kind}/{target.name}: {reason}")
        return found

    wait_for(missing, seconds=INDEX_SECONDS, say=say)


def read_api_key(kube: Kube, *, file: Path) -> str:
    """From Secret hearth-admin-key; where its reader deleted it, from the environment file of an earlier run."""
    secret = kube.get(f"{NAMESPACE_PATH}/secrets/hearth-admin-key")
    if secret is not None:
        return base64.b64decode(secret["data"]["key"]).decode().strip()
    lines = file.read_text().splitlines() if file.exists() else []
    for line in lines:
        if line.startswith("export HEARTH_API_KEY="):
            return line.partition("=")[2].strip("'\"")
    raise AskError(f"there is no Secret hearth-admin-key, and no key in {file}")


def sample_questions(paths: Paths) -> list[str]:
    """Those that the sample marks for showing."""
    questions = json.loads((paths.repo / "tests" / "data" / "work-month" / "questions.json").read_text())
    return [str(each["question"]) for each in questions if each.get("show")]


def parse_answer(question: str, answer: dict[str, Any], *, seconds: float) -> Answer:
    """OpenAI's chat completion with `url_citation` annotations."""
    message = answer["choices"][0]["message"]
    citations = []
    for annotation in message.get("annotations") or []:
        cited = annotation.get("url_citation", {})
        citations.append((str(cited.get("title", "")), str(cited.get("url", ""))))
    unique = tuple(dict.fromkeys(citations))
    return Answer(question=question, text=str(message["content"]).strip(), citations=unique, seconds=seconds)


def describe_service(*, url: str, api_key: str) -> str | None:
    """None when a question is answered; statuses of resources lag behind for seconds after a restart."""
    try:
        ask("Hello?", url=url, api_key=api_key, max_tokens=1)
    except AskError as error:
        return f"the gateway does not answer yet: {error}"
    return None


def ask(question: str, *, url: str, api_key: str, max_tokens: int = 120, timeout: float = 120.0) -> Answer:
    """One question to the knowledge base through the OpenAI-compatible endpoint. Raises AskError."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": question}],
        # The packaged model is tiny: left alone it says a good sentence over and over.
        "max_tokens": max_tokens,
        "stop": ["\n"],
    }
    request = urllib.request.Request(  # noqa: S310 - our own address
        f"{url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    began = time.monotonic()
    try:
        with opener.open(request, timeout=timeout) as reply:
            return parse_answer(question, json.load(reply), seconds=time.monotonic() - began)
    except urllib.error.HTTPError as error:
        raise AskError(f"{error.code}: {error.read().decode(errors='replace')[:300]}") from error
    except OSError as error:
        raise AskError(f"{url} does not answer: {error}") from error
