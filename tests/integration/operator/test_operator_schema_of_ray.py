"""The schema that our documents are checked with is the pinned Ray's own, and Ray takes them as they are."""

import copy
import warnings

import pytest
from pydantic import ValidationError

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_hack.serve_schema import TARGET, make
from hearth_operator.plan.revisions import dress
from hearth_operator.plan.serve_document import build_application, plan_put
from support.operator_gen import external_node, managed_node, model, variant


def test_the_schema_is_what_the_pinned_ray_makes() -> None:
    assert TARGET.read_text() == make(), "run ./hack/generate"


def document(m: ModelDeployment, node: InferenceNode | None = None) -> dict:
    node = node or managed_node()
    apps = [dress(build_application(m, v, node), owner="ab", surge=True) for v in m.spec.variants]
    return plan_put(
        apps, {}, held=frozenset(), broken=frozenset(), serve_url="https://h:8000", last_digest=None
    ).document


def test_ray_takes_our_documents_as_they_are() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.serve.schema import ServeDeploySchema

    made = document(model("chat", variant("a", threads=2), variant("b"), sampling={"temperature": "0.2"}))
    taken = ServeDeploySchema.model_validate(made)
    echoed = taken.model_dump(mode="json", exclude_unset=True)
    assert echoed == made
    worse = copy.deepcopy(made)
    worse["applications"][0]["deployments"][0]["max_surge_percent"] = 101
    with pytest.raises(ValidationError):
        ServeDeploySchema.model_validate(worse)


@pytest.mark.parametrize("labels", [{"pool": "cuda"}, {}], ids=["pinned", "anywhere"])
def test_ray_takes_placement_groups_for_tensor_parallelism(labels) -> None:
    """Its schema, and the checks that the controller makes when it starts a deployment."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.serve._private.config import ReplicaConfig
        from ray.serve.schema import ServeDeploySchema

    part = variant(node="pool", engine="VLLM", tensorParallel=4, replicas=2)
    part["resources"]["gpus"] = 4
    cards = {"type": "CUDA", "memory": "96Gi"}
    pool = external_node("pool", accelerator=cards, external={"rayNodes": 4, "rayNodeLabels": labels})
    made = document(model("large", part), pool)
    assert ServeDeploySchema.model_validate(made).model_dump(mode="json", exclude_unset=True) == made
    deployment = made["applications"][0]["deployments"][0]
    placed = {key: value for key, value in deployment.items() if key.startswith("placement_group_")}
    assert set(placed) >= {"placement_group_bundles", "placement_group_strategy"}

    class Model:
        pass

    config = ReplicaConfig.create(Model, ray_actor_options=deployment["ray_actor_options"], **placed)
    assert [b["GPU"] for b in config.placement_group_bundles] == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="first bundle"):
        ReplicaConfig.create(Model, ray_actor_options={"num_cpus": 64}, **placed)
