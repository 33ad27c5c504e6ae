"""The pod in which the operator runs Ray for a managed node, its address and its volume."""

from dataclasses import dataclass

from hearth_api.kinds import InferenceNode
from hearth_api.quantities import to_bytes, to_millicores
from hearth_operator import names
from hearth_operator.manifests.base import TMP, Manifest, container_security, metadata, owner_reference, pod_security
from hearth_operator.restart import asked_restart
from hearth_operator.settings import Settings

STORE = "/var/lib/hearth/ray"
_WEIGHTS = f"{STORE}/weights"
_STATE_BYTES = 256 * 1024**2
"""What of the claim is Ray's own; weights may have the rest."""
_HEADROOM = "128Mi"
_SHM = "256Mi"
_SHM_DIR = "/dev/shm"  # noqa: S108 (the pod's own)
_OBJECT_STORE_BYTES = 80_000_000
_SETTLED_SECONDS = 90
"""`ray start` gives up after half a minute; whatever lives longer has started."""

# Ray's store names the address and the session of the head that wrote it. A restarted container keeps both
# and serves again without a PUT; a new pod or sandbox has neither, so it starts with a store of its own and the
# operator writes the applications again. Stores of pods that are gone are removed. A head that did not live for a
# while may have died of its store: the next one starts without it. Weights stay, whoever brought them.
_START = """set -eu
store="$HEARTH_STORE/$POD_NAME-$POD_IP"
for old in "$HEARTH_STORE"/*; do
  if [ "$old" != "$store" ] && [ "$old" != "$HEARTH_WEIGHTS_STORE" ] && [ -d "$old" ]; then rm -rf -- "$old"; fi
done
if [ -e "$store/starting" ]; then rm -rf -- "$store"; fi
mkdir -p "$store"
touch "$store/starting"
(sleep {settled}; rm -f -- "$store/starting") &
export RAY_gcs_storage_path="$store"
exec ray start --head --block --node-ip-address="$POD_IP" --port=6379 \\
  --dashboard-host=0.0.0.0 --dashboard-port={ray_port} --temp-dir=/tmp/ray \\
  --num-cpus={cpus} --num-gpus={gpus} --object-store-memory={object_store} \\
  --labels={label}={node} --disable-usage-stats
"""


@dataclass(frozen=True, slots=True)
class NodeObjects:
    """Everything that a managed node consists of, in the order of applying."""

    claim: Manifest
    service: Manifest
    deployment: Manifest

    def all(self) -> tuple[Manifest, ...]:
        """Return the objects in the order of applying."""
        return (self.claim, self.service, self.deployment)


def build_node(node: InferenceNode, *, settings: Settings) -> NodeObjects:
    """Return the objects of a managed node. A suspended node keeps its volume and address and has no pod."""
    name = node.metadata.name
    owner = owner_reference(names.NODE, name, uid=node.metadata.uid or "")
    meta = metadata(
        names.node_name(name),
        namespace=settings.namespace,
        labels=names.labels(names.NODE, name, component="node"),
        owner=owner,
    )
    return NodeObjects(
        claim=_claim(node, meta, settings=settings),
        service=_service(name, meta),
        deployment=_deployment(node, meta, settings=settings),
    )


def whole_cores(cpu: str) -> int:
    """Return the cores that Ray may hand out: whole ones, at least one."""
    return max(1, -(-to_millicores(cpu) // 1000))


def _selector(name: str) -> dict[str, str]:
    return {names.LABEL_KIND: names.NODE, names.LABEL_NAME: name}


def _claim(node: InferenceNode, meta: Manifest, *, settings: Settings) -> Manifest:
    managed = node.spec.managed
    assert managed is not None
    storage_class = managed.storage.storage_class_name or settings.storage_class
    spec: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": str(managed.storage.size)}},
    }
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}


def _service(name: str, meta: Manifest) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "selector": _selector(name),
            # The operator decides from Ray's answers whether a node is up; it must be able to ask.
            "publishNotReadyAddresses": True,
            "ports": [
                {"name": "ray", "port": names.RAY_PORT, "targetPort": "ray", "protocol": "TCP"},
                {"name": "serve", "port": names.SERVE_PORT, "targetPort": "serve", "protocol": "TCP"},
            ],
        },
    }


