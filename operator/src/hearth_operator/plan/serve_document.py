"""The Serve document of one Ray endpoint, and whether it must be put.

`PUT /api/serve/applications/` is the whole truth: Ray deletes what it does not list. So the document is a pure function
of all ModelDeployments, and it keeps what is not ours to take away.
"""

import hashlib
import json
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.model import Variant
from hearth_api.kinds.node import AcceleratorType
from hearth_api.quantities import to_millicores
from hearth_api.wire.serve import CacheType, Engine, ServeArgs, ServeModel, ServeTunables
from hearth_operator import names
from hearth_operator.errors import InvalidSpecError
from hearth_operator.facts import RayApp
from hearth_operator.plan.difference import covers
from hearth_operator.plan.revisions import Application, carries
from hearth_operator.plan.room import allocatable
from hearth_operator.plan.weights import is_remote
from hearth_operator.restart import restart_mark

__all__ = ["Application", "ServePlan", "build_application", "http_options", "pin_labels", "plan_put"]
_ALL_LAYERS = 1000
_MOST_QUEUED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePlan:
    """The document, whether to put it, and why."""

    document: dict[str, Any]
    digest: str
    put: bool
    sentences: tuple[str, ...]
    changed: tuple[str, ...] = ()
    """Applications that Ray does not have like this: one of them is to blame where it refuses the document."""


def pin_labels(node: InferenceNode) -> dict[str, str]:
    """Return the Ray labels of the raylets that count as this node; empty: all of the endpoint."""
    if node.spec.external is not None:
        return dict(node.spec.external.ray_node_labels)
    return {names.RAY_NODE_LABEL: node.metadata.name}


def build_application(
    model: ModelDeployment, variant: Variant, node: InferenceNode, *, mirror: bool = False
) -> Application:
    """Return one application. Whatever needs a reload is in `args`, what is applied in place in `user_config`.

    `mirror`: the release has one, so that weights come to pods too. Raises InvalidSpecError.
    """
    name = model.metadata.name
    cores = to_millicores(variant.resources.cpu) / 1000
    gpus = variant.resources.gpus
    args = ServeArgs(
        model_id=name,
        task=model.spec.task,
        engine=variant.engine,
        model=ServeModel(source=resolve_source(variant, node, mirror=mirror), sha256=variant.model.sha256),
        context_tokens=variant.context.max_tokens,
        concurrency=variant.context.concurrency,
        cache_type=variant.context.cache_type if variant.context.cache_type is not CacheType.F16 else None,
        tensor_parallel=variant.tensor_parallel if variant.tensor_parallel > 1 else None,
        threads=variant.threads,
        gpu_layers=_gpu_layers(variant, node),
        memory_bytes=variant.resources.memory_bytes or 0,
        num_cpus=cores,
        num_gpus=gpus,
        node=node.metadata.name,
        restart=restart_mark(model),
    )
    parts = variant.tensor_parallel
    actor: dict[str, Any] = {"num_cpus": cores}
    if gpus and parts == 1:
        actor["num_gpus"] = gpus
    if labels := pin_labels(node):
        actor["label_selector"] = labels
    return {
        "name": names.app_name(name, variant.name),
        "route_prefix": names.route_prefix(name, variant.name),
        "import_path": names.IMPORT_PATH,
        "args": args.to_json_object(),
        "deployments": [
            {
                "name": names.SERVE_DEPLOYMENT,
                "num_replicas": variant.replicas,
                **(_spread(variant, node) if parts == 1 else _parts(parts, node, cores=cores)),
                "user_config": build_tunables(model).to_json_object(),
                "max_ongoing_requests": args.max_ongoing_requests,
                "max_queued_requests": _MOST_QUEUED,
                "ray_actor_options": actor,
            }
        ],
    }


