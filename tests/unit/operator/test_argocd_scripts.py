"""Argo CD's health check and actions, run by a real Lua: Argo's own tables of cases, and every reason there is."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaError

from hearth_api.kinds import KINDS
from hearth_api.names import GROUP
from hearth_api.parse import parse_observed
from hearth_api.reasons import PASSING, Reason
from hearth_chart.argocd import ACTIONS, build_config_map
from support.argo_lua import NOW, run_script

ARGO_CD = Path(__file__).parents[3] / "charts" / "argocd"
SCRIPTS = ARGO_CD / GROUP / "_"
HEALTH = (SCRIPTS / "health.lua").read_text()
DISCOVERY = (SCRIPTS / "actions" / "discovery.lua").read_text()
CASES = yaml.safe_load((SCRIPTS / "health_test.yaml").read_text())["tests"]
ACTION_CASES = yaml.safe_load((SCRIPTS / "actions" / "action_test.yaml").read_text())


def read(path: str, *, folder: Path = SCRIPTS) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((folder / path).read_text())
    return value


def health(obj: dict[str, Any]) -> tuple[str, str]:
    said = run_script(HEALTH, obj)
    assert set(said) == {"status", "message"}
    return said["status"], said["message"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: Path(case["inputPath"]).stem)
def test_health_is_what_the_case_says(case: dict[str, Any]) -> None:
    assert health(read(case["inputPath"])) == (case["healthStatus"]["status"], case["healthStatus"]["message"])


def test_the_cases_are_objects_of_all_kinds_in_all_states() -> None:
    named = {case["inputPath"] for case in CASES}
    assert named == {f"testdata/{path.name}" for path in (SCRIPTS / "testdata").glob("*.yaml")}
    seen = {(read(case["inputPath"])["kind"], case["healthStatus"]["status"]) for case in CASES}
    assert seen == {(kind, status) for kind in KINDS for status in ("Healthy", "Progressing", "Degraded", "Suspended")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_every_reason_is_progressing_or_degraded_as_the_api_says(kind: str, status: str) -> None:
    for reason in Reason:
        ready = {"type": "Ready", "status": status, "reason": reason.value, "message": "m", "observedGeneration": 1}
        obj = {"kind": kind, "metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [ready]}}
        wanted = "Progressing" if reason in PASSING else "Degraded"
        assert health(obj)[0] == ("Suspended" if reason is Reason.SUSPENDED else wanted), reason


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": {}},
        {"metadata": {"generation": 1}, "status": {}},
        {"metadata": {"generation": 1}, "status": {"observedGeneration": 1}},
        {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": []}},
        {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": [{}, {"type": "Available"}]}},
        {"metadata": {}, "status": {"conditions": [{"type": "Reachable", "status": "True"}]}},
    ],
)
def test_nothing_is_healthy_before_it_was_looked_at(obj: dict[str, Any]) -> None:
    assert health(obj)[0] == "Progressing"


def test_a_ready_without_a_reason_is_degraded() -> None:
    obj = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    assert health(obj) == ("Degraded", "Unknown")


def test_numbers_that_arrive_as_texts_are_compared_as_numbers() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "observedGeneration": "7"}
    obj = {"metadata": {"generation": 7}, "status": {"observedGeneration": "7", "conditions": [ready]}}
    assert health(obj)[0] == "Healthy"


def test_the_sandbox_is_as_narrow_as_argo_cds() -> None:
    for script in (
        'return ("x"):upper()',
        "return string.upper('x')",
        "return io.open('x')",
        "return os.getenv('HOME')",
    ):
        with pytest.raises(LuaError):
            run_script(script, {})
    assert run_script('return os.date("!%Y-%m-%dT%H:%M:%SZ")', {}) == NOW


# Actions


@pytest.mark.parametrize("case", ACTION_CASES["discoveryTests"], ids=lambda case: Path(case["inputPath"]).stem)
def test_actions_are_offered_where_they_make_sense(case: dict[str, Any]) -> None:
    offered = run_script(DISCOVERY, read(case["inputPath"], folder=SCRIPTS / "actions"))
    found = [{"name": name, "disabled": entry["disabled"]} for name, entry in sorted(offered.items())]
    assert found == sorted(case["result"], key=lambda item: item["name"])


@pytest.mark.parametrize(
    "case", ACTION_CASES["actionTests"], ids=lambda c: f"{c['action']}-{Path(c['inputPath']).stem}"
)
def test_an_action_changes_what_it_should_and_nothing_else(case: dict[str, Any]) -> None:
    folder = SCRIPTS / "actions"
    script = (folder / case["action"] / "action.lua").read_text()
    before, wanted = read(case["inputPath"], folder=folder), read(case["expectedOutputPath"], folder=folder)
    assert _without_empty(run_script(script, before)) == _without_empty(wanted)
    parse_observed(wanted)


def _without_empty(value: Any) -> Any:
    """Argo CD puts back what Lua cannot tell apart: an empty list from an empty map."""
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items()} or []
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def test_every_offered_action_exists_and_every_action_is_offered() -> None:
    assert {path.parent.name for path in SCRIPTS.glob("actions/*/action.lua")} == set(ACTIONS)
    offered = {item["name"] for case in ACTION_CASES["discoveryTests"] for item in case["result"]}
    assert offered == set(ACTIONS)
    assert {case["action"] for case in ACTION_CASES["actionTests"]} == set(ACTIONS)


# What is installed


def test_the_config_map_holds_the_scripts_as_argo_cd_reads_them() -> None:
    text = (ARGO_CD / "argocd-cm.yaml").read_text()
    assert text == build_config_map(SCRIPTS), "run ./hack/generate"
    data = yaml.safe_load(text)["data"]
    assert yaml.safe_load(data.pop("resource.customizations")) == {f"{GROUP}/*": {"health.lua": HEALTH}}
    for kind in KINDS:
        entry = yaml.safe_load(data.pop(f"resource.customizations.actions.{GROUP}_{kind}"))
        assert entry["discovery.lua"] == DISCOVERY
        for action in entry["definitions"]:
            assert action["action.lua"] == (SCRIPTS / "actions" / action["name"] / "action.lua").read_text()
    assert not data