def _deployment(node: InferenceNode, meta: Manifest, *, settings: Settings) -> Manifest:
    managed = node.spec.managed
    assert managed is not None
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "terminationGracePeriodSeconds": 30,
        "containers": [_container(node, settings=settings)],
        "volumes": _volumes(node),
    }
    if managed.node_selector:
        pod["nodeSelector"] = dict(managed.node_selector)
    if managed.tolerations:
        pod["tolerations"] = [t.to_json_object() for t in managed.tolerations]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": 0 if node.spec.suspend else 1,
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": _selector(node.metadata.name)},
            "template": {"metadata": _template_meta(node, meta), "spec": pod},
        },
    }


def _template_meta(node: InferenceNode, meta: Manifest) -> Manifest:
    asked = asked_restart(node)
    annotations = {"annotations": {names.ANNOTATION_RESTART: asked}} if asked is not None else {}
    return {"labels": meta["labels"], **annotations}


def _container(node: InferenceNode, *, settings: Settings) -> Manifest:
    managed = node.spec.managed
    assert managed is not None
    resources = {"cpu": str(managed.resources.cpu), "memory": str(managed.resources.memory)}
    limits: Manifest = {"memory": resources["memory"]}
    if managed.gpus:
        limits["nvidia.com/gpu"] = str(managed.gpus)
    script = _START.format(
        ray_port=names.RAY_PORT,
        cpus=whole_cores(resources["cpu"]),
        gpus=managed.gpus,
        object_store=_OBJECT_STORE_BYTES,
        settled=_SETTLED_SECONDS,
        label=names.RAY_NODE_LABEL,
        node=node.metadata.name,
    )
    health = {"httpGet": {"path": "/api/gcs_healthz", "port": "ray"}, "timeoutSeconds": 10, "periodSeconds": 10}
    return {
        "name": "ray",
        "image": managed.image or settings.serve_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["/bin/sh", "-c", script],
        "env": _environment(weights_bytes=max(0, to_bytes(managed.storage.size) - _STATE_BYTES)),
        "ports": [
            {"name": "ray", "containerPort": names.RAY_PORT, "protocol": "TCP"},
            {"name": "serve", "containerPort": names.SERVE_PORT, "protocol": "TCP"},
        ],
        "resources": {"requests": resources, "limits": limits},
        "securityContext": container_security(),
        "startupProbe": {**health, "periodSeconds": 3, "failureThreshold": 60},
        "readinessProbe": {**health, "failureThreshold": 3},
        "livenessProbe": {**health, "failureThreshold": 6},
        "volumeMounts": _mounts(node),
    }


def _environment(*, weights_bytes: int) -> list[Manifest]:
    fixed = {
        "HOME": TMP,
        "USER": "hearth",
        "LOGNAME": "hearth",
        "HEARTH_STORE": STORE,
        "HEARTH_WEIGHTS_STORE": _WEIGHTS,
        "HEARTH_WEIGHTS_QUOTA": str(weights_bytes),
        "HEARTH_WEIGHTS_HEADROOM": _HEADROOM,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": f"{names.RAY_SECRET_DIR}/token",
        "RAY_gcs_storage": "rocksdb",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
    }
    return [
        *({"name": key, "value": value} for key, value in fixed.items()),
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
    ]


def _volumes(node: InferenceNode) -> list[Manifest]:
    name = node.metadata.name
    managed = node.spec.managed
    assert managed is not None
    return [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _SHM}},
        {"name": "store", "persistentVolumeClaim": {"claimName": names.node_name(name)}},
        {"name": "ray-token", "secret": {"secretName": names.ray_secret_name(name), "defaultMode": 0o440}},
        {"name": "serve", "secret": {"secretName": names.serve_secret_name(name), "defaultMode": 0o440}},
        *(
            {"name": f"models-{i}", "persistentVolumeClaim": {"claimName": v.claim_name, "readOnly": True}}
            for i, v in enumerate(managed.volumes)
        ),
    ]


def _mounts(node: InferenceNode) -> list[Manifest]:
    managed = node.spec.managed
    assert managed is not None
    return [
        {"name": "tmp", "mountPath": TMP},
        {"name": "shm", "mountPath": _SHM_DIR},
        {"name": "store", "mountPath": STORE},
        {"name": "ray-token", "mountPath": names.RAY_SECRET_DIR, "readOnly": True},
        {"name": "serve", "mountPath": names.SERVE_SECRET_DIR, "readOnly": True},
        *({"name": f"models-{i}", "mountPath": v.path, "readOnly": True} for i, v in enumerate(managed.volumes)),
    ]
