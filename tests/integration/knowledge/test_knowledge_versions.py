"""Updates, deletions and earlier days, through the real index."""

from typing import Any

import pytest

from support.embedder import EmbeddingServer, embedding_config
from support.knowledge import KnowledgePod, mail, tombstone, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

GATEWAY = "hearth-gateway"


def offer(price: str, modified: str) -> Any:
    return mail(
        "mid:<offer@example.org>", f"The tender valve costs {price} euros.", title="Offer for valves",
        created="2026-10-01T08:00:00Z", modified=modified,
    )  # fmt: skip


async def texts(pod: KnowledgePod, kb: str, query: str, **request: Any) -> list[str]:
    return [row["text"] for row in await pod.search(kb, query, **request)]


async def test_an_update_answers_now_and_the_old_text_answers_for_its_day(
    pod: KnowledgePod, gateway: EmbeddingServer
) -> None:
    kb = "versions"
    await pod.configure(kb, embedding_config(gateway.engine))
    first, second = offer("90", "2026-10-01T08:00:00Z"), offer("75", "2026-10-20T08:00:00Z")
    (answer,) = await pod.put(kb, [first], source="inbox")
    assert (answer["version"], answer["state"]) == (1, "added")
    await pod.indexed(kb)
    (answer,) = await pod.put(kb, [second], source="inbox")
    assert (answer["version"], answer["state"]) == (2, "updated")
    status = await pod.indexed(kb)
    assert status["documents"] == 1
    assert status["chunks"] == 2

    assert await texts(pod, kb, "price of the tender valve") == ["The tender valve costs 75 euros."]
    early = await texts(pod, kb, "price of the tender valve", as_of="2026-10-10T00:00:00Z")
    assert early == ["The tender valve costs 90 euros."]
    assert await texts(pod, kb, "tender valve", as_of="2026-09-01T00:00:00Z") == []

    path = f"/v1/kbs/{kb}/documents/{first.id}"
    view = await pod.json("GET", path, account=GATEWAY)
    assert (view["version"], view["document"]["contentHash"]) == (2, second.content_hash)
    view = await pod.json("GET", path + "?version=1", account=GATEWAY)
    assert view["document"]["contentHash"] == first.content_hash
    view = await pod.json("GET", path + "?as_of=2026-10-10T00:00:00Z", account=GATEWAY)
    assert (view["version"], view["validTo"]) == (1, "2026-10-20T08:00:00Z")
    history = await pod.json("GET", path + "/history", account=GATEWAY)
    assert [version["state"] for version in history["versions"]] == ["present", "present"]
    diff = await pod.json("GET", path + "/diff?from_version=1&to_version=2", account=GATEWAY)
    assert diff["changes"][0]["after"] == ["The tender valve costs 75 euros."]


async def test_a_deleted_document_leaves_search_at_once_and_stays_in_history(
    pod: KnowledgePod, gateway: EmbeddingServer
) -> None:
    kb = "deletions"
    await pod.configure(kb, embedding_config(gateway.engine))
    document = mail("mid:<gone@example.org>", "The key of the boathouse hangs behind the pump.")
    await pod.put(
        kb, [document, mail("mid:<stays@example.org>", "The boathouse was painted in spring.")], source="inbox"
    )
    await pod.indexed(kb)
    assert document.id in {row["document"] for row in await pod.search(kb, "Where is the boathouse key?")}
    before = (await pod.search(kb, "boathouse"))[0]["time"]
    assert before

    (answer,) = await pod.put(kb, [tombstone(document)], source="inbox")
    assert (answer["version"], answer["state"]) == (2, "deleted")
    # At once: SQL decides, whatever the index still holds.
    assert document.id not in {row["document"] for row in await pod.search(kb, "Where is the boathouse key?")}
    await pod.indexed(kb)
    assert document.id not in {row["document"] for row in await pod.search(kb, "Where is the boathouse key?")}

    status, _ = await pod.call("GET", f"/v1/kbs/{kb}/documents/{document.id}", account=GATEWAY)
    assert status == 404
    history = await pod.json("GET", f"/v1/kbs/{kb}/documents/{document.id}/history", account=GATEWAY)
    assert [version["state"] for version in history["versions"]] == ["present", "deleted"]
    earlier = await pod.search(kb, "boathouse key", as_of=before)
    assert document.id in {row["document"] for row in earlier}
    manifest = await pod.call("GET", f"/v1/kbs/{kb}/sources/inbox/manifest", account="hearth-ingest-inbox")
    assert document.id.encode() not in manifest[1]

    (answer,) = await pod.put(kb, [document], source="inbox")
    assert (answer["version"], answer["state"]) == (3, "added")
    await pod.indexed(kb)
    assert document.id in {row["document"] for row in await pod.search(kb, "Where is the boathouse key?")}


