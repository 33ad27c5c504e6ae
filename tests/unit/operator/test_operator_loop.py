"""Errors to conditions and delays, the queue, the watcher, settings, rights, certificates, the command line."""

import asyncio
import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509

from hearth_api.conditions import find_condition
from hearth_operator import names
from hearth_operator.clients.certificates import issue
from hearth_operator.errors import (
    ANYTHING_ELSE,
    TABLE,
    ConflictError,
    InvalidSpecError,
    NoCapacityError,
    NotYetError,
    Retry,
    UnreachableError,
    first_line,
    outcome_of,
)
from hearth_operator.handlers.watch import Watcher
from hearth_operator.main import main, plan_files
from hearth_operator.rbac import RULES, role_rules
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.glance import Glance
from hearth_operator.reconcile.loop import failure_status, retry_delay
from hearth_operator.reconcile.node import pod_facts
from hearth_operator.reconcile.queue import Key, KeyedQueue
from hearth_operator.settings import Settings, SettingsError, from_environment
from support.operator_still import still_context

NOW = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
SETTINGS = Settings(namespace="n", control_image="c", serve_image="s")
CTX = SimpleNamespace(settings=SETTINGS)

# The error table


@pytest.mark.parametrize(
    ("error", "condition", "status", "delays"),
    [
        (InvalidSpecError("InvalidSpec", "m"), "Accepted", "False", [None, None]),
        (NotYetError("NodeNotFound", "m"), "Ready", "False", [15.0, 15.0]),
        (NoCapacityError("NoCapacity", "m"), "Fits", "False", [15.0, 15.0]),
        (UnreachableError("Unreachable", "m"), "Ready", "Unknown", [2.0, 4.0, 8.0, 10.0, 10.0]),
        (ConflictError("Conflict", "m"), None, "", [0.0, 0.2]),
        (ValueError("x"), "Ready", "Unknown", [2.0, 4.0]),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else None,
)
def test_every_error_has_its_condition_and_delay(error, condition, status, delays) -> None:
    outcome = outcome_of(error)
    assert (outcome.condition, outcome.status) == (condition, status)
    assert [retry_delay(outcome, n + 1, CTX) for n in range(len(delays))] == delays


def test_the_table_is_complete() -> None:
    assert {o.retry for o in TABLE.values()} == set(Retry)
    assert outcome_of(KeyError("x")) is ANYTHING_ELSE


def test_an_unforeseen_error_shows_its_first_line_only() -> None:
    assert first_line(ValueError("one\ntwo")) == "ValueError: one"
    assert first_line(ValueError()) == "ValueError"


def test_an_error_changes_its_own_condition_and_leaves_the_rest() -> None:
    raw = {
        "kind": "ModelDeployment",
        "metadata": {"name": "m", "generation": 3},
        "status": {
            "serving": "cpu",
            "conditions": [
                {
                    "type": "Available",
                    "status": "True",
                    "reason": "Serving",
                    "message": "",
                    "lastTransitionTime": "2026-10-01T00:00:00Z",
                },
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Ready",
                    "message": "",
                    "lastTransitionTime": "2026-10-01T00:00:00Z",
                },
                {"type": "broken"},
            ],
        },
    }
    error = InvalidSpecError("InvalidSpec", "spec.task: no")
    status = failure_status(raw, error, outcome_of(error), now=NOW)
    assert find_condition(status.conditions, "Available").last_transition_time.day == 1
    assert find_condition(status.conditions, "Accepted").reason == "InvalidSpec"
    assert find_condition(status.conditions, "Ready").message == "Accepted: spec.task: no"
    assert status.to_json_object()["serving"] == "cpu"
    assert status.to_json_object()["observedGeneration"] == 3


# The queue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


A, B = Key("K", "a"), Key("K", "b")


async def test_keys_come_by_due_time_and_once() -> None:
    clock = Clock()
    queue = KeyedQueue(clock=clock)
    queue.add(A)
    queue.add(A)
    queue.add(B, delay=-1)
    assert [await queue.take(), await queue.take()] == [B, A]
    assert len(queue) == 0


async def test_a_change_brings_a_delayed_key_forward_and_never_back() -> None:
    clock = Clock()
    queue = KeyedQueue(clock=clock)
    queue.add(A, delay=60)
    queue.add(A)
    queue.add(A, delay=30)
    assert await asyncio.wait_for(queue.take(), 1) == A
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.05)


async def test_a_key_is_worked_on_by_one_worker_and_again_if_it_changed_meanwhile() -> None:
    queue = KeyedQueue(clock=Clock())
    queue.add(A)
    assert await queue.take() == A
    queue.add(A)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.05)
    queue.done(A)
    assert await asyncio.wait_for(queue.take(), 1) == A


