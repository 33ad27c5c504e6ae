"""A stranger's first hour: what `./hack/up` leaves behind answers, cites and reads well."""

import json
import re
from pathlib import Path
from typing import Any

from openai import OpenAI

from support.cluster import NAMESPACE, Cluster
from support.questions import load_questions

DATA = Path(__file__).resolve().parents[2] / "data" / "work-month"
QUESTIONS = json.loads((DATA / "questions.json").read_text())
RECALL_AT_5 = 0.85


def test_every_resource_is_ready_and_reads_well(cluster: Cluster) -> None:
    for kind, name in [
        ("inferencenode", "studio"),
        ("inferencenode", "gpu"),
        ("modeldeployment", "chat"),
        ("modeldeployment", "embed"),
        ("knowledgebase", "work"),
        ("ingestionsource", "inbox"),
        ("ingestionsource", "documents"),
        ("ingestionsource", "chats"),
        ("ingestionsource", "calendar"),
    ]:
        cluster.wait_ready(kind, name)
    table = cluster.kubectl("get", "hearth").stdout
    for header in re.findall(r"^NAME.*$", table, re.MULTILINE):
        assert {"READY", "REASON", "AGE"} <= set(header.split()), header
    assert table.count("NAME") == 4, table
    rows = [line.split() for line in table.splitlines() if line.startswith("modeldeployment")]
    assert {row[0].partition("/")[2] for row in rows if row[-3:-1] == ["True", "Ready"]} >= {"chat", "embed"}, table


def test_pods_run_under_pod_security_restricted(cluster: Cluster) -> None:
    labels = json.loads(cluster.kubectl("get", "namespace", NAMESPACE, "-o", "json").stdout)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    dry_run = cluster.kubectl(
        "label",
        "--dry-run=server",
        "--overwrite",
        "namespace",
        NAMESPACE,
        "pod-security.kubernetes.io/enforce=restricted",
    )
    assert "violate" not in dry_run.stderr


def test_the_official_client_lists_models(client: OpenAI) -> None:
    ids = {model.id for model in client.models.list()}
    assert {"chat", "embed", "chat@work"} <= ids


def test_the_official_client_embeds(client: OpenAI) -> None:
    answer = client.embeddings.create(
        model="embed", input=["a battery", "an accumulator", "the opera"], encoding_format="float"
    )
    first, near, far = (item.embedding for item in answer.data)
    dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
    assert len(first) == 384
    assert dot(first, near) > dot(first, far)
    assert answer.usage.total_tokens > 0


def test_the_official_client_chats(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "Say hello."}], max_tokens=16, temperature=0
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 16


def test_a_stream_arrives_in_pieces_and_equals_what_was_asked(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": "Count from one to five."}],
        max_tokens=24,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces, usage = [], None
    for chunk in stream:
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        usage = chunk.usage or usage
    assert len(pieces) > 3
    assert usage is not None
    assert usage.completion_tokens > 3


def test_an_answer_cites_what_was_retrieved(client: OpenAI, cluster: Cluster) -> None:
    shown = [question for question in QUESTIONS if question.get("show")]
    assert len(shown) == 3
    for question in shown:
        answer = client.chat.completions.create(
            model="chat@work",
            messages=[{"role": "user", "content": question["question"]}],
            max_tokens=64,
            temperature=0,
        )
        message = answer.choices[0].message
        assert message.annotations, question
        details = (
            message.model_extra["hearth"] if "hearth" in (message.model_extra or {}) else answer.model_extra["hearth"]
        )
        passages = {hit["document"]: hit for hit in cluster.search("work", question["question"], top_k=20)}
        for citation in details["citations"]:
            document = cluster.request("GET", f"/v1/knowledge-bases/work/documents/{citation['document']}")
            text = " ".join(" ".join(segment["text"] for segment in document["document"]["segments"]).split())
            assert " ".join(citation["quote"].split()) in text
        cited = {passages[c["document"]]["origin_key"] for c in details["citations"] if c["document"] in passages}
        wanted = {answer["key"] for answer in question["answers"]}
        assert any(key.split("#")[0] in wanted for key in cited), (question, cited)


def test_a_stream_carries_its_citations_before_done(client: OpenAI) -> None:
    question = next(question for question in QUESTIONS if question.get("show"))
    stream = client.chat.completions.create(
        model="chat@work", messages=[{"role": "user", "content": question["question"]}], max_tokens=32, stream=True
    )
    chunks = list(stream)
    tail = chunks[-1].model_dump()
    assert "hearth" in json.dumps(tail), tail
    assert "url_citation" in json.dumps(tail), tail


def _identities(cluster: Cluster, hit: dict[str, Any]) -> list[str]:
    """Names that a chat's window goes by: its messages."""
    if not hit["origin_key"].startswith(("chat:", "teams:")):
        return []
    path = f"/v1/knowledge-bases/work/documents/{hit['document']}"
    names: list[str] = cluster.request("GET", path)["document"]["identities"]
    return names


def test_recall_at_5_of_the_sample_questions(cluster: Cluster) -> None:
    found = 0
    for question in load_questions():
        hits = cluster.search("work", question.text, top_k=5)
        if any(question.is_answered_by(key=hit["origin_key"], identities=_identities(cluster, hit)) for hit in hits):
            found += 1
        else:
            print(f"missed {question.id}: {question.text}")
    recall = found / len(QUESTIONS)
    print(f"\nrecall@5 of {len(QUESTIONS)} sample questions: {recall:.3f}")
    assert recall >= RECALL_AT_5


def test_metrics_health_and_readiness(cluster: Cluster) -> None:
    import urllib.request

    for path in ("/healthz", "/readyz"):
        with urllib.request.urlopen(cluster.url + path, timeout=10) as response:
            assert response.status == 200
    with urllib.request.urlopen(cluster.url + "/metrics", timeout=10) as response:
        assert b"hearth_gateway_requests_total" in response.read()
