"""Which vector store is used, and with which credentials."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.knowledge import EmbeddingConfig, KbConfig, StoreConfig
from hearth_knowledge.errors import InvalidRequestError, StoreUnavailableError
from hearth_knowledge.index import milvus
from hearth_knowledge.index.milvus import MilvusStore
from hearth_knowledge.index.stores import Credentials, Stores
from hearth_knowledge.storage.registry import collection_name
from support.knowledge_fakes import MemoryStore

URI = "http://milvus:19530"
OPENED = StoreConfig(mode="External", uri=URI, credentials="work")


class Connections:
    """Remembers who was connected how."""

    def __init__(self) -> None:
        self.made: list[tuple[str, Callable[[], Credentials] | None]] = []

    def __call__(self, uri: str, *, credentials: Callable[[], Credentials] | None = None) -> MemoryStore:
        self.made.append((uri, credentials))
        return MemoryStore()


def test_one_connection_per_address_and_credentials(tmp_path: Path) -> None:
    connect = Connections()
    stores = Stores(connect, embedded_uri="http://here", folder=tmp_path)
    other = OPENED.model_copy(update={"credentials": "other"})
    plain = StoreConfig(mode="External", uri=URI)
    found = [stores.get(config) for config in (StoreConfig(), plain, OPENED, other, OPENED, plain)]
    assert found[4] is found[2]
    assert found[5] is found[1]
    assert [uri for uri, _ in connect.made] == ["http://here", URI, URI, URI]


def test_credentials_are_read_at_each_connection(tmp_path: Path) -> None:
    connect = Connections()
    Stores(connect, embedded_uri="", folder=tmp_path).get(OPENED)
    ((_, read),) = connect.made
    assert read is not None
    with pytest.raises(StoreUnavailableError, match="not mounted yet"):
        read()
    for password in ("one", "two:"):
        (tmp_path / "work").write_text(json.dumps({"username": "root", "password": password}))
        assert read() == Credentials(username="root", password=password)
        assert password not in repr(read())
    (tmp_path / "work").write_text('{"username": "SECRET"')
    with pytest.raises(StoreUnavailableError) as caught:
        read()
    assert "SECRET" not in str(caught.value)


def test_an_entry_cannot_lead_elsewhere(tmp_path: Path) -> None:
    stores = Stores(Connections(), embedded_uri="", folder=tmp_path)
    with pytest.raises(InvalidRequestError):
        stores.get(OPENED.model_copy(update={"credentials": "../kek/v1"}))


def test_credentials_force_no_new_index() -> None:
    embedding = EmbeddingConfig(model="embed", digest="d", dimensions=4)
    plain = KbConfig(embedding=embedding, store=StoreConfig(mode="External", uri=URI))
    assert collection_name("work", plain) == collection_name("work", plain.model_copy(update={"store": OPENED}))


def test_renewed_credentials_are_used_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    valid, now, made = {"password": "two"}, ["one", "two"], []

    class Client:
        def __init__(self, **options: Any) -> None:
            made.append(options)
            self.good = options["password"] == valid["password"]

        def get_server_version(self, timeout: float) -> str:
            if not self.good:
                raise milvus.MilvusException(code=1800, message="auth check failure")
            return "2.6"

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(milvus, "MilvusClient", Client)
    store = MilvusStore(URI, credentials=lambda: Credentials(username="root", password=now.pop(0)))
    with pytest.raises(StoreUnavailableError, match="1800"):
        store.ping()
    store.ping()
    store.ping()
    assert [options["password"] for options in made] == ["one", "two"]
    assert made[0]["user"] == "root"
