"""A Milvus of its own for one knowledge base: standalone, embedded etcd, local files, authentication on.

Not run by our tests: they have no such image. Checked are the objects, against the API server's schemas and the Pod
Security level `restricted`.
"""

from dataclasses import dataclass

from hearth_api.kinds import KnowledgeBase
from hearth_api.kinds.knowledge import ManagedStore
from hearth_operator import names
from hearth_operator.manifests.base import TMP, Manifest, container_security, metadata, owner_reference, pod_security
from hearth_operator.settings import Settings

PORT = 19530
HEALTH_PORT = 9091
DATA = "/var/lib/milvus"
PASSWORD_KEY = "root-password"
USER = "root"


@dataclass(frozen=True, slots=True)
class MilvusObjects:
    """In the order of applying. The Secret with the password is made before, once."""

    claim: Manifest
    service: Manifest
    deployment: Manifest

    def all(self) -> tuple[Manifest, ...]:
        """Return all three."""
        return (self.claim, self.service, self.deployment)


def milvus_uri(kb: str) -> str:
    """Return where the knowledge service reaches it."""
    return f"http://{names.milvus_name(kb)}:{PORT}"


def build_milvus(kb: KnowledgeBase, *, settings: Settings) -> MilvusObjects:
    """Return the objects of a knowledge base with a managed store."""
    name = kb.metadata.name
    store = kb.spec.store.managed or ManagedStore()
    labels = names.labels(names.KNOWLEDGE_BASE, name, component="store")
    owner = owner_reference(names.KNOWLEDGE_BASE, name, uid=kb.metadata.uid or "")
    called = names.milvus_name(name)
    owned = metadata(called, namespace=settings.namespace, labels=labels, owner=owner)
    # Neither the files nor the password that they were made with go with the resource.
    kept = metadata(called, namespace=settings.namespace, labels=labels)
    return MilvusObjects(
        claim=_claim(store, kept, settings=settings),
        service={
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": owned,
            "spec": {
                "selector": _selector(name),
                "ports": [{"name": "milvus", "port": PORT, "targetPort": "milvus", "protocol": "TCP"}],
            },
        },
        deployment={
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": owned,
            "spec": {
                "replicas": 1,
                # One owner of the files.
                "strategy": {"type": "Recreate"},
                "revisionHistoryLimit": 2,
                "selector": {"matchLabels": _selector(name)},
                "template": {"metadata": {"labels": labels}, "spec": _pod(name, store, settings=settings)},
            },
        },
    )


def _selector(name: str) -> dict[str, str]:
    return {names.LABEL_KIND: names.KNOWLEDGE_BASE, names.LABEL_NAME: name, "app.kubernetes.io/component": "store"}


def _claim(store: ManagedStore, meta: Manifest, *, settings: Settings) -> Manifest:
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(store.storage.size)}},
    }
    storage_class = store.storage.storage_class_name or settings.storage_class
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def _pod(name: str, store: ManagedStore, *, settings: Settings) -> Manifest:
    memory = str(store.resources.memory)
    health = {"httpGet": {"path": "/healthz", "port": "health"}, "timeoutSeconds": 10, "periodSeconds": 10}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 60,
        "containers": [
            {
                "name": "milvus",
                "image": settings.milvus_image,
                "imagePullPolicy": settings.image_pull_policy,
                "args": ["milvus", "run", "standalone"],
                "env": _environment(name),
                "ports": [
                    {"name": "milvus", "containerPort": PORT, "protocol": "TCP"},
                    {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
                ],
                "resources": {
                    "requests": {"cpu": str(store.resources.cpu), "memory": memory},
                    "limits": {"memory": memory},
                },
                "securityContext": container_security(),
                "startupProbe": {**health, "periodSeconds": 5, "failureThreshold": 60},
                "readinessProbe": {**health, "failureThreshold": 3},
                "livenessProbe": {**health, "failureThreshold": 6},
                "volumeMounts": [{"name": "tmp", "mountPath": TMP}, {"name": "data", "mountPath": DATA}],
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": names.milvus_name(name)}},
        ],
    }


def _environment(name: str) -> list[Manifest]:
    fixed = {
        "HOME": TMP,
        "DEPLOY_MODE": "STANDALONE",
        # Without a configuration file of its own etcd listens on localhost only.
        "ETCD_USE_EMBED": "true",
        "ETCD_DATA_DIR": f"{DATA}/etcd",
        "COMMON_STORAGETYPE": "local",
        "COMMON_SECURITY_AUTHORIZATIONENABLED": "true",
    }
    password = {"secretKeyRef": {"name": names.milvus_name(name), "key": PASSWORD_KEY}}
    return [
        *({"name": key, "value": value} for key, value in fixed.items()),
        {"name": "COMMON_SECURITY_DEFAULTROOTPASSWORD", "valueFrom": password},
    ]