async def test_a_worker_that_is_cancelled_while_a_key_comes_ends() -> None:
    """Else the operator's stop waits for it for ever: a worker takes the next key, and the next."""
    queue = KeyedQueue(clock=asyncio.get_running_loop().time)
    queue.add(Key("Node", "later"), delay=60.0)
    worker = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queue.add(Key("Node", "later"), delay=59.0)
    await asyncio.sleep(0)  # the wish has reached the worker, which has not run yet
    worker.cancel()
    done, _ = await asyncio.wait({worker}, timeout=5)
    assert done
    assert worker.cancelled()


async def test_a_waiting_worker_wakes_up() -> None:
    queue = KeyedQueue(clock=asyncio.get_running_loop().time)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add(A, delay=0.02)
    assert await asyncio.wait_for(waiting, 1) == A


# The watcher


class Woken:
    """Remembers who was woken, and how soon."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.delays: list[float] = []

    def __call__(self, key: Key, *, delay: float = 0.0, urgent: bool = False) -> None:
        self.keys.append(key)
        self.delays.append(delay)

    def taken(self) -> set[Key]:
        keys, self.keys = set(self.keys), []
        return keys


def watched() -> tuple[Context, Watcher, Woken]:
    woken = Woken()
    ctx = still_context(None, clock=lambda: 100.0, wake=woken, glance=Glance(lifetime=2.0))
    return ctx, Watcher(ctx, loop=None), woken


def obj(kind: str, name: str, *, generation: int = 1, **meta):
    return {"kind": kind, "metadata": {"name": name, "uid": name, "generation": generation, **meta}}


FLEET, RELEASE = Key("Fleet", ""), Key("Release", "")


def test_who_is_woken_by_what() -> None:
    ctx, watcher, woken = watched()
    kb, other = Key("KnowledgeBase", "w"), Key("KnowledgeBase", "other")
    src, stray = Key("IngestionSource", "i"), Key("IngestionSource", "stray")
    watcher.see_own(None, {**obj(*kb), "spec": {"embedding": {"model": "m"}}})
    watcher.see_own(None, {**obj(*other), "spec": {"embedding": {"model": "n"}, "rerank": {"model": "r"}}})
    watcher.see_own(None, {**obj(*src), "spec": {"knowledgeBaseRef": {"name": "w"}}})
    watcher.see_own(None, {**obj(*stray), "spec": "garbage"})
    woken.taken()

    watcher.see_own("ADDED", obj("ModelDeployment", "m"))
    assert woken.taken() == {Key("ModelDeployment", "m"), FLEET, kb}
    watcher.see_own("MODIFIED", obj("ModelDeployment", "m"))
    assert woken.taken() == set(), "only its status changed: who wrote it woke the others"
    watcher.see_own("MODIFIED", obj("ModelDeployment", "m", finalizers=["f"]))
    assert woken.taken() == {Key("ModelDeployment", "m")}, "a finalizer concerns nobody else"
    watcher.see_own("ADDED", obj("ModelDeployment", "r"))
    assert woken.taken() == {Key("ModelDeployment", "r"), FLEET, other}
    watcher.see_own("ADDED", obj("ModelDeployment", "n"))
    assert woken.taken() == {Key("ModelDeployment", "n"), FLEET, other}
    watcher.see_own("DELETED", obj("ModelDeployment", "n"))
    watcher.see_own("DELETED", obj("ModelDeployment", "r"))
    woken.taken()
    watcher.see_own("ADDED", obj("InferenceNode", "n"))
    assert woken.taken() == {Key("InferenceNode", "n"), FLEET, RELEASE}
    watcher.see_own("MODIFIED", obj(*kb, generation=2))
    assert woken.taken() == {kb, src, stray}, "what a garbled source names is not known"
    watcher.see_own("MODIFIED", obj(*src, annotations={"hearth.banjonet.com/run-now": "1"}))
    assert woken.taken() == {src}
    watcher.see_own("MODIFIED", obj(*src, annotations={"hearth.banjonet.com/run-now": "1"}))
    assert woken.taken() == set()
    watcher.see_own("DELETED", obj("ModelDeployment", "m"))
    assert woken.taken() == {Key("ModelDeployment", "m"), FLEET, kb}
    assert list(ctx.world.names("ModelDeployment")) == []
    watcher.see_own("DELETED", obj(*src))
    assert src not in ctx.world.uses


def test_a_burst_is_one_look_at_the_fleet() -> None:
    ctx, _, woken = watched()
    ctx.world.fleet_at = 99.9
    ctx.wake_fleet()
    assert woken.delays == [pytest.approx(0.4)]


def test_children_wake_their_resource() -> None:
    _, watcher, woken = watched()
    labels = names.labels(names.SOURCE, "i", component="ingest")
    watcher.see_child({"kind": "Pod", "metadata": {"labels": labels}})
    assert woken.taken() == {Key(names.SOURCE, "i")}
    watcher.see_child({"kind": "Secret", "metadata": {"labels": {}}})
    assert woken.taken() == {RELEASE}


# Facts of pods


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        ({}, None),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, None),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]},
            "ErrImagePull: no",
        ),
        ({"conditions": [{"reason": "Unschedulable", "message": "0/1 nodes"}]}, "Unschedulable: 0/1 nodes"),
    ],
)
def test_a_pod_that_cannot_run_says_why(status, failure) -> None:
    assert pod_facts([{"status": status}]).failure == failure


# Settings, rights, certificates


def test_settings_come_from_the_environment() -> None:
    env = {"HEARTH_NAMESPACE": "n", "HEARTH_CONTROL_IMAGE": "c", "HEARTH_SERVE_IMAGE": "s"}
    assert from_environment(env) == SETTINGS
    assert from_environment({**env, "HEARTH_STORAGE_CLASS": "fast"}) == replace(SETTINGS, storage_class="fast")
    with pytest.raises(SettingsError, match="HEARTH_SERVE_IMAGE is not set"):
        from_environment({k: v for k, v in env.items() if "SERVE" not in k})
    with pytest.raises(SettingsError, match="HEARTH_HTTP_PORT"):
        from_environment({**env, "HEARTH_HTTP_PORT": "web"})


def test_rights_are_listed_once_and_nothing_is_a_wildcard() -> None:
    seen = [(r.group, r.resource) for r in RULES]
    assert len(seen) == len(set(seen))
    assert len(role_rules()) == len(RULES)
    assert not any("*" in (r.group, r.resource, *r.verbs) for r in RULES)
    # Kubernetes lets nobody grant what he does not hold.
    assert {"get", "watch"} <= set(next(r.verbs for r in RULES if r.resource == "secrets"))


def test_a_certificate_names_the_service_and_is_signed_by_its_own_ca() -> None:
    made = issue("hearth-node-home", namespace="hearth", now=NOW)
    ca = x509.load_pem_x509_certificate(made.ca)
    leaf = x509.load_pem_x509_certificate(made.certificate)
    leaf.verify_directly_issued_by(ca)
    names_ = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names_.get_values_for_type(x509.DNSName) == [
        "hearth-node-home",
        "hearth-node-home.hearth",
        "hearth-node-home.hearth.svc",
        "hearth-node-home.hearth.svc.cluster.local",
        "localhost",
    ]
    assert [str(a) for a in names_.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert b"PRIVATE KEY" in made.key


# The command line

QUICKSTART = Path(__file__).parents[3] / "crds/examples/quickstart"


def test_plan_prints_what_files_lead_to() -> None:
    out, err = io.StringIO(), io.StringIO()
    assert plan_files([QUICKSTART], out=out, err=err) == 0
    text = out.getvalue()
    assert "ModelDeployment chat: deploy chat.cpu on studio (LlamaCpp" in text
    assert "IngestionSource inbox: runs once, then when asked to; reads sample/mail.mbox of claim hearth-data" in text
    assert "  CronJob hearth-ingest-inbox" in text


def test_plan_knows_of_a_mirror_when_it_is_told(tmp_path, capsys) -> None:
    file = tmp_path / "house.yaml"
    file.write_text(
        "apiVersion: hearth.banjonet.com/v1alpha1\nkind: InferenceNode\nmetadata: {name: home}\n"
        "spec: {type: Managed, accelerator: {type: CPU}, managed: {}}\n---\n"
        "apiVersion: hearth.banjonet.com/v1alpha1\nkind: ModelDeployment\nmetadata: {name: chat}\n"
        "spec: {task: Chat, variants: [{name: cpu, engine: LlamaCpp, node: {name: home}, "
        "model: {source: 'hf://owner/model@main/m.gguf'}, resources: {memory: 256Mi}}]}\n"
    )
    assert main(["plan", str(file)]) == 0
    assert "turn on the mirror (mirror.enabled in the chart's values)" in capsys.readouterr().out
    assert main(["plan", "--mirror", str(file)]) == 0
    assert "deploy chat.cpu on home (LlamaCpp, hf://owner/model@main/m.gguf)" in capsys.readouterr().out


def test_plan_names_the_field_that_is_wrong(tmp_path, capsys) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "apiVersion: hearth.banjonet.com/v1alpha1\nkind: KnowledgeBase\nmetadata: {name: w}\n"
        "spec: {embedding: {modl: embed}}\n"
    )
    assert main(["plan", str(bad)]) == 1
    assert "spec.embedding.modl: unknown field" in capsys.readouterr().err
    assert main(["plan", str(tmp_path / "absent.yaml")]) == 1
    assert "No such file" in capsys.readouterr().err
