"""Whole objects against golden files, and what must hold of every one of them."""

import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from hearth_api.wire.ingest import CalendarSettings, RunSpec
from hearth_api.wire.keys import ApiKeyRecord, Scope
from hearth_operator.manifests.gateway_access import build_gateway_access
from hearth_operator.manifests.milvus import build_milvus
from hearth_operator.manifests.node import STORE, build_node
from hearth_operator.manifests.secrets import build_secret, has_admin, key_entry, secret_text
from hearth_operator.manifests.source import NEVER, build_run, build_source
from hearth_operator.settings import Settings
from support.operator_gen import knowledge_base, managed_node, source

SETTINGS = Settings(namespace="hearth", control_image="control:1", serve_image="serve:1")


def pods(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for m in manifests:
        spec = m.get("spec", {})
        if m["kind"] == "Deployment":
            found.append(spec["template"]["spec"])
        if m["kind"] == "CronJob":
            found.append(spec["jobTemplate"]["spec"]["template"]["spec"])
        if m["kind"] == "Job":
            found.append(spec["template"]["spec"])
    return found


def everything() -> list[dict[str, Any]]:
    node = managed_node(managed={"volumes": [{"claimName": "weights"}], "tolerations": [{"operator": "Exists"}]})
    return [
        *build_node(node, settings=SETTINGS).all(),
        *build_source(source(schedule="0 * * * *", timeZone="Europe/Berlin"), settings=SETTINGS),
        build_run(source(), run="x", settings=SETTINGS),
        *build_milvus(knowledge_base(store={"mode": "Managed"}), settings=SETTINGS).all(),
    ]


def test_a_managed_node_is_these_objects(golden) -> None:
    node = managed_node(managed={"volumes": [{"claimName": "weights"}], "nodeSelector": {"disk": "fast"}})
    for manifest in build_node(node, settings=SETTINGS).all():
        golden(f"node-{manifest['kind'].lower()}", manifest)


def test_a_managed_store_is_these_objects(golden) -> None:
    managed = {"storage": {"size": "20Gi", "storageClassName": "fast"}, "resources": {"cpu": 2, "memory": "8Gi"}}
    kb = knowledge_base(store={"mode": "Managed", "managed": managed})
    for manifest in build_milvus(kb, settings=SETTINGS).all():
        golden(f"milvus-{manifest['kind'].lower()}", manifest)


def test_a_gpu_node_asks_for_its_gpus() -> None:
    node = managed_node(managed={"gpus": 1}, accelerator={"type": "CUDA", "memory": "24Gi"})
    container = pods([build_node(node, settings=SETTINGS).deployment])[0]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "--num-gpus=1" in container["command"][2]


def test_a_new_pod_clears_what_gone_pods_left_and_keeps_weights(tmp_path) -> None:
    container = pods([build_node(managed_node(), settings=SETTINGS).deployment])[0]["containers"][0]
    ray = tmp_path / "bin" / "ray"
    ray.parent.mkdir()
    ray.write_text('#!/bin/sh\necho "$RAY_gcs_storage_path"\n')
    ray.chmod(0o755)
    store = tmp_path / "store"
    for left in ("gone-10.0.0.1", "weights/blobs", "node-0-10.0.0.2"):
        (store / left).mkdir(parents=True)
        (store / left / "file").touch()
    script = container["command"][2].replace("sleep 90", "sleep 0")
    fixed = {each["name"]: each["value"].replace(STORE, str(store)) for each in container["env"] if "value" in each}
    env = {**fixed, "POD_NAME": "node-0", "POD_IP": "10.0.0.2", "PATH": f"{ray.parent}:/usr/bin:/bin"}
    said = subprocess.run(["/bin/sh", "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(store / "node-0-10.0.0.2")
    assert sorted(path.name for path in store.iterdir()) == ["node-0-10.0.0.2", "weights"]
    assert (store / "weights/blobs/file").exists()


@pytest.mark.parametrize(("size", "weights"), [("200Gi", 199.75 * 1024**3), ("256Mi", 0), ("1Mi", 0)])
def test_weights_may_have_what_the_claim_has_beside_rays_state(size: str, weights: float) -> None:
    node = managed_node(managed={"storage": {"size": size}})
    container = pods([build_node(node, settings=SETTINGS).deployment])[0]["containers"][0]
    (quota,) = (each["value"] for each in container["env"] if each["name"] == "HEARTH_WEIGHTS_QUOTA")
    assert quota == str(int(weights))


def test_a_suspended_node_keeps_its_volume_and_has_no_pod() -> None:
    objects = build_node(managed_node(suspend=True), settings=SETTINGS)
    assert objects.deployment["spec"]["replicas"] == 0
    assert objects.claim["spec"]["resources"]["requests"]["storage"] == "1Gi"


def test_a_source_is_these_objects(golden) -> None:
    for manifest in build_source(source(schedule="0 3 * * *", timeZone="Europe/Berlin"), settings=SETTINGS):
        golden(f"source-{manifest['kind'].lower()}", manifest)
    golden("source-job", build_run(source(), run="2026-10-05", settings=SETTINGS))


def test_a_source_without_a_schedule_is_a_suspended_cron_job_that_never_fires() -> None:
    spec = build_source(source(), settings=SETTINGS)[2]["spec"]
    assert spec["schedule"] == NEVER
    assert spec["suspend"] is True


def test_run_json_is_a_run_spec_with_an_absolute_path() -> None:
    config = build_source(source(email={"path": ".", "format": "Maildir"}), settings=SETTINGS)[1]
    spec = RunSpec.model_validate(json.loads(config["data"]["run.json"]))
    assert (spec.path, spec.format, spec.type) == ("/data", "maildir", "email")
    assert spec.token_path == "/var/run/secrets/hearth/hearth-knowledge/token"


def test_the_same_run_has_the_same_name_and_another_run_another() -> None:
    names = [build_run(source(), run=run, settings=SETTINGS)["metadata"]["name"] for run in ("a", "a", "b")]
    assert names[0] == names[1] != names[2]


def test_the_longest_name_fits_into_every_object() -> None:
    name = "a" * 38
    objects = [*build_source(source(name), settings=SETTINGS), build_run(source(name), run="x", settings=SETTINGS)]
    limits = {"CronJob": 52, "Job": 63}
    for o in objects:
        assert len(o["metadata"]["name"]) <= limits.get(o["kind"], 253)
        assert all(len(v) <= 63 for v in o["metadata"]["labels"].values())


@pytest.mark.parametrize("pod", pods(everything()), ids=["node", "cron job", "job", "milvus"])
def test_every_pod_passes_pod_security_restricted(pod) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
    assert not any("hostPath" in v for v in pod["volumes"])


def test_secrets_have_no_owner() -> None:
    assert "ownerReferences" not in build_secret("x", {"a": "b"}, namespace="n", component="c")["metadata"]


def test_an_admin_key_is_recognised_beside_broken_entries() -> None:
    record = ApiKeyRecord(id="abc", sha256="0" * 64, scopes=(Scope.CHAT, Scope.ADMIN))
    with_admin = build_secret("k", {"bad": "{", "abc": key_entry(record)}, namespace="n", component="c")
    assert has_admin(with_admin)
    assert not has_admin(build_secret("k", {"bad": "[]"}, namespace="n", component="c"))
    assert not has_admin(None)
    assert secret_text(with_admin, "missing") is None


def test_no_nodes_mean_no_rule_because_one_without_names_means_all() -> None:
    assert build_gateway_access([], namespace="n")[0]["rules"] == []
    rule = build_gateway_access(["b", "a", "a"], namespace="n")[0]["rules"][0]
    assert rule["resourceNames"] == ["a", "b"]
    assert rule["verbs"] == ["get"]


def live(**spec):
    return source(
        type="Email",
        email={"imap": {"host": "mail.lan", "secretRef": {"name": "account"}, "security": "StartTLS", "port": 143}},
        **spec,
    )


def test_a_live_account_is_reached_through_the_proxy_with_its_secret_as_files() -> None:
    settings = replace(SETTINGS, egress_url="http://hearth-egress:3128")
    _, config, cron = build_source(live(), settings=settings, at_source=True)
    spec = RunSpec.model_validate(json.loads(config["data"]["run.json"]))
    assert spec.path is None
    assert spec.at_source is True
    assert (spec.imap.host, spec.imap.port, spec.imap.security) == ("mail.lan", 143, "starttls")
    assert spec.proxy.url == "http://hearth-egress:3128"
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(volumes) == {"account", "run", "token", "token-egress", "tmp"}
    assert volumes["account"]["secret"]["secretName"] == "account"
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts["account"] == spec.credentials_path
    assert spec.proxy.token_path == f"{mounts['token-egress']}/token"
    assert "account" not in json.dumps(pod["containers"][0]["env"]), "no credential in an environment"


def test_without_a_proxy_a_live_account_is_reached_directly() -> None:
    spec = RunSpec.model_validate(json.loads(build_source(live(), settings=SETTINGS)[1]["data"]["run.json"]))
    assert spec.proxy is None


def test_calendar_and_teams_sources_carry_their_settings() -> None:
    calendar = source(
        type="Calendar",
        calendar={"path": "calendars", "window": {"pastDays": 10, "futureDays": 20}},
        timeZone="Europe/Berlin",
        email=None,
    )
    spec = RunSpec.model_validate(json.loads(build_source(calendar, settings=SETTINGS)[1]["data"]["run.json"]))
    assert (spec.type, spec.path) == ("calendar", "/data/calendars")
    assert spec.calendar == CalendarSettings(past_days=10, future_days=20, time_zone="Europe/Berlin")
    teams = source(type="Teams", teams={"path": "teams"}, email=None)
    spec = RunSpec.model_validate(json.loads(build_source(teams, settings=SETTINGS)[1]["data"]["run.json"]))
    assert (spec.type, spec.path) == ("teams", "/data/teams")
