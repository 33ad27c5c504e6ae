"""The four kinds. The models are the API: schemas, examples and documentation follow from them."""

from hearth_api.kinds.base import ObjectMeta, Resource
from hearth_api.kinds.knowledge import KnowledgeBase
from hearth_api.kinds.model import ModelDeployment
from hearth_api.kinds.node import InferenceNode
from hearth_api.kinds.source import IngestionSource

AnyResource = InferenceNode | ModelDeployment | KnowledgeBase | IngestionSource

KINDS: dict[str, type[AnyResource]] = {
    kind.info.kind: kind for kind in (InferenceNode, ModelDeployment, KnowledgeBase, IngestionSource)
}

__all__ = [
    "KINDS",
    "AnyResource",
    "InferenceNode",
    "IngestionSource",
    "KnowledgeBase",
    "ModelDeployment",
    "ObjectMeta",
    "Resource",
]
