"""A knowledge base that names a reranker: what the service is told, and what is said while there is none to ask."""

from typing import Any

import pytest

from hearth_api.conditions import find_condition
from hearth_api.kinds import KnowledgeBase, ModelDeployment
from hearth_api.parse import parse_observed
from hearth_api.reasons import PASSING, Reason
from hearth_api.wire.knowledge import KbConfig, KbStatus, RerankConfig
from hearth_operator import names
from hearth_operator.plan.offline import explain
from hearth_operator.reconcile.knowledge import reconcile_knowledge
from support.fake_kube import as_stored
from support.operator_gen import knowledge_base, model, variant
from support.operator_still import NOW, StillKube, still_context

RERANK = {"model": "rank", "candidates": 20}
UNRANKED = "; searches answer without reranking"
SECRET = {"kind": "Secret", "metadata": {"name": "hearth-kek"}, "data": {}}
HOLDS = {"kind": "ConfigMap", "metadata": {"name": names.STATE_CONFIG_MAP}, "data": {"storesHoldData": "true"}}
EMBEDDER = {"modelDigest": "d", "dimensions": 4}


def available(status: str = "True") -> dict[str, Any]:
    reason = "Serving" if status == "True" else "NoVariantAvailable"
    said = {"type": "Available", "status": status, "reason": reason, "lastTransitionTime": NOW.isoformat()}
    return {"conditions": [said]}


def reranker(task: str = "Rerank", **more: Any) -> ModelDeployment:
    return model("rank", variant() | {"engine": "Transformers"}, task=task, **more)


class Knowledge:
    """The knowledge service, as far as one knowledge base needs it."""

    def __init__(self) -> None:
        self.told: list[KbConfig] = []

    async def configure(self, _kb: str, config: KbConfig) -> None:
        self.told.append(config)

    async def status(self, _kb: str) -> KbStatus | None:
        body = {
            "collection": "kb_work_1", "documents": 3, "chunks": 9, "embedding": {"model": "embed"} | {"digest": "d", "dimensions": 4},
            "consistency": {"consistent": True, "expectedChunks": 9, "indexedChunks": 9},
        }  # fmt: skip
        return KbStatus.model_validate(body) if self.told else None


class House:
    """An API server with a knowledge base, its embedder, and perhaps a reranker."""

    def __init__(self, *models: ModelDeployment, **spec: Any) -> None:
        embedder = model("embed", variant(), task="Embed", status=EMBEDDER)
        stored = [as_stored(each) for each in (embedder, *models, knowledge_base(**spec))]
        self.kube = StillKube([*stored, SECRET, HOLDS])
        self.knowledge = Knowledge()
        self.ctx = still_context(self.kube, clock=lambda: 0.0, knowledge=self.knowledge)

    async def step(self) -> KnowledgeBase:
        raw = await self.kube.get(names.KNOWLEDGE_BASE, "work")
        assert raw is not None
        kb = parse_observed(raw)
        assert isinstance(kb, KnowledgeBase)
        await reconcile_knowledge(self.ctx, raw, kb)
        after = parse_observed(self.kube.objects[names.KNOWLEDGE_BASE, "work"])
        assert isinstance(after, KnowledgeBase)
        return after

    def warnings(self) -> list[str]:
        return [event["reason"] for event in self.kube.posted if event["type"] == "Warning"]


CASES: dict[str, tuple[tuple[ModelDeployment, ...], str, Reason, str]] = {
    "is there": ((reranker(status=available()),), "False", Reason.RERANKING, ""),
    "is missing": (
        (), "True", Reason.RERANK_MODEL_NOT_FOUND,
        "no ModelDeployment is called rank: make it with task Rerank, or take spec.rerank away" + UNRANKED,
    ),
    "embeds": (
        (reranker("Embed", status=available()),), "True", Reason.NOT_A_RERANK_MODEL,
        "ModelDeployment rank has not the task Rerank: name another in spec.rerank.model" + UNRANKED,
    ),
    "sleeps": (
        (reranker(status=available("Unknown")),), "True", Reason.RERANK_MODEL_NOT_READY,
        "waits for ModelDeployment rank to be Available" + UNRANKED,
    ),
    "was not looked at": (
        (reranker(),), "True", Reason.RERANK_MODEL_NOT_READY,
        "waits for ModelDeployment rank to be Available" + UNRANKED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_a_reranker_is_told_of_and_judged_and_never_stands_in_the_way(case: str) -> None:
    models, status, reason, message = CASES[case]
    house = House(*models, rerank=RERANK)
    kb = await house.step()
    assert house.knowledge.told[-1].rerank == RerankConfig(model="rank", candidates=20)
    degraded, ready = (find_condition(kb.status.conditions, type_) for type_ in ("Degraded", "Ready"))
    assert degraded is not None
    assert (degraded.status, degraded.reason, degraded.message) == (status, reason, message)
    assert ready is not None
    assert (ready.status, ready.reason) == ("True", "Ready")
    assert house.warnings() == ([] if reason in PASSING or status == "False" else [reason])
    writes = list(house.kube.writes)
    await house.step()
    assert (house.kube.writes, len(house.knowledge.told)) == (writes, 1), "nothing is written while nothing changes"


async def test_a_reranker_that_comes_and_goes_changes_the_condition_and_not_the_configuration() -> None:
    house = House(rerank=RERANK)
    await house.step()
    stored = as_stored(reranker(status=available()))
    house.kube.objects[names.MODEL, "rank"] = stored
    kb = await house.step()
    assert (found := find_condition(kb.status.conditions, "Degraded")) is not None
    assert found.reason == "Reranking"
    del house.kube.objects[names.MODEL, "rank"]
    kb = await house.step()
    assert (found := find_condition(kb.status.conditions, "Degraded")) is not None
    assert found.reason == "RerankModelNotFound"
    assert len(house.knowledge.told) == 1


async def test_a_reranker_that_cannot_be_read_is_not_ready() -> None:
    house = House(rerank=RERANK)
    house.kube.objects[names.MODEL, "rank"] = as_stored(reranker()) | {"spec": {"task": "Sing"}}
    kb = await house.step()
    assert (found := find_condition(kb.status.conditions, "Degraded")) is not None
    assert (found.status, found.reason) == ("True", "RerankModelNotReady")
    assert found.message.startswith("rank: ")


async def test_without_a_reranker_nothing_is_said_of_it_and_an_older_service_understands_the_configuration() -> None:
    house = House(rerank=RERANK)
    await house.step()
    del house.kube.objects[names.KNOWLEDGE_BASE, "work"]["spec"]["rerank"]
    kb = await house.step()
    assert find_condition(kb.status.conditions, "Degraded") is None
    assert "rerank" not in house.knowledge.told[-1].to_json_object()


def test_a_plan_names_the_reranker() -> None:
    base = knowledge_base(rerank=RERANK)
    embedder = model("embed", variant(), task="Embed")
    (line,) = (line for line in explain([base, embedder]) if line.startswith("KnowledgeBase"))
    assert "embeds with embed; reranks the best 20 passages with rank (not among the files); documents are" in line
    assert "with rank; documents" in "\n".join(explain([base, embedder, reranker()]))
