"""A change hands requests from one replica to the next: at no moment is it said that nothing serves."""

from hearth_operator.clients.ray import _app, _Application
from hearth_operator.facts import RayApp
from hearth_operator.reconcile.endpoint import _carry_over

SERVES = RayApp(name="chat.only", status="RUNNING", replicas=("a",), node_ids=("n",), config={})


def read(**details: object) -> RayApp:
    return _app("chat.only", _Application.model_validate({"deployed_app_config": {}, **details}))


def replica(name: str, state: str = "RUNNING") -> dict[str, object]:
    return {"deployments": {"Model": {"status": "UPDATING", "replicas": [{"replica_id": name, "state": state}]}}}


def test_while_ray_imports_what_ran_goes_on() -> None:
    importing = read(status="DEPLOYING", deployments={})
    assert _carry_over(importing, SERVES).replicas == ("a",)
    assert _carry_over(_carry_over(importing, SERVES), SERVES).node_ids == ("n",)


def test_else_ray_is_believed() -> None:
    assert _carry_over(read(status="DEPLOYING", deployments={}), None).replicas == ()
    assert _carry_over(read(status="DEPLOYING", **replica("b")), SERVES).replicas == ("b",)
    empty = {"deployments": {"Model": {"status": "UPDATING", "replicas": []}}}
    assert _carry_over(read(status="DEPLOYING", **empty), SERVES).replicas == ()
    for status in ("DEPLOY_FAILED", "DELETING", "RUNNING", "NOT_STARTED"):
        assert _carry_over(read(status=status, deployments={}), SERVES).replicas == ()


def test_a_process_that_takes_a_change_in_place_still_runs() -> None:
    assert read(status="DEPLOYING", **replica("a", "UPDATING")).replicas == ("a",)
    for state in ("STARTING", "STOPPING", "RECOVERING"):
        assert read(status="DEPLOYING", **replica("a", state)).replicas == ()
