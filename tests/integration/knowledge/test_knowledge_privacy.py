"""Nothing readable on disk, originals whole, and a deleted knowledge base leaves no byte."""

from pathlib import Path

import pytest

from hearth_api.wire.documents import compute_content_hash
from hearth_knowledge.index.milvus import MilvusStore
from support.embedder import EmbeddingServer, embedding_config
from support.knowledge import KnowledgePod, mail, tombstone

pytestmark = pytest.mark.asyncio(loop_scope="session")

CANARY = "zanzibarquokka"
INGEST = "hearth-ingest-inbox"


def places(folder: Path, needle: str) -> list[str]:
    """Return every file that holds a string in any of the usual spellings."""
    spellings = [
        form.encode(code) for form in (needle, needle.upper(), needle.title()) for code in ("utf-8", "utf-16-le")
    ]
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and any(spelling in path.read_bytes() for spelling in spellings)
    ]


async def test_no_file_holds_a_word_of_a_document(gateway: EmbeddingServer, tmp_path: Path) -> None:
    kb = "canary"
    document = mail(
        f"mid:<{CANARY}@example.org>", f"The word is {CANARY}. " * 40, title=f"About {CANARY}",
        author=f"{CANARY}@example.org", name=f"{CANARY.title()} Smith", to=f"to-{CANARY}@example.org",
        quoted=f"They said {CANARY}", thread=f"thread-{CANARY}",
    )  # fmt: skip
    assert document.content_hash == compute_content_hash(document)
    changed = mail(f"mid:<{CANARY}@example.org>", f"Changed {CANARY}.", title=f"Again {CANARY}")
    async with KnowledgePod(tmp_path, gateway_url=gateway.url) as pod:
        await pod.configure(kb, embedding_config(gateway.engine))
        await pod.put(kb, [document], source="inbox")
        original = f"{CANARY} as it was ".encode() * 1000
        path = f"/v1/kbs/{kb}/documents/{document.id}/original"
        status, _ = await pod.call("PUT", path, account=INGEST, body=original, content_type="text/plain")
        assert status == 204
        await pod.json("PUT", f"/v1/kbs/{kb}/sources/inbox/cursor", account=INGEST, body={"value": CANARY})
        await pod.indexed(kb)
        assert await pod.search(kb, CANARY, filters={"people": [CANARY]}, explain=True)
        await pod.put(kb, [changed], source="inbox")
        await pod.indexed(kb)
        await pod.put(kb, [tombstone(document)], source="inbox")
        await pod.indexed(kb)
        assert places(tmp_path, CANARY) == []  # while it runs: database, log, shared memory, blobs, vectors, logs
        assert places(tmp_path, document.content_hash.removeprefix("sha256:")) == []
        # The scan can find something: a source's name may stand there.
        assert places(tmp_path / "data", "inbox")
        pod.service.stop()
    assert places(tmp_path, CANARY) == []


async def test_originals_come_back_whole(pod: KnowledgePod, gateway: EmbeddingServer) -> None:
    kb = "originals"
    await pod.configure(kb, embedding_config(gateway.engine))
    document = mail("mid:<file@example.org>", "See the file.")
    await pod.put(kb, [document], source="inbox")
    path = f"/v1/kbs/{kb}/documents/{document.id}/original"
    for size in (0, 1, 1 << 20, (3 << 20) + 17):
        data = bytes(number % 251 for number in range(size))
        status, _ = await pod.call("PUT", path, account=INGEST, body=data, content_type="message/rfc822")
        assert status == 204
        status, answer = await pod.call("GET", path, account="hearth-gateway")
        assert status == 200
        assert answer == data
    status, _ = await pod.call("PUT", path, account="hearth-ingest-other", body=b"x")
    assert status == 403


async def test_deleting_a_knowledge_base_removes_everything_of_it_and_nothing_else(
    gateway: EmbeddingServer, tmp_path: Path
) -> None:
    async with KnowledgePod(tmp_path, gateway_url=gateway.url) as pod:
        for kb in ("gone", "kept"):
            await pod.configure(kb, embedding_config(gateway.engine))
            await pod.put(kb, [mail("mid:<1@example.org>", "The ferry leaves at nine.")], source="inbox")
            await pod.indexed(kb)
        status, _ = await pod.call("DELETE", "/v1/kbs/gone", account="hearth-operator")
        assert status == 204
        status, _ = await pod.call("GET", "/v1/kbs/gone/status", account="hearth-operator")
        assert status == 404
        status, _ = await pod.call("POST", "/v1/kbs/gone/search", account="hearth-gateway", body={"query": "ferry"})
        assert status == 404
        status, _ = await pod.call("DELETE", "/v1/kbs/gone", account="hearth-operator")
        assert status == 204
        assert not (tmp_path / "data" / "kbs" / "gone").exists()
        store = MilvusStore(f"http://127.0.0.1:{pod.milvus_port}")
        assert all(name.startswith("kb_kept_") for name in store.list_collections("kb_"))
        store.close()
        assert len(await pod.search("kept", "ferry")) == 1
        await pod.configure("gone", embedding_config(gateway.engine))
        assert await pod.search("gone", "ferry") == []
