"""What files would lead to, without a cluster: sentences and a summary of manifests."""

from collections.abc import Iterable, Iterator
from typing import Any

from hearth_api.kinds import AnyResource, InferenceNode, IngestionSource, KnowledgeBase, ModelDeployment
from hearth_api.kinds.knowledge import DeletionPolicy
from hearth_api.kinds.source import Imap
from hearth_operator import names
from hearth_operator.errors import InvalidSpecError
from hearth_operator.plan.aliases import taken_by
from hearth_operator.plan.capacity import Placement, Plan, allocatable, place, planned_memory, show
from hearth_operator.plan.serve_document import build_application


def explain(resources: Iterable[AnyResource], *, mirror: bool = False) -> Iterator[str]:
    """Yield one sentence per decision, in the order: nodes, models, knowledge bases, sources.

    `mirror`: the release has a mirror of weights.
    """
    everything = tuple(resources)
    nodes = {r.metadata.name: r for r in everything if isinstance(r, InferenceNode)}
    models = tuple(r for r in everything if isinstance(r, ModelDeployment))
    placed = place(models, nodes, ready=set(nodes))
    for name, node in sorted(nodes.items()):
        yield _node(name, node, placed)
    refused = taken_by(models)
    for model in models:
        name = model.metadata.name
        if name in refused:
            alias, holder = refused[name]
            yield f"{names.MODEL} {name}: not accepted, {alias} belongs to {holder}"
        yield from _model(model, nodes, placed, mirror=mirror)
    for r in everything:
        if isinstance(r, KnowledgeBase):
            yield _knowledge(r, {m.metadata.name for m in models})
    for r in everything:
        if isinstance(r, IngestionSource):
            yield _source(r)


def _node(name: str, node: InferenceNode, placed: dict[str, Placement]) -> str:
    room = allocatable(node).memory
    of = f" of {show(room)}" if room is not None else ""
    how = "the operator runs Ray in a pod" if node.spec.managed is not None else "Ray is reached where it runs"
    return f"{names.NODE} {name}: {how}; {show(planned_memory(placed.values(), name))}{of} planned"


def _model(model: ModelDeployment, nodes: dict[str, InferenceNode], placed: Plan, *, mirror: bool) -> Iterator[str]:
    name = model.metadata.name
    if model.spec.suspend:
        yield f"{names.MODEL} {name}: suspended"
        return
    for variant in model.spec.variants:
        placement = placed[names.app_name(name, variant.name)]
        node = nodes.get(placement.node or "")
        if node is None or not placement.fits:
            yield f"{names.MODEL} {name}: {placement.reason}: {placed.explain(placement.app)}"
            continue
        try:
            app = build_application(model, variant, node, mirror=mirror)
        except InvalidSpecError as error:
            yield f"{names.MODEL} {name}: InvalidSpec: {error.message}"
            continue
        source = app["args"]["model"]["source"]
        yield f"{names.MODEL} {name}: deploy {app['name']} on {node.metadata.name} ({variant.engine}, {source})"
        yield f"  {placement.message}"


def _knowledge(kb: KnowledgeBase, models: set[str]) -> str:
    named = f"embeds with {_known(kb.spec.embedding.model, models)}"
    if kb.spec.rerank is not None:
        named += f"; reranks the best {kb.spec.rerank.candidates} passages with {_known(kb.spec.rerank.model, models)}"
    end = "erased" if kb.spec.deletion_policy is DeletionPolicy.DELETE else "kept"
    return f"{names.KNOWLEDGE_BASE} {kb.metadata.name}: {named}; documents are {end} at deletion"


def _known(model: str, models: set[str]) -> str:
    return model if model in models else f"{model} (not among the files)"


def _source(source: IngestionSource) -> str:
    spec = source.spec
    when = f"runs at {spec.schedule} ({spec.time_zone})" if spec.schedule else "runs once, then when asked to"
    account = spec.account
    if isinstance(account, Imap):
        what = f"the mailboxes of {account.host}:{account.port} with Secret {account.secret_ref.name}"
    elif account is not None:
        what = f"the calendars of {account.url} with Secret {account.secret_ref.name}"
    else:
        what = f"{spec.location.path} of claim {spec.location.volume.claim_name}"
    return f"{names.SOURCE} {source.metadata.name}: {when}; reads {what} into {spec.knowledge_base_ref.name}"


def summarize(manifests: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield kind and name of each manifest."""
    for manifest in manifests:
        yield f"  {manifest['kind']} {manifest['metadata']['name']}"
