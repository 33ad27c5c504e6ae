"""The release as one upgrades, removes and installs it again; the last story, since it takes the product away.

`helm uninstall` and `./hack/down --context` leave data alone; `./hack/up --context` brings the product to a cluster that
exists already: here the machine's own, emptied of Hearth first and then named by a kubeconfig as any other would be.
"""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from support.cluster import NAMESPACE, Cluster

REPO = Path(__file__).resolve().parents[3]
CONTEXT = "lab"
QUERY = "How long is the vendor late?"


def run(*command: str, env: dict[str, str], seconds: int = 900) -> str:
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=seconds
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def helm(cluster: Cluster, *arguments: str) -> str:
    return run("helm", "--namespace", NAMESPACE, *arguments, env=cluster.env)


def state(cluster: Cluster) -> dict[str, str]:
    """What must outlive an upgrade and an uninstall, by name and uid."""
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["uid"]
        for kinds in (
            "persistentvolumeclaims",
            "secrets",
            "inferencenodes,modeldeployments,knowledgebases,ingestionsources",
        )
        for item in json.loads(cluster.kubectl("get", kinds, "-o", "json").stdout)["items"]
        if not item["metadata"]["name"].startswith("sh.helm.release")
    }


@pytest.mark.timeout(900)
def test_an_upgrade_leaves_data_alone_and_nobody_waits_for_the_gateway(cluster: Cluster) -> None:
    before, results = state(cluster), [hit["document"] for hit in cluster.search("work", QUERY)]
    values = ["--reuse-values", "--set", "gateway.resources.limits.memory=600Mi", "--set", "knowledge.backup.keep=5"]
    helm(cluster, "upgrade", "hearth", str(REPO / "charts" / "hearth"), *values)
    for name in ("hearth-gateway", "hearth-knowledge", "hearth-operator"):
        cluster.kubectl("rollout", "status", f"deployment/{name}", "--timeout=240s")
    assert state(cluster) == before
    cluster.wait_indexed("work")
    assert [hit["document"] for hit in cluster.search("work", QUERY)] == results


@pytest.mark.timeout(1800)
def test_uninstall_leaves_data_and_the_same_release_finds_it_on_any_cluster(cluster: Cluster, tmp_path: Path) -> None:
    before, entry = state(cluster), cluster.wait_indexed("work")
    results = [hit["document"] for hit in cluster.search("work", QUERY)]
    address = cluster.kubectl("get", "--raw", "/api/v1/namespaces/default/endpoints/kubernetes").stdout
    name_server = json.loads(address)["subsets"][0]["addresses"][0]["ip"]
    helm(cluster, "uninstall", "hearth", "--wait", "--timeout", "3m")
    left = state(cluster)
    assert {key: uid for key, uid in before.items() if "Secret/" not in key}.items() <= left.items()
    assert "Secret/hearth-kek" in left
    assert not json.loads(
        cluster.kubectl("get", "deployments", "-l", "app.kubernetes.io/part-of=hearth", "-o", "json").stdout
    )["items"]

    config = yaml.safe_load(Path(cluster.env["KUBECONFIG"]).read_text())
    (context,) = config["contexts"]
    config["contexts"] = [{**context, "name": CONTEXT}]
    config["current-context"] = ""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    values = tmp_path / "values.yaml"
    # This cluster's name server is a process of the machine.
    values.write_text(yaml.safe_dump({"networkPolicies": {"dns": {"cidrs": [f"{name_server}/32"]}}}))
    env = {**cluster.env, "KUBECONFIG": str(kubeconfig)}
    said = run(
        str(REPO / "hack/up"), "--context", CONTEXT, "--images-loaded", "--values", str(values), env=env, seconds=1500
    )
    assert said.count("Q: ") == 3
    assert "kubectl port-forward" in said
    written = (REPO / ".local" / "contexts" / CONTEXT / "hearth.env").read_text()
    found = {}
    for line in written.splitlines():
        for word in shlex.split(line, comments=True)[1:]:
            name, _, value = word.partition("=")
            found[name] = value
    elsewhere = Cluster(url=found["HEARTH_URL"], key=found["HEARTH_API_KEY"], data=cluster.data, env=env)
    assert elsewhere.wait_indexed("work")["documents"] == entry["documents"]
    assert [hit["document"] for hit in elsewhere.search("work", QUERY)] == results
    assert {item["id"] for item in elsewhere.request("GET", "/v1/models")["data"]} >= {"chat", "embed", "chat@work"}

    run(str(REPO / "hack/down"), "--context", CONTEXT, env=env, seconds=300)
    assert not (REPO / ".local" / "contexts" / CONTEXT).exists()
    assert {key: uid for key, uid in left.items() if "Secret/" not in key}.items() <= state(cluster).items()
    # As it was found: a cluster that was up before the tests is up after them.
    run(
        str(REPO / "hack/up"), "--no-ask", env={key: value for key, value in cluster.env.items() if key != "KUBECONFIG"}
    )
    cluster.wait_indexed("work")
