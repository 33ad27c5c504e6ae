"""The schema that our documents are checked with is the pinned Ray's own, and Ray takes them as they are."""

import copy
import warnings

import pytest
from pydantic import ValidationError

from hearth_api.kinds import ModelDeployment
from hearth_hack.serve_schema import TARGET, make
from hearth_operator.plan.revisions import dress
from hearth_operator.plan.serve_document import build_application, plan_put
from support.operator_gen import managed_node, model, variant


def test_the_schema_is_what_the_pinned_ray_makes() -> None:
    assert TARGET.read_text() == make(), "run ./hack/generate"


def document(m: ModelDeployment) -> dict:
    apps = [dress(build_application(m, v, managed_node()), owner="ab", surge=True) for v in m.spec.variants]
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
