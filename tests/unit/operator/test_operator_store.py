"""A knowledge base's vector store: one that we run, one that asks for credentials, and what is told of them."""

import base64
import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest

from hearth_api.wire.knowledge import EmbeddingConfig, StoreConfig
from hearth_operator import names
from hearth_operator.manifests.milvus import build_milvus
from hearth_operator.manifests.secrets import build_secret, secret_text
from hearth_operator.reconcile.knowledge import build_config
from hearth_operator.reconcile.store import ensure_store, prune_entries
from hearth_operator.settings import Settings
from support.operator_gen import knowledge_base

SETTINGS = Settings(namespace="n", control_image="c", serve_image="s")
PASSWORD = base64.urlsafe_b64encode(b"\x07" * 32).decode().rstrip("=")
MILVUS = "hearth-milvus-work"
EXTERNAL = {"mode": "External", "external": {"uri": "http://milvus:19530", "secretRef": {"name": "mine"}}}


class Cluster:
    """Objects by kind and name; the log of writes."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[tuple[str, str, str]] = []

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((kind, name)))

    async def list_all(self, kind: str, *, labels: Any = None) -> list[dict[str, Any]]:
        return [o for (k, _), o in self.objects.items() if k == kind]

    async def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        key = (manifest["kind"], manifest["metadata"]["name"])
        self.writes.append(("apply", *key))
        self.objects[key] = {**self.objects.get(key, {}), **copy.deepcopy(manifest)}
        return self.objects[key]

    async def create(self, manifest: dict[str, Any]) -> bool:
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key in self.objects:
            return False
        self.writes.append(("create", *key))
        self.objects[key] = copy.deepcopy(manifest)
        return True

    async def patch_entries(self, kind: str, name: str, data: dict[str, str | None]) -> None:
        self.writes.append(("patch", kind, name))
        entries = {**self.objects[kind, name].get("data", {}), **data}
        self.objects[kind, name]["data"] = {k: v for k, v in entries.items() if v is not None}

    def secret(self, name: str, **entries: str) -> None:
        self.objects["Secret", name] = build_secret(name, entries, namespace="n", component="test")

    def entry(self, name: str) -> Any:
        text = secret_text(self.objects.get(("Secret", names.SECRET_STORES)), name)
        return json.loads(text) if text else None


@pytest.fixture
def kube() -> Cluster:
    return Cluster()


def context(kube: Cluster) -> Any:
    return SimpleNamespace(settings=SETTINGS, kube=kube, random_bytes=lambda n: b"\x07" * n)


def up(kube: Cluster) -> None:
    """Milvus answers its probe."""
    kube.objects["Deployment", MILVUS]["status"] = {"availableReplicas": 1}


async def test_a_managed_store_is_made_waited_for_and_then_left_alone(kube: Cluster) -> None:
    kb = knowledge_base(store={"mode": "Managed"})
    config, blocked = await ensure_store(context(kube), kb)
    assert blocked is not None
    assert (blocked.status.value, blocked.reason) == ("False", "StoreNotReady")
    assert [write[:2] for write in kube.writes] == [
        ("create", "Secret"), ("create", "Secret"),
        ("apply", "PersistentVolumeClaim"), ("apply", "Service"), ("apply", "Deployment"),
    ]  # fmt: skip
    assert kube.entry("work") == {"username": "root", "password": PASSWORD}
    up(kube)
    kube.writes.clear()
    config, blocked = await ensure_store(context(kube), kb)
    assert blocked is None
    assert config == StoreConfig(mode="External", uri=f"http://{MILVUS}:19530", credentials="work")
    assert kube.writes == []


async def test_the_password_stands_in_secrets_only(kube: Cluster) -> None:
    kb = knowledge_base(store={"mode": "Managed"})
    config, _ = await ensure_store(context(kube), kb)
    embedding = EmbeddingConfig(model="embed", digest="d", dimensions=4)
    told = build_config(kb, embedding, store=config).model_dump_json()
    elsewhere = [o for (kind, _), o in kube.objects.items() if kind != "Secret"]
    assert PASSWORD not in json.dumps(elsewhere) + told
    secrets = {name for kind, name in kube.objects if kind == "Secret"}
    assert secrets == {MILVUS, names.SECRET_STORES}


def test_the_files_and_their_password_outlive_the_resource() -> None:
    objects = build_milvus(knowledge_base(store={"mode": "Managed"}), settings=SETTINGS)
    assert "ownerReferences" not in objects.claim["metadata"]
    assert objects.deployment["metadata"]["ownerReferences"][0]["kind"] == "KnowledgeBase"
    env = {e["name"]: e for e in objects.deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env["COMMON_SECURITY_AUTHORIZATIONENABLED"]["value"] == "true"
    assert env["COMMON_SECURITY_DEFAULTROOTPASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == MILVUS


async def test_a_lost_password_is_not_made_anew_beside_files_that_have_the_old_one(kube: Cluster) -> None:
    kb = knowledge_base(store={"mode": "Managed"})
    await ensure_store(context(kube), kb)
    up(kube)
    del kube.objects["Secret", MILVUS]
    _, blocked = await ensure_store(context(kube), kb)
    assert blocked is not None
    assert blocked.reason == "SecretNotFound"
    assert "restore the Secret" in blocked.message
    assert ("Secret", MILVUS) not in kube.objects
    del kube.objects["PersistentVolumeClaim", MILVUS]
    assert (await ensure_store(context(kube), kb))[1] is None
    assert ("Secret", MILVUS) in kube.objects


async def test_credentials_of_an_external_store_are_handed_on_and_renewed(kube: Cluster) -> None:
    kb = knowledge_base(store=EXTERNAL)
    _, blocked = await ensure_store(context(kube), kb)
    assert blocked is not None
    assert blocked.message == "Secret mine does not exist"
    kube.secret("mine", username="hearth")
    _, blocked = await ensure_store(context(kube), kb)
    assert blocked is not None
    assert blocked.message == "Secret mine lacks username or password"
    for password in ("one", "two"):
        kube.secret("mine", username="hearth", password=password)
        config, blocked = await ensure_store(context(kube), kb)
        assert (config.credentials, blocked) == ("work", None)
        assert kube.entry("work") == {"username": "hearth", "password": password}
    kube.writes.clear()
    await ensure_store(context(kube), kb)
    assert kube.writes == []


@pytest.mark.parametrize(
    ("store", "config"),
    [
        ({"mode": "Embedded"}, StoreConfig()),
        (
            {"mode": "External", "external": {"uri": "http://milvus:19530"}},
            StoreConfig(mode="External", uri="http://milvus:19530"),
        ),
    ],
)
async def test_a_store_without_credentials_writes_nothing(kube: Cluster, store: Any, config: StoreConfig) -> None:
    assert await ensure_store(context(kube), knowledge_base(store=store)) == (config, None)
    assert kube.writes == []


async def test_credentials_go_with_their_knowledge_base(kube: Cluster) -> None:
    await prune_entries(context(kube))
    kube.secret(names.SECRET_STORES, work="{}", gone="{}")
    kube.objects[names.KNOWLEDGE_BASE, "work"] = {"metadata": {"name": "work"}}
    await prune_entries(context(kube))
    assert set(kube.objects["Secret", names.SECRET_STORES]["data"]) == {"work"}
    kube.writes.clear()
    await prune_entries(context(kube))
    assert kube.writes == []
