"""The fold from resources to the catalog, keys, and the reflector that keeps them fresh."""

import asyncio
import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.conditions import Condition
from hearth_api.kinds.model import VariantStatus
from hearth_api.kinds.node import InferenceNodeStatus
from hearth_api.kinds.source import IngestionSourceStatus, RunStatus
from hearth_common.errors import KubeStatusError, KubeUnreachableError
from hearth_gateway.catalog.model import SecretRef, fold, parse_quantity
from hearth_gateway.catalog.reflector import Reflector
from hearth_gateway.catalog.source import KubeCatalog, decode_secret, read_keys
from hearth_gateway.status import RUN_FIELDS
from support.gateway import api_key, catalog, deployment, key_record, knowledge_base, variant


def test_a_contested_alias_stays_with_the_older_and_a_name_always_wins():
    found = catalog(
        deployment("young", aliases=("assistant", "old"), created="2026-02-01T00:00:00Z"),
        deployment("old", aliases=("assistant",), created="2026-01-01T00:00:00Z"),
    )
    assert found.find("assistant").name == "old"
    assert found.find("old").name == "old"


def test_a_variant_is_read_with_its_secrets():
    entry = variant(
        tokenSecretRef={"name": "hearth-serve-home"}, caSecretRef={"name": "hearth-serve-home", "key": "x.crt"}
    )
    (found,) = catalog(deployment(variants=[entry])).models["chat"].variants
    assert found.token == SecretRef("hearth-serve-home", "token")
    assert found.ca == SecretRef("hearth-serve-home", "x.crt")
    assert found.memory_bytes == 300 * 2**20


@pytest.mark.parametrize(
    ("text", "number"),
    [("1Gi", 2**30), ("300Mi", 300 * 2**20), ("1.5G", 1_500_000_000), ("7", 7), (None, 0), ("-1", 0), ("lots", 0)],
)
def test_quantities(text, number):
    assert parse_quantity(text) == number


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
parts = st.dictionaries(
    st.sampled_from(["variants", "conditions", "aliases", "task", "sources", "dimensions", "embedding", "name"]),
    json_values | st.lists(st.dictionaries(st.sampled_from(["url", "slots", "name", "type", "memory"]), json_values)),
)


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({"spec": parts | json_values, "status": parts | json_values}))
def test_a_broken_resource_never_spoils_another(broken):
    broken = {**broken, "metadata": {"name": "broken", "creationTimestamp": broken["spec"]}}
    found = fold([broken, deployment()], [broken, knowledge_base()])
    assert found.find("chat").candidates
    assert "work" in found.knowledge_bases


def test_a_broken_key_grants_nothing_and_spoils_no_other():
    key = api_key()
    entries = {
        "abcdefghij": key_record(key).model_dump_json(by_alias=True).encode(),
        "broken": b"{",
        "renamed": key_record(key).model_dump_json(by_alias=True).encode(),
    }
    assert list(read_keys(entries)) == ["abcdefghij"]


def test_a_secrets_broken_entry_is_left_out():
    good = base64.b64encode(b"x").decode()
    assert decode_secret({"data": {"a": good, "b": "***", "c": None}}) == {"a": b"x"}
    assert decode_secret({}) == {}


class FakeList:
    """Gives scripted lists and watches; the last watch stays open."""

    def __init__(self, lists, watches):
        self.lists, self.watches = list(lists), list(watches)
        self.calls = []
        self.idle = asyncio.Event()

    async def get(self, path, params=None):
        self.calls.append(("list", None))
        found = self.lists.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def watch(self, path, params, *, idle_seconds):
        self.calls.append(("watch", params["resourceVersion"]))
        if not self.watches:
            self.idle.set()
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event


def _list(version, *names):
    return {"metadata": {"resourceVersion": version}, "items": [_item(name, version) for name in names]}


def _item(name, version):
    return {"metadata": {"name": name, "resourceVersion": version}}


def _event(kind, name, version):
    return {"type": kind, "object": _item(name, version)}


async def _run(api):
    seen, slept = [], []

    async def sleep(seconds):
        slept.append(seconds)

    reflector = Reflector(api, path="/x", on_change=lambda objects: seen.append(sorted(objects)), sleep=sleep)
    task = asyncio.create_task(reflector.run())
    await asyncio.wait_for(api.idle.wait(), 2)
    task.cancel()
    return seen, slept, reflector


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}


async def test_events_change_what_is_known_and_the_watch_goes_on_where_it_ended():
    api = FakeList(
        [_list("5", "a")],
        [[_event("ADDED", "b", "6"), _event("DELETED", "a", "7"), {"type": "BOOKMARK", "object": _item("", "9")}]],
    )
    seen, _, reflector = await _run(api)
    assert seen == [["a"], ["a", "b"], ["b"]]
    assert api.calls == [("list", None), ("watch", "5"), ("watch", "9")]
    assert reflector.synced.is_set()


@pytest.mark.parametrize(
    "gone", [GONE, KubeStatusError(path="/x", status=410, message="gone")], ids=["event", "status"]
)
async def test_an_expired_version_is_answered_by_a_new_list(gone):
    api = FakeList([_list("5", "a"), _list("50", "c")], [[gone]])
    seen, *_ = await _run(api)
    assert seen == [["a"], ["c"]]
    assert api.calls[-1] == ("watch", "50")


