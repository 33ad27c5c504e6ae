"""Weights that a machine must bring before a model can start there: what is wanted, and whether it is there.

A machine's downloads are an application of their own beside its models, ordered in place through `user_config`. A
revision with other weights is put only when they are there: until then what served stays.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hearth_api.kinds import InferenceNode
from hearth_api.kinds.model import ModelFiles
from hearth_api.wire.serve import ServeModel
from hearth_api.wire.weights import (
    MirrorAccess,
    SourceStatus,
    WantedWeights,
    WeightsArgs,
    WeightsOrders,
    WeightsReport,
    WeightsState,
)
from hearth_operator import names
from hearth_operator.plan.revisions import Application

_REMOTE = ("hf://", "s3://", "http://", "https://")


def is_remote(source: str) -> bool:
    """Whether a source is brought from elsewhere."""
    return source.startswith(_REMOTE)


def remote_weights(model: ModelFiles | ServeModel) -> WantedWeights | None:
    """Return what is to be brought for a model; None: its files are on the machine anyhow."""
    return WantedWeights(source=model.source, sha256=model.sha256) if is_remote(model.source) else None


def loaded_weights(config: Mapping[str, Any] | None) -> WantedWeights | None:
    """Return what an application that Ray has was started with, if that was brought."""
    model = ((config or {}).get("args") or {}).get("model")
    if not isinstance(model, dict) or not is_remote(str(model.get("source"))):
        return None
    digest = model.get("sha256")
    return WantedWeights(source=str(model["source"]), sha256=digest if isinstance(digest, str) else None)


def build_weights_application(
    node: InferenceNode, wanted: Iterable[WantedWeights], *, pin: Mapping[str, str], mirror: MirrorAccess | None = None
) -> Application:
    """Return the application that brings weights to a node, from the mirror where there is one."""
    name = node.metadata.name
    ordered = sorted({(w.source, w.sha256 or "") for w in wanted})
    orders = WeightsOrders(wanted=tuple(WantedWeights(source=s, sha256=d or None) for s, d in ordered))
    actor: dict[str, Any] = {"num_cpus": 0.0}
    if pin:
        actor["label_selector"] = dict(pin)
    return {
        "name": names.weights_app_name(name),
        "route_prefix": names.weights_prefix(name),
        "import_path": names.IMPORT_PATH,
        "args": {"weights": WeightsArgs(node=name, mirror=mirror).to_json_object()},
        "deployments": [
            {
                "name": names.SERVE_DEPLOYMENT,
                "num_replicas": 1,
                "user_config": orders.to_json_object(),
                "ray_actor_options": actor,
            }
        ],
    }


def told_of(report: WeightsReport | None, wanted: WantedWeights) -> SourceStatus | None:
    """Return what a machine says of one source; None: nothing yet."""
    if report is None:
        return None
    asked = (wanted.source, wanted.sha256)
    return next((s for s in report.sources if (s.source, s.sha256) == asked), None)


def is_there(report: WeightsReport | None, wanted: WantedWeights) -> bool:
    """Whether a model can be started with it now."""
    told = told_of(report, wanted)
    return told is not None and told.state is WeightsState.READY
