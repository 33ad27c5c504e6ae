"""Somebody errs in a resource: it is told in its own words, and nobody else notices."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from support.cluster import Cluster
from support.pair import build, chat, pair, wait_whole
from support.requester import Requester, longest, order_of_variants, through_gateway

WRONG_DIGEST = "0" * 64
ANSWER_SECONDS = 10.0
"""For a short answer, on a machine that loads another model at the same time."""


def not_ready(cluster: Cluster, name: str, *, words: str) -> bool:
    condition = cluster.condition("modeldeployment", name, "Ready")
    return condition.get("status") == "False" and words in condition.get("message", "")


@pytest.mark.timeout(400)
def test_of_two_resources_the_broken_one_tells_and_the_other_serves(
    cluster: Cluster, replicas: Callable[..., dict[str, Any]]
) -> None:
    before = replicas("sound", "broken")
    broken = build("only", {"name": "studio"}, source="file:///models/no-such-file.gguf")
    sound = build("only", {"name": "studio"})
    with cluster.applied(chat("sound", sound), chat("broken", broken)):
        cluster.wait_ready("modeldeployment", "sound")
        serving = replicas()["sound.only"]
        with Requester(through_gateway(cluster, "sound")) as requester:
            cluster.wait_for(
                "the broken one names its file",
                lambda: not_ready(cluster, "broken", words="no-such-file.gguf"),
                seconds=120,
            )
            assert cluster.condition("modeldeployment", "broken", "WeightsReady")["reason"] == "WeightsMissing"
            asked = {"model": "broken", "messages": [{"role": "user", "content": "hi"}]}
            status, error = cluster.failure("POST", "/v1/chat/completions", asked)
            assert (status, "broken" in error["message"]) == (503, True), error
            # Wrong once more, then right: each a PUT to the Ray on which the other one serves.
            worse = build("only", {"name": "studio"}, source="file:///models/neither.gguf")
            cluster.apply(chat("broken", worse))
            cluster.wait_for(
                "it names the other file", lambda: not_ready(cluster, "broken", words="neither.gguf"), seconds=120
            )
            cluster.apply(chat("broken", sound))
            cluster.wait_ready("modeldeployment", "broken")
        answers = requester.answers()
        assert len(answers) > 20
        assert requester.failures() == []
        assert longest(answers) < ANSWER_SECONDS
        assert replicas()["sound.only"] == serving
        assert replicas("sound", "broken") == before


@pytest.mark.timeout(300)
def test_a_typo_in_a_selector_is_named_and_nothing_else_is_touched(
    cluster: Cluster, replicas: Callable[..., dict[str, Any]]
) -> None:
    """In a new model nothing starts; in one that serves, its other build goes on, and the first is not even unloaded."""
    wait_whole(cluster)
    before = replicas("astray")
    astray = chat("astray", build("label", {"selector": {"place": "dekst"}}), build("name", {"name": "stduio"}))
    with Requester(through_gateway(cluster, "pair")) as requester, cluster.applied(astray):

        def told() -> bool:
            found = cluster.condition("modeldeployment", "astray", "Fits")
            return found.get("reason") == "NodeNotFound" and found["status"] == "False"

        cluster.wait_for("both typos are told", told, seconds=30)
        message = cluster.condition("modeldeployment", "astray", "Ready")["message"]
        assert "place=dekst" in message
        assert "stduio" in message

        cluster.apply(pair({"selector": {"place": "dekst"}}))
        try:

            def degraded() -> bool:
                found = cluster.condition("modeldeployment", "pair", "Degraded")
                return (found.get("status"), found.get("reason")) == ("True", "FallbackServing")

            cluster.wait_for("pair is told to be degraded", degraded, seconds=30)
            assert "place=dekst" in cluster.condition("modeldeployment", "pair", "Fits")["message"]
            assert cluster.condition("modeldeployment", "pair", "Ready")["status"] == "True"
            assert replicas("astray") == before
        finally:
            cluster.apply(pair())
        wait_whole(cluster, seconds=90)
        assert replicas("astray") == before
        healed = chat("astray", build("label", {"selector": {"place": "desk"}}), build("name", {"name": "gpu"}))
        cluster.apply(healed)
        cluster.wait_ready("modeldeployment", "astray")
    assert requester.failures() == []
    assert longest(requester.answers()) < ANSWER_SECONDS
    assert order_of_variants(requester.answers())[-1] == "desk"


@pytest.mark.timeout(400)
def test_a_bad_revision_leaves_the_old_one_serving(cluster: Cluster, replicas: Callable[..., dict[str, Any]]) -> None:
    good = build("only", {"name": "gpu"})
    with cluster.applied(chat("revised", good)):
        cluster.wait_ready("modeldeployment", "revised")
        before = replicas()
        with Requester(through_gateway(cluster, "revised")) as requester:
            cluster.apply(chat("revised", build("only", {"name": "gpu"}, sha256=WRONG_DIGEST)))

            def rolled_back() -> dict[str, Any] | None:
                found = cluster.condition("modeldeployment", "revised", "Degraded")
                return found if (found.get("status"), found.get("reason")) == ("True", "RolledBack") else None

            told = cluster.wait_for("it is told to be rolled back", rolled_back, seconds=180)
            assert WRONG_DIGEST[:12] in told["message"], told
            assert cluster.condition("modeldeployment", "revised", "Ready")["status"] == "True"
            assert cluster.condition("modeldeployment", "revised", "Available")["status"] == "True"
            # Ray names no deployment of an application while it imports what it was given.
            cluster.wait_for("Ray tells its replica again", lambda: replicas()["revised.only"], seconds=60)
            assert replicas() == before, "the old replica was not started anew"
            # It is not tried for ever: whoever gave it knows best when to try again.
            time.sleep(10)
            assert replicas() == before
            better = {**good, "context": {**good["context"], "maxTokens": 512}}
            cluster.apply(chat("revised", better))

            def served() -> bool:
                (entry,) = cluster.get("modeldeployment", "revised")["status"]["variants"]
                return entry["state"] == "Available" and entry.get("contextTokens") == 512

            cluster.wait_for("the next revision serves", served, seconds=120)
            cluster.wait_ready("modeldeployment", "revised", seconds=60)
        assert requester.failures() == []
        assert longest(requester.answers()) < ANSWER_SECONDS
        assert replicas("revised") == {n: r for n, r in before.items() if not n.startswith("revised.")}