async def test_while_the_api_server_is_away_what_was_seen_stays_known():
    away = KubeUnreachableError(path="/x", reason="down")
    api = FakeList([away, _list("5", "a")], [[away], [away], [_event("ADDED", "b", "6")]])
    seen, slept, _ = await _run(api)
    assert seen == [["a"], ["a", "b"]]
    assert slept[0] < slept[-2] or len(slept) >= 3
    assert [call for call in api.calls if call[0] == "watch"][:3] == [("watch", "5")] * 3


async def test_the_cluster_catalog_folds_all_three_collections():
    key = api_key()
    secret = {
        "metadata": {"name": "hearth-api-keys"},
        "data": {"abcdefghij": base64.b64encode(key_record(key).model_dump_json(by_alias=True).encode()).decode()},
    }
    source = KubeCatalog(None, namespace="hearth", keys_secret="hearth-api-keys")
    changes = []
    source.subscribe(lambda: changes.append(len(source.catalog.models)))
    source._take_deployments({"chat": deployment()})
    source._take_bases({"work": knowledge_base()})
    source._take_keys({"hearth-api-keys": secret})
    assert changes == [1, 1]
    assert source.catalog.find("chat").candidates
    assert list(source.keys) == ["abcdefghij"]
    source._take_keys({})
    assert source.keys == {}
    assert not source.synced


async def test_nodes_and_sources_are_told_of_and_never_waited_for():
    source = KubeCatalog(None, namespace="hearth", keys_secret="hearth-api-keys")
    for reflector in source._reflectors:
        reflector.synced.set()
        reflector.connected = True
    assert source.synced
    assert source.connected
    source._take_nodes({"studio": {"metadata": {"name": "studio"}}})
    source._take_sources({"inbox": {"metadata": {"name": "inbox"}}})
    assert list(source.catalog.nodes) == ["studio"]
    assert list(source.catalog.sources) == ["inbox"]
    assert source.catalog.nodes["studio"].condition("Ready") is None


def test_the_status_of_nodes_and_sources_is_read_as_the_operator_writes_it():
    moment = datetime(2026, 11, 20, 14, 2, tzinfo=UTC)
    condition = Condition(
        type="Reachable", status="Unknown", reason="Unreachable", message="m", last_transition_time=moment
    )
    node = InferenceNodeStatus(conditions=(condition,)).model_dump(mode="json", by_alias=True)
    run = RunStatus(job="j", outcome="Failed", finished=moment, first_error="e", withheld={"hidden-text": 1})
    status = IngestionSourceStatus(last_run=run, active_job="k", next_run=moment).model_dump(mode="json", by_alias=True)
    found = fold(
        [],
        [],
        nodes=[{"metadata": {"name": "studio"}, "status": node}],
        sources=[{"metadata": {"name": "inbox"}, "spec": {"type": "Email", "suspend": True}, "status": status}],
    )
    reachable = found.nodes["studio"].condition("Reachable")
    assert (reachable.status, reachable.message, reachable.since) == ("Unknown", "m", "2026-11-20T14:02:00Z")
    inbox = found.sources["inbox"]
    assert (inbox.type, inbox.suspended, inbox.running, inbox.next_run) == ("Email", True, True, "2026-11-20T14:02:00Z")
    assert set(RUN_FIELDS) <= set(inbox.last_run)
    assert (inbox.last_run["outcome"], inbox.last_run["firstError"]) == ("Failed", "e")


def test_what_the_operator_writes_is_what_the_catalog_reads():
    written = VariantStatus(
        name="cpu",
        node="home",
        engine="LlamaCpp",
        url="https://hearth-node-home:8000/chat/cpu",
        token_secret_ref={"name": "hearth-serve-home", "key": "token"},
        ca_secret_ref={"name": "hearth-serve-home", "key": "ca.crt"},
        state="Available",
        context_tokens=2048,
        slots=2,
        model_digest="sha256:1",
        memory={"estimate": "300Mi"},
    ).model_dump(mode="json", by_alias=True)
    (found,) = fold([deployment(variants=[written])], []).models["chat"].candidates
    assert (found.url, found.slots, found.context_tokens) == (written["url"], 2, 2048)
    assert (found.token, found.ca) == (
        SecretRef("hearth-serve-home", "token"),
        SecretRef("hearth-serve-home", "ca.crt"),
    )


def test_a_variant_that_came_back_is_asked_only_once_it_is_available() -> None:
    entries = [
        {"name": "desk", "url": "https://desk", "state": "Loading", "reason": "Recovering"},
        {"name": "rack", "url": "https://rack", "state": "Available", "reason": "RayUnreachable"},
    ]
    raw = {"metadata": {"name": "chat"}, "spec": {"task": "Chat"}, "status": {"variants": entries}}
    (found,) = fold([raw], []).models.values()
    assert [v.name for v in found.candidates] == ["rack"]
    entries[0]["state"] = "Available"
    (found,) = fold([raw], []).models.values()
    assert [v.name for v in found.candidates] == ["desk", "rack"]
