"""What people and other tools ask of the operator through the API server: restarts, health, and who is ready."""

import asyncio
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hearth_hack.controlplane import free_ports
from hearth_operator.settings import Bounds
from integration.operator.test_operator_quickstart import QUICKSTART
from support.argo_lua import run_script
from support.kstatus import kstatus

pytestmark = pytest.mark.timeout(300)  # each waits for many things in turn

ARGO_CD = Path(__file__).parents[3] / "charts" / "argocd"
RESTART = "hearth.banjonet.com/restart"


def wanted(*names: str) -> list[dict[str, Any]]:
    """Some resources of the quickstart."""
    return [item for item in QUICKSTART if item["metadata"]["name"] in names]


def health(obj: dict[str, Any]) -> str:
    """Argo CD's verdict on an object as the API server returns it."""
    data = yaml.safe_load((ARGO_CD / "argocd-cm.yaml").read_text())["data"]
    script = yaml.safe_load(data["resource.customizations"])["hearth.banjonet.com/*"]["health.lua"]
    return str(run_script(script, obj)["status"])


async def test_a_restart_happens_once_for_every_new_value(stage) -> None:
    await stage.start()
    stage.apply(*wanted("home", "chat"))
    await stage.until_condition("ModelDeployment", "chat", "True")
    before = stage.fake.apps["chat.cpu"]["args"]
    assert "restart" not in before

    stage.kubectl("annotate", "mdep", "chat", f"{RESTART}=one")

    async def recorded(kind: str = "ModelDeployment", name: str = "chat", value: str = "one") -> bool:
        return (await stage.kube.get(kind, name))["status"].get("lastRestart") == value

    await stage.until(recorded)
    await stage.until_condition("ModelDeployment", "chat", "True")
    after = stage.fake.apps["chat.cpu"]["args"]
    assert {**after, "restart": None} == {**before, "restart": None}
    puts = len(stage.fake.puts)

    # Taking it away, writing it again and another operator ask for nothing.
    stage.kubectl("annotate", "mdep", "chat", f"{RESTART}-")
    await asyncio.sleep(1)
    stage.kubectl("annotate", "mdep", "chat", f"{RESTART}=one")
    await stage.stop()
    await stage.start()
    await asyncio.sleep(2)
    assert len(stage.fake.puts) == puts
    assert stage.fake.apps["chat.cpu"]["args"] == after

    stage.kubectl("annotate", "mdep", "chat", f"{RESTART}=two", "--overwrite")
    await stage.until(lambda: recorded(value="two"))
    assert stage.fake.apps["chat.cpu"]["args"]["restart"] != after["restart"]

    deployment = await stage.kube.get("Deployment", "hearth-node-home")
    generation = deployment["metadata"]["generation"]
    stage.kubectl("annotate", "inode", "home", f"{RESTART}=now")
    await stage.until(lambda: recorded("InferenceNode", "home", "now"))
    deployment = await stage.kube.get("Deployment", "hearth-node-home")
    assert deployment["spec"]["template"]["metadata"]["annotations"][RESTART] == "now"
    assert deployment["metadata"]["generation"] == generation + 1
    stage.kubectl("annotate", "inode", "home", f"{RESTART}-")
    await asyncio.sleep(1)
    assert (await stage.kube.get("Deployment", "hearth-node-home"))["metadata"]["generation"] == generation + 1


async def test_nobody_takes_a_resource_for_ready_before_the_operator_looked(stage) -> None:
    stage.apply(*wanted("home", "chat"))
    for kind, name in (("InferenceNode", "home"), ("ModelDeployment", "chat")):
        new = await stage.kube.get(kind, name)
        assert new["status"] == {"observedGeneration": -1}
        assert (kstatus(new), health(new)) == ("InProgress", "Progressing")
    await stage.start()
    await stage.until_condition("ModelDeployment", "chat", "True")
    seen = await stage.kube.get("ModelDeployment", "chat")
    assert (kstatus(seen), health(seen)) == ("Current", "Healthy")
    stage.fake.ray_up = False
    await stage.until_condition("ModelDeployment", "chat", "Unknown", seconds=15)
    off = await stage.kube.get("ModelDeployment", "chat")
    assert (kstatus(off), health(off)) == ("InProgress", "Degraded")
    stage.kubectl("patch", "mdep", "chat", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    await stage.until_condition("ModelDeployment", "chat", "False", reason="Suspended")
    assert health(await stage.kube.get("ModelDeployment", "chat")) == "Suspended"


async def test_liveness_and_metrics_of_the_real_thing(stage) -> None:
    [port] = free_ports(1)
    await stage.start(settings=replace(stage.settings, http_port=port))
    stage.apply(*wanted("home", "chat"))
    await stage.until_condition("ModelDeployment", "chat", "True")

    def get(path: str) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()

    assert (await asyncio.to_thread(get, "/healthz"))[0] == 200
    text = (await asyncio.to_thread(get, "/metrics"))[1]
    assert 'hearth_model_available{model="chat"} 1.0' in text
    assert 'hearth_node_up{endpoint="' in text
    assert ',node="home"} 1.0' in text
    assert "hearth_operator_build_info{" in text
    await stage.stop()

    # With bounds that no loop keeps, the same probe fails: it reads real queues and real loops.
    await stage.start(settings=replace(stage.settings, http_port=port, bounds=Bounds(silence=-1.0)))
    with pytest.raises(urllib.error.HTTPError) as failed:
        await asyncio.to_thread(get, "/healthz")
    assert failed.value.code == 503
    assert "the watches' loop has stood still" in failed.value.read().decode()