def _spread(variant: Variant, node: InferenceNode) -> dict[str, Any]:
    """Return what keeps replicas apart: no Ray node gets more than its share while another has less."""
    machines = allocatable(node).machines
    if machines == 1:
        return {}
    return {"max_replicas_per_node": -(-variant.replicas // machines)}


def _parts(parts: int, node: InferenceNode, *, cores: float) -> dict[str, Any]:
    """Return the placement group of one replica: a bundle with a card for each part.

    The replica itself sits in the first one without a card: the engine's workers take those. Ray does not combine
    pinned bundles with max_replicas_per_node; the cards keep replicas apart.
    """
    placed: dict[str, Any] = {
        "placement_group_bundles": [{"CPU": cores, "GPU": 1.0}, *({"GPU": 1.0} for _ in range(parts - 1))],
        # Over a network the parts wait for each other at every token: one machine if its cards do.
        "placement_group_strategy": "STRICT_PACK" if allocatable(node).machines == 1 else "PACK",
    }
    if labels := pin_labels(node):
        placed["placement_group_bundle_label_selector"] = [labels] * parts
    return placed


def build_tunables(model: ModelDeployment) -> ServeTunables:
    """Return what is applied without a reload."""
    sampling = model.spec.sampling
    if sampling is None:
        return ServeTunables()
    return ServeTunables(
        temperature=float(sampling.temperature) if sampling.temperature is not None else None,
        top_p=float(sampling.top_p) if sampling.top_p is not None else None,
        max_tokens=sampling.max_tokens,
        system_prompt=sampling.system_prompt,
    )


def resolve_source(variant: Variant, node: InferenceNode, *, mirror: bool = False) -> str:
    """Return the source as the node sees it: pvc:// becomes the path where the claim is mounted there.

    Raises InvalidSpecError where the node cannot serve it, whatever room it has.
    """
    source = variant.model.source
    if variant.engine is Engine.VLLM and node.spec.accelerator.type is not AcceleratorType.CUDA:
        raise InvalidSpecError(
            "InvalidSpec",
            f"variant {variant.name}: engine VLLM needs accelerator CUDA, and InferenceNode {node.metadata.name} is "
            f"{node.spec.accelerator.type.value}: take LlamaCpp, MLX or Transformers there",
        )
    if is_remote(source):
        _demand_way_in(variant, node, mirror=mirror)
        return source
    if not source.startswith("pvc://"):
        return source
    claim, _, path = source.removeprefix("pvc://").partition("/")
    volumes = node.spec.managed.volumes if node.spec.managed is not None else ()
    mounted = next((v.path for v in volumes if v.claim_name == claim), None)
    if mounted is None:
        raise InvalidSpecError(
            "InvalidSpec",
            f"variant {variant.name}: model.source names claim {claim}, which InferenceNode {node.metadata.name} "
            "does not mount: add it to spec.managed.volumes",
        )
    return f"file://{posixpath.join(mounted, path)}"


def _demand_way_in(variant: Variant, node: InferenceNode, *, mirror: bool) -> None:
    """Raise InvalidSpecError where nothing can be brought from outside."""
    where = f"variant {variant.name}: InferenceNode {node.metadata.name}"
    if node.spec.managed is not None and not mirror:
        raise InvalidSpecError(
            "InvalidSpec",
            f"{where} runs in the cluster, which has no way out to model.source: turn on the mirror (mirror.enabled in "
            "the chart's values), put the file on a claim (pvc://), or name a machine that joined",
        )
    if allocatable(node).machines > 1:
        raise InvalidSpecError(
            "InvalidSpec",
            f"{where} is several Ray nodes, and model.source would be brought to one of them only: put the files on a "
            "folder that all have (file://)",
        )


def _gpu_layers(variant: Variant, node: InferenceNode) -> int:
    if variant.engine is not Engine.LLAMA_CPP or node.spec.accelerator.type is AcceleratorType.CPU:
        return 0
    return variant.gpu_layers if variant.gpu_layers is not None else _ALL_LAYERS


def http_options(serve_url: str) -> dict[str, Any]:
    """Return Serve's options for an address. Ray takes them once, when Serve first starts."""
    url = urlsplit(serve_url)
    options: dict[str, Any] = {"host": "0.0.0.0", "port": url.port or names.SERVE_PORT}  # noqa: S104 (a pod's address)
    if url.scheme == "https":
        options["ssl_certfile"] = f"{names.SERVE_SECRET_DIR}/tls.crt"
        options["ssl_keyfile"] = f"{names.SERVE_SECRET_DIR}/tls.key"
    return options


def plan_put(
    wanted: Iterable[Application],
    live: Mapping[str, RayApp],
    *,
    held: frozenset[str],
    broken: frozenset[str],
    serve_url: str,
    last_digest: str | None,
    again: frozenset[str] = frozenset(),
    how: Mapping[str, str] | None = None,
) -> ServePlan:
    """Decide. `held` are applications whose resource still asks for them though they cannot be built now;
    `broken` are ModelDeployments that cannot be read: nothing of theirs is taken away. `again` are failed applications
    that serve nothing and get another try: Ray gives them one only when they were gone in between. `how` says in a
    sentence how an application is changed.
    """
    by_name = {app["name"]: app for app in wanted if app["name"] not in again}
    failed = {name: app for name, app in live.items() if name in again}
    keep, drop = _sort_out(by_name, {n: a for n, a in live.items() if n not in failed}, held=held, broken=broken)
    applications = [*by_name.values(), *keep]
    document = {
        "proxy_location": "EveryNode",
        "http_options": http_options(serve_url),
        "applications": sorted(applications, key=lambda app: str(app["name"])),
    }
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    missing = [name for name in sorted(by_name) if name not in live]
    changed = [n for n in sorted(by_name) if n in live and not _has(live[n], by_name[n])]
    if digest == last_digest:
        # Ray took exactly this document: what it echoes otherwise is its own way of writing it.
        changed = []
    sentences = (
        *(f"deploy {name}" for name in missing),
        *((how or {}).get(name) or f"change {name}" for name in changed),
        *(f"remove {name}" for name in drop),
        *(f"remove {name} to try it again" for name in sorted(failed)),
    )
    return ServePlan(
        document=document,
        digest=digest,
        put=bool(sentences),
        sentences=sentences,
        changed=(*missing, *changed),
    )


def _has(live: RayApp, wanted: Application) -> bool:
    """Whether Ray has an application as it is to be put, its mark and surge with it."""
    return live.config == wanted or (covers(live.config, wanted) and carries(live.config, wanted))


def _sort_out(
    wanted: Mapping[str, Application], live: Mapping[str, RayApp], *, held: frozenset[str], broken: frozenset[str]
) -> tuple[list[Application], list[str]]:
    keep: list[Application] = []
    drop: list[str] = []
    for name, app in sorted(live.items()):
        if name in wanted or app.config is None or app.status == "DELETING":
            continue
        ours = app.config.get("import_path") == names.IMPORT_PATH
        if not ours or name in held or name.partition(".")[0] in broken:
            keep.append(app.config)
        else:
            drop.append(name)
    return keep, drop