async def test_quoted_text_is_indexed_only_while_its_original_is_absent(
    pod: KnowledgePod, gateway: EmbeddingServer
) -> None:
    kb = "quotes"
    await pod.configure(kb, embedding_config(gateway.engine))
    words = "The narwhal buoy was moored at kilometre seventeen."
    original = mail("mid:<buoy-1@example.org>", words)
    reply = mail("mid:<buoy-2@example.org>", "Thanks, noted.", quoted=words, parent=original.id)
    await pod.put(kb, [reply], source="inbox")
    await pod.indexed(kb)
    (row,) = list(await pod.search(kb, "Where is the narwhal buoy moored?", mode="sparse"))
    assert (row["document"], row["text"]) == (reply.id, words)
    await pod.put(kb, [original], source="inbox")
    status = await pod.indexed(kb)
    assert status["chunks"] == 2
    (row,) = list(await pod.search(kb, "narwhal", mode="sparse"))
    assert row["document"] == original.id
    await pod.put(kb, [tombstone(original)], source="inbox")
    await pod.indexed(kb)

    async def found() -> bool:
        # milvus-lite may not show a row for a moment that it was given again after a deletion (README, limits).
        return [row["document"] for row in await pod.search(kb, "narwhal", mode="sparse")] == [reply.id]

    await until(found, seconds=10, what="the quoted text in the reply")


async def test_filters(pod: KnowledgePod, gateway: EmbeddingServer) -> None:
    kb = "filters"
    await pod.configure(kb, embedding_config(gateway.engine))
    anna = mail("mid:<a@example.org>", "Anna measured the weir.", created="2026-10-01T00:00:00Z", thread="thread-a")
    carl = mail(
        "mid:<c@example.org>", "Carl measured the weir.", created="2026-10-09T00:00:00Z", thread="thread-c",
        author="carl@example.org", name="Carl Ünal",
    )  # fmt: skip
    await pod.put(kb, [anna, carl], source="inbox")
    await pod.put(kb, [mail("file:w.md", "The weir is measured yearly.", source="files")], source="files")
    await pod.indexed(kb)

    async def found(**filters: Any) -> set[str]:
        rows = await pod.search(kb, "Who measured the weir?", filters=filters)
        return {row["origin_key"] for row in rows}

    assert len(await found()) == 3
    assert await found(people=["carl@example.org"]) == {"mid:<c@example.org>"}
    assert await found(people=["unal"]) == {"mid:<c@example.org>"}
    assert await found(people=[carl.authors[0].id]) == {"mid:<c@example.org>"}
    assert await found(source=["files"]) == {"file:w.md"}
    assert await found(thread="thread-a") == {"mid:<a@example.org>"}
    assert await found(after="2026-10-08T00:00:00Z") == {"mid:<c@example.org>"}
    assert await found(before="2026-10-02T00:00:00Z") == {"mid:<a@example.org>"}
    assert await found(kind=["calendar"]) == set()
    assert await found(trust=["Own"]) == set()
    assert len(await found(trust=["External", "Own"], kind=["email"])) == 3
