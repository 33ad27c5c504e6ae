"""Names that several parts of Hearth derive from a resource's name, and the constants they share."""

from typing import Final

GROUP: Final = "hearth.banjonet.com"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "hearth.banjonet.com/v1alpha1"

FIELD_MANAGER = "hearth-operator"
FINALIZER = f"{GROUP}/finalizer"
LABEL_KIND = f"{GROUP}/kind"
LABEL_NAME = f"{GROUP}/name"
ANNOTATION_RUN_NOW = f"{GROUP}/run-now"
"""Any new value starts one run of an IngestionSource."""
ANNOTATION_RESTART = f"{GROUP}/restart"
"""Any new value replaces the replicas of a ModelDeployment, or the pod of a managed InferenceNode, once."""
ANNOTATION_WAKE = f"{GROUP}/wake"
"""Any new value wakes the machine of an InferenceNode with `spec.wake` once."""
ANNOTATION_SPEC_HASH = f"{GROUP}/spec-hash"
RAY_NODE_LABEL = "hearth-node"
"""Ray node label that pins an application to one InferenceNode."""

AUDIENCE_KNOWLEDGE = "hearth-knowledge"
AUDIENCE_GATEWAY = "hearth-gateway"
AUDIENCE_EGRESS = "hearth-egress"
TOKEN_MOUNT = "/var/run/secrets/hearth"

DATA_CLAIM = "hearth-data"
SECRET_ADMIN_KEY = "hearth-admin-key"
SECRET_API_KEYS = "hearth-api-keys"
SECRET_KEK = "hearth-kek"
SECRET_CA = "hearth-ca"
"""The authority that signs the certificates of joined machines: `ca.crt`, `ca.key`. The operator's alone."""
SECRET_STORES = "hearth-stores"
"""One entry per knowledge base whose vector store asks for them: JSON with username and password."""

_WEIGHTS = "_weights"
"""In the place of a model's name: no resource can be called so."""

MAX_NAME_LENGTH = 38
"""Longest name of a resource: a CronJob's name may have 52 characters and `hearth-ingest-` takes 14 of them."""


def node_name(node: str) -> str:
    """Return the name of a managed node's Deployment, Service and claim."""
    return f"hearth-node-{node}"


def ray_secret_name(node: str) -> str:
    """Return the name of the Secret with Ray's own token (key `token`)."""
    return f"hearth-ray-{node}"


def serve_secret_name(node: str) -> str:
    """Return the name of the Secret with the Serve port's token and certificate (`token`, `ca.crt`, `tls.*`)."""
    return f"hearth-serve-{node}"


def ingest_name(source: str) -> str:
    """Return the name of a source's ServiceAccount, ConfigMap and CronJob."""
    return f"hearth-ingest-{source}"


def app_name(model: str, variant: str) -> str:
    """Return the name of a variant's Serve application."""
    return f"{model}.{variant}"


def route_prefix(model: str, variant: str) -> str:
    """Return the path under which a variant's Serve application answers."""
    return f"/{model}/{variant}"


def weights_app_name(node: str) -> str:
    """Return the name of the Serve application that brings weights to a node. No model can have it."""
    return f"{_WEIGHTS}.{node}"


def weights_prefix(node: str) -> str:
    """Return the path under which it answers."""
    return f"/{_WEIGHTS}/{node}"


def token_path(audience: str) -> str:
    """Return where a pod finds its projected token for an audience."""
    return f"{TOKEN_MOUNT}/{audience}/token"
