"""Names, labels and paths that several layers must agree on."""

import hashlib

from hearth_api.names import (
    ANNOTATION_RESTART,
    ANNOTATION_RUN_NOW,
    ANNOTATION_WAKE,
    API_VERSION,
    AUDIENCE_EGRESS,
    AUDIENCE_KNOWLEDGE,
    FIELD_MANAGER,
    GROUP,
    LABEL_KIND,
    LABEL_NAME,
    RAY_NODE_LABEL,
    SECRET_ADMIN_KEY,
    SECRET_API_KEYS,
    SECRET_CA,
    SECRET_KEK,
    SECRET_STORES,
    TOKEN_MOUNT,
    VERSION,
    app_name,
    ingest_name,
    node_name,
    ray_secret_name,
    route_prefix,
    serve_secret_name,
    weights_app_name,
    weights_prefix,
)

__all__ = [
    "ANNOTATION_RESTART",
    "ANNOTATION_RUN_NOW",
    "ANNOTATION_WAKE",
    "API_VERSION",
    "AUDIENCE_EGRESS",
    "AUDIENCE_KNOWLEDGE",
    "FIELD_MANAGER",
    "GROUP",
    "LABEL_KIND",
    "LABEL_NAME",
    "RAY_NODE_LABEL",
    "SECRET_ADMIN_KEY",
    "SECRET_API_KEYS",
    "SECRET_CA",
    "SECRET_KEK",
    "SECRET_STORES",
    "TOKEN_MOUNT",
    "VERSION",
    "app_name",
    "ingest_name",
    "node_name",
    "ray_secret_name",
    "route_prefix",
    "serve_secret_name",
    "weights_app_name",
    "weights_prefix",
]

NODE = "InferenceNode"
MODEL = "ModelDeployment"
KNOWLEDGE_BASE = "KnowledgeBase"
SOURCE = "IngestionSource"
KINDS = (NODE, MODEL, KNOWLEDGE_BASE, SOURCE)

RUN_LABEL = f"{GROUP}/run"
EGRESS_LABEL = f"{GROUP}/egress"
"""On pods of live accounts: the NetworkPolicies let them, and only them, to the proxy."""
SERVE_FINALIZER = f"{GROUP}/serve"
KNOWLEDGE_FINALIZER = f"{GROUP}/knowledge"

RAY_PORT = 8265
SERVE_PORT = 8000
IMPORT_PATH = "hearth_serve.app:build"
SERVE_DEPLOYMENT = "Model"
SERVE_SECRET_DIR = f"{TOKEN_MOUNT}/serve"
RAY_SECRET_DIR = f"{TOKEN_MOUNT}/ray"
UID = 10001

STATE_CONFIG_MAP = "hearth-operator-state"
OWNER_ENTRY = "owner"
"""Entry of STATE_CONFIG_MAP: the mark on what this release writes to Ray."""
ANNOTATION_TAKE_OVER = f"{GROUP}/take-over"
"""On an InferenceNode: the mark of another operator whose applications on its Ray are to become ours."""
SECRET_MIRROR = "hearth-mirror"
"""Certificate and orders of the mirror of weights."""
MIRROR_SERVICE = "hearth-mirror"
GATEWAY_ROLE = "hearth-gateway-nodes"
GATEWAY_ACCOUNT = "hearth-gateway"


def rollout_name(model: str) -> str:
    """Return the name of the ConfigMap with what served last of a ModelDeployment."""
    return f"hearth-rollout-{model}"


def milvus_name(kb: str) -> str:
    """Return the name of a knowledge base's own Milvus: Deployment, Service, claim and Secret."""
    return f"hearth-milvus-{kb}"


def short_hash(text: str) -> str:
    """Return eight hex characters that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def labels(kind: str, name: str, *, component: str) -> dict[str, str]:
    """Return the labels of every object that the operator makes for a resource."""
    return {
        "app.kubernetes.io/name": "hearth",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "hearth-operator",
        LABEL_KIND: kind,
        LABEL_NAME: name,
    }
