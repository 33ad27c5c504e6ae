"""The chart as an interface: what it renders, what it refuses, what its pods may do."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hearth_chart.generate import build_files
from hearth_chart.values import ChartValues
from hearth_knowledge.settings import MOST_SECONDS, Settings

CHART = Path(__file__).resolve().parents[2] / "charts" / "hearth"
Render = Callable[..., list[dict[str, Any]]]
FULL = {
    "image": {"registry": "registry.example.org/lab", "tag": "1.2.3", "pullPolicy": "Always", "pullSecrets": ["pull"],
              "tags": {"serve": "1.2.4"}},
    "crds": {"enabled": True, "keep": False},
    "gateway": {"service": {"type": "NodePort", "nodePort": 30080}, "publicURL": "https://hearth.example.org"},
    "knowledge": {"storage": {"size": "50Gi", "storageClassName": "fast"}},
    "data": {"claim": {"create": True, "name": "exports", "size": "1Ti", "storageClassName": "slow"}},
    "nodes": {"storageClassName": "fast"},
    "mirror": {"enabled": True, "address": "t40.lan", "storage": {"size": "2Ti", "storageClassName": "slow"},
               "credentialsSecret": "hub", "hubEndpoint": "https://hub.lan"},
}  # fmt: skip


def by_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def containers(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, item in by_kind(objects, "Deployment").items():
        pod = item["spec"]["template"]["spec"]
        for container in pod["containers"] + pod.get("initContainers", []):
            yield f"{name}/{container['name']}", pod, container


def test_values_yaml_holds_exactly_the_defaults_of_the_models() -> None:
    assert ChartValues.model_validate(yaml.safe_load((CHART / "values.yaml").read_text())) == ChartValues()


def test_generated_files_are_what_their_sources_say() -> None:
    for path, text in build_files().items():
        assert path.read_text() == text, f"{path.name} is stale: run ./hack/generate"


def test_the_schema_is_a_valid_draft_7_schema() -> None:
    jsonschema.Draft7Validator.check_schema(json.loads((CHART / "values.schema.json").read_text()))


def test_lint_is_clean(helm: Path) -> None:
    done = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"gatway": {}}, "gatway"),
        ({"gateway": {"servce": {}}}, "servce"),
        ({"gateway": {"service": {"type": "Ingress"}}}, "type"),
        ({"gateway": {"service": {"nodePort": 70000}}}, "nodePort"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"knowledge": {"storage": {"size": "ten"}}}, "size"),
        ({"operator": {"resources": {"limits": {"memory": "1 GB"}}}}, "memory"),
        ({"data": {"claim": {"name": "Not A Name"}}}, "name"),
        ({"crds": {"keep": "yes"}}, "keep"),
        ({"mirror": {"enabled": True}}, "mirror.address"),
        ({"mirror": {"address": "https://t40.lan"}}, "address"),
        ({"mirror": {"storage": {"size": "1.5Ti"}}}, "size"),
    ],
)
def test_a_wrong_value_is_refused_and_named(render: Render, values: dict[str, Any], word: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render(values)
    assert word in refused.value.stderr


@pytest.mark.parametrize("values", [{}, FULL], ids=["minimal", "full"])
def test_every_container_passes_pod_security_restricted(render: Render, values: dict[str, Any]) -> None:
    seen = 0
    for name, pod, container in containers(render(values)):
        seen += 1
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not any(key in pod for key in ("hostNetwork", "hostPID", "hostIPC")), name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name
        assert container["resources"]["requests"], name
        assert container["resources"]["limits"]["memory"], name
    assert seen == 5 + ("mirror" in values)


def test_every_http_container_is_probed(render: Render) -> None:
    for name, _, container in containers(render()):
        if container.get("ports"):
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container), name


def test_milvus_listens_inside_its_pod_only(render: Render) -> None:
    milvus = next(c for name, _, c in containers(render()) if name == "hearth-knowledge/milvus")
    assert milvus["command"][milvus["command"].index("--host") + 1] == "127.0.0.1"
    assert not milvus.get("ports")


def test_rights_are_namespaced_but_for_token_review(render: Render) -> None:
    objects = render()
    (cluster_role,) = by_kind(objects, "ClusterRole").values()
    assert cluster_role["rules"] == [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    ]
    for role in by_kind(objects, "Role").values():
        for rule in role["rules"]:
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]


def test_the_gateway_reads_one_secret_and_writes_nothing(render: Render) -> None:
    rules = by_kind(render(), "Role")["hearth-gateway"]["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}
    assert [rule["resourceNames"] for rule in rules if "secrets" in rule["resources"]] == [["hearth-api-keys"]]


def test_crds_are_kept_by_default_and_can_be_left_out(render: Render) -> None:
    kept = by_kind(render(), "CustomResourceDefinition")
    assert len(kept) == 4
    assert all(crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for crd in kept.values())
    dropped = by_kind(render({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert all("helm.sh/resource-policy" not in (crd["metadata"].get("annotations") or {}) for crd in dropped.values())
    assert not by_kind(render({"crds": {"enabled": False}}), "CustomResourceDefinition")


def test_claims_outlive_the_release(render: Render) -> None:
    claims = by_kind(render(), "PersistentVolumeClaim")
    assert set(claims) == {"hearth-data", "hearth-knowledge"}
    assert all(claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for claim in claims.values())


def test_full_values_reach_the_objects(render: Render) -> None:
    objects = render(FULL)
    images = {container["image"] for _, _, container in containers(objects)}
    assert images == {
        "registry.example.org/lab/hearth-control:1.2.3",
        "registry.example.org/lab/hearth-milvus-lite:1.2.3",
        "registry.example.org/lab/hearth-serve:1.2.4",
    }
    operator = next(c for name, _, c in containers(objects) if name == "hearth-operator/operator")
    env = {item["name"]: item.get("value") for item in operator["env"]}
    assert env["HEARTH_SERVE_IMAGE"] == "registry.example.org/lab/hearth-serve:1.2.4"
    assert env["HEARTH_STORAGE_CLASS"] == "fast"
    assert env["HEARTH_MIRROR_URL"] == "https://t40.lan:30843"
    mirror = next(c for name, _, c in containers(objects) if name == "hearth-mirror/mirror")
    env = {item["name"]: item.get("value") for item in mirror["env"]}
    assert (env["HEARTH_WEIGHTS_QUOTA"], env["HF_ENDPOINT"]) == ("2Ti", "https://hub.lan")
    mounts = {mount["name"]: mount["mountPath"] for mount in mirror["volumeMounts"]}
    assert mounts["credentials"] == "/var/run/secrets/hearth/weights"
    assert by_kind(objects, "Service")["hearth-gateway"]["spec"]["ports"][0]["nodePort"] == 30080
    claims = by_kind(objects, "PersistentVolumeClaim")
    assert claims["exports"]["spec"]["resources"]["requests"]["storage"] == "1Ti"
    assert claims["hearth-knowledge"]["spec"]["storageClassName"] == "fast"


def test_a_load_balancer_of_the_mirror_is_called_on_its_own_port(render: Render) -> None:
    mirror = {"enabled": True, "address": "10.10.12.9", "service": {"type": "LoadBalancer"}}
    objects = render({"mirror": mirror})
    operator = next(c for name, _, c in containers(objects) if name == "hearth-operator/operator")
    env = {item["name"]: item.get("value") for item in operator["env"]}
    assert env["HEARTH_MIRROR_URL"] == "https://10.10.12.9:8443"
    assert "nodePort" not in by_kind(objects, "Service")["hearth-mirror"]["spec"]["ports"][0]
    assert not [name for name in by_kind(render(), "Service") if "mirror" in name]


def test_no_secret_is_rendered(render: Render) -> None:
    assert not by_kind(render(FULL), "Secret")


def test_an_ingress_needs_a_host_and_ends_tls(render: Render) -> None:
    values = {
        "gateway": {"ingress": {"enabled": True, "host": "h.lan", "className": "traefik", "tls": {"secretName": "t"}}}
    }
    (ingress,) = by_kind(render(values), "Ingress").values()
    assert ingress["spec"]["tls"] == [{"hosts": ["h.lan"], "secretName": "t"}]
    assert ingress["spec"]["ingressClassName"] == "traefik"
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"] == {
        "name": "hearth-gateway", "port": {"name": "http"}
    }  # fmt: skip
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render({"gateway": {"ingress": {"enabled": True}}})
    assert "gateway.ingress.host is needed" in refused.value.stderr


def test_an_http_route_needs_a_gateway_and_sets_no_time_limit(render: Render) -> None:
    parents = [{"name": "house", "namespace": "gateways", "sectionName": "https"}]
    values = {"gateway": {"httpRoute": {"enabled": True, "hostnames": ["h.lan"], "parentRefs": parents}}}
    (route,) = by_kind(render(values), "HTTPRoute").values()
    assert route["spec"]["parentRefs"] == parents
    assert route["spec"]["rules"][0]["backendRefs"] == [{"name": "hearth-gateway", "port": 80}]
    assert route["spec"]["rules"][0]["timeouts"] == {"request": "0s"}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render({"gateway": {"httpRoute": {"enabled": True}}})
    assert "parentRefs is needed" in refused.value.stderr


def test_the_example_values_of_the_house_and_of_a_single_box(render: Render) -> None:
    house = yaml.safe_load((CHART / "examples" / "house-values.yaml").read_text())
    objects = render(house)
    assert {"Ingress", "ServiceMonitor", "PrometheusRule", "NetworkPolicy"} <= {item["kind"] for item in objects}
    blocks = json.dumps([item for item in objects if item["kind"] == "NetworkPolicy"])
    assert "10.10.12.5/32" in blocks
    assert "10.10.12.6/32" in blocks
    volume = yaml.safe_load((CHART / "examples" / "house-backup-volume.yaml").read_text())
    assert volume["spec"]["storageClassName"] == house["knowledge"]["backup"]["claim"]["storageClassName"]
    assert volume["spec"]["nfs"]["server"] == "10.10.12.1"
    box = render(yaml.safe_load((CHART / "examples" / "single-box-values.yaml").read_text()))
    assert by_kind(box, "Service")["hearth-gateway"]["spec"]["type"] == "NodePort"


def test_the_argo_cd_example_points_at_what_exists_in_waves(render: Render) -> None:
    root = CHART.parents[1]
    release, house = yaml.safe_load_all((CHART.parent / "argocd" / "hearth.yaml").read_text())
    source = release["spec"]["source"]
    assert (root / source["path"]).resolve() == CHART
    files = [yaml.safe_load((CHART / name).read_text()) for name in source["helm"]["valueFiles"]]
    render(
        {
            **files[0],
            "networkPolicies": {**files[0]["networkPolicies"], **source["helm"]["valuesObject"]["networkPolicies"]},
        }
    )
    wave = "argocd.argoproj.io/sync-wave"
    assert int(release["metadata"]["annotations"][wave]) < int(house["metadata"]["annotations"][wave])
    order = ["InferenceNode", "ModelDeployment", "KnowledgeBase", "IngestionSource"]
    seen = {}
    for file in (root / house["spec"]["source"]["path"]).glob("*.yaml"):
        item = yaml.safe_load(file.read_text())
        seen.setdefault(item["kind"], set()).add(int(item["metadata"]["annotations"][wave]))
    assert [min(seen[kind]) for kind in order] == sorted(min(seen[kind]) for kind in order)
    assert all(len(waves) == 1 for waves in seen.values())
    assert set(seen) == set(order)


def test_a_search_waits_for_its_reranker_as_long_as_the_values_say_and_the_service_takes(render: Render) -> None:
    def waits(values: dict[str, Any]) -> str:
        service = next(c for name, _, c in containers(render(values)) if name == "hearth-knowledge/knowledge")
        return next(item["value"] for item in service["env"] if item["name"] == "HEARTH_RERANK_SECONDS")

    assert waits({}) == "2"
    for seconds in (0.5, MOST_SECONDS):
        said = waits({"knowledge": {"rerankSeconds": seconds}})
        assert Settings.from_environment({"HEARTH_RERANK_SECONDS": said}).limits.rerank_seconds == seconds
    for seconds in (0, MOST_SECONDS + 1):
        with pytest.raises(subprocess.CalledProcessError):
            render({"knowledge": {"rerankSeconds": seconds}})


def test_backups_have_a_claim_of_their_own_that_outlives_the_release(render: Render) -> None:
    objects = render({"knowledge": {"backup": {"enabled": True, "keep": 3, "restore": "latest"}}})
    claim = by_kind(objects, "PersistentVolumeClaim")["hearth-backup"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    knowledge = next(c for name, _, c in containers(objects) if name == "hearth-knowledge/knowledge")
    env = {item["name"]: item.get("value") for item in knowledge["env"]}
    assert (env["HEARTH_BACKUP_KEEP"], env["HEARTH_RESTORE"]) == ("3", "latest")
    mounts = {mount["name"]: mount["mountPath"] for mount in knowledge["volumeMounts"]}
    assert mounts["backup"] == env["HEARTH_BACKUP_DIR"]
    other = render({"knowledge": {"backup": {"enabled": True, "claim": {"create": False, "name": "mine"}}}})
    assert "mine" not in by_kind(other, "PersistentVolumeClaim")
    assert "HEARTH_BACKUP_DIR" not in json.dumps(render())
