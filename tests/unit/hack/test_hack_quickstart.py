import datetime as dt
from pathlib import Path

import pytest

from hearth_hack import quickstart, release, volumes, waiting
from hearth_hack.cluster import node_condition
from hearth_hack.images import Image
from hearth_hack.paths import REPO


def resource(*conditions, generation=1):
    return {"metadata": {"generation": generation}, "status": {"conditions": list(conditions)}}


def ready(status, *, generation=1, reason="Because", message="of something"):
    return {"type": "Ready", "status": status, "observedGeneration": generation, "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, "does not exist"),
        (resource(), "nothing has reported on it yet"),
        (resource(ready("True", generation=1), generation=2), "its newest change was not looked at yet"),
        (resource(ready("False")), "Because: of something"),
        (resource(ready("Unknown", message="")), "Because"),
        (resource(ready("True")), None),
    ],
)
def test_what_stands_between_a_resource_and_ready(found, expected):
    assert waiting.describe(found) == expected


def deployment(**status):
    return {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": {"observedGeneration": 2, **status}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"observedGeneration": 1}, "its newest change was not looked at yet"),
        ({"updatedReplicas": 1}, "0 of 1 pods are available"),
        ({"updatedReplicas": 1, "availableReplicas": 1, "replicas": 2}, "an old pod is going away"),
        ({"updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}, None),
    ],
)
def test_what_stands_between_a_deployment_and_available(status, expected):
    assert waiting.describe_deployment(deployment(**status), ready=1) == expected


def test_a_status_from_before_a_restart_does_not_count_without_pods():
    stale = deployment(updatedReplicas=1, availableReplicas=1, replicas=1)
    assert waiting.describe_deployment(stale, ready=0) == "0 of 1 pods are ready"


def test_pods_that_go_away_are_not_ready():
    def pod(status, **meta):
        labels = {"app.kubernetes.io/name": "hearth-gateway"}
        return {"metadata": {"labels": labels, **meta}, "status": {"conditions": [{"type": "Ready", "status": status}]}}

    pods = [pod("True"), pod("False"), pod("True", deletionTimestamp="2026-11-22T22:00:00Z")]
    assert waiting.ready_pods(pods)["hearth-gateway"] == 1


def test_a_node_is_ready_when_it_says_so_after_its_start():
    since = dt.datetime(2026, 11, 22, 22, 0, tzinfo=dt.UTC)
    report = {"type": "Ready", "status": "True", "message": "posting", "lastHeartbeatTime": "2026-11-22T21:59:59Z"}
    assert not node_condition({"status": {"conditions": [report]}}, since=since)[0]
    report["lastHeartbeatTime"] = "2026-11-22T22:00:00Z"
    assert node_condition({"status": {"conditions": [report]}}, since=since) == (True, "posting")
    assert not node_condition(None, since=since)[0]


def test_waiting_says_what_for_and_gives_up_with_all_of_it():
    said = []
    with pytest.raises(waiting.NotReadyError, match="node: away; model: loads"):
        waiting.wait_for(lambda: ["node: away", "model: loads"], seconds=0, say=said.append)
    assert said == ["node: away (and 1 more)"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, "no documents yet"),
        ({"documents": 3}, "? documents wait to be indexed"),
        ({"documents": 3, "pending": 2}, "2 documents wait to be indexed"),
        ({"documents": 3, "pending": 0}, None),
    ],
)
def test_an_index_is_complete_when_nothing_is_pending(status, expected):
    assert quickstart.describe_index({"status": status}) == expected


def test_an_ingestion_is_over_with_its_report():
    assert quickstart.describe_ingestion({"status": {"activeJob": "j1"}}) == "job j1 reads it"
    assert quickstart.describe_ingestion({"status": {"lastRun": {"job": "j1"}}}) is None


def test_an_answer_lists_each_citation_once():
    cited = {"type": "url_citation", "url_citation": {"title": "Re: mould", "url": "mid:1"}}
    reply = {"choices": [{"message": {"content": " Friday. ", "annotations": [cited, cited]}}]}
    answer = quickstart.parse_answer("When?", reply, seconds=1.5)
    assert (answer.text, answer.citations) == ("Friday.", (("Re: mould", "mid:1"),))


def test_the_sample_has_three_questions_and_resources_of_known_kinds():
    paths = quickstart.Paths(repo=REPO, local=Path(), cache=Path(), run=Path(), state=Path())
    assert len(quickstart.sample_questions(paths)) == 3
    kinds = {each["kind"] for each in quickstart.quickstart_objects(REPO / "crds" / "examples" / "quickstart")}
    assert kinds == set(quickstart.PLURALS)


def test_the_release_gets_each_images_tag_and_a_fixed_address():
    values = release.local_values(
        [Image("control", "t1"), Image("serve", "t2")], url="http://10.213.255.1:30080", name_server="10.213.255.1"
    )
    assert values["image"] == {"registry": "hearth.local", "tags": {"control": "t1", "serve": "t2"}}
    assert values["gateway"]["service"] == {"type": "NodePort", "nodePort": 30080}


def test_a_changed_chart_or_value_is_another_release(tmp_path):
    (tmp_path / "Chart.yaml").write_text("name: hearth\n")
    before = release.chart_fingerprint(tmp_path, values={"a": 1})
    assert release.chart_fingerprint(tmp_path, values={"a": 2}) != before
    (tmp_path / "Chart.yaml").write_text("name: hearth2\n")
    assert release.chart_fingerprint(tmp_path, values={"a": 1}) != before


def claim(name, *, phase="Pending", **spec):
    return {
        "metadata": {"name": name, "namespace": "hearth", "uid": "0123456789ab"},
        "spec": {
            "storageClassName": volumes.CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
        "status": {"phase": phase},
    }


def test_only_pending_claims_of_our_class_get_a_volume():
    assert volumes.is_waiting(claim("a"))
    assert not volumes.is_waiting(claim("a", phase="Bound"))
    assert not volumes.is_waiting(claim("a", storageClassName="other"))
    assert not volumes.is_waiting(claim("a", volumeName="hearth-x"))


def test_a_volume_is_reserved_for_its_claim_and_the_data_claim_is_the_users_folder():
    folders = volumes.Folders(volumes=Path("/v"), data=Path("/d"))
    assert folders.folder(claim("hearth-data")) == Path("/d")
    folder = folders.folder(claim("knowledge"))
    assert folder == Path("/v/hearth_knowledge_01234567")
    volume = volumes.build_volume(claim("knowledge"), folder=folder)
    assert volume["spec"]["claimRef"]["uid"] == "0123456789ab"
    assert volume["spec"]["local"] == {"path": str(folder)}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
