"""Decisions of a run as values."""

import pytest

from hearth_api.wire.documents import ManifestLine
from hearth_ingest.item import Item, Listing
from hearth_ingest.plan import build_plan


def item(key: str, fingerprint: str = "f1") -> Item:
    return Item(key=key, fingerprint=fingerprint, uri="file:x", size=1)


def held(key: str, fingerprint: str = "f1", pipeline: str = "p1") -> ManifestLine:
    return ManifestLine(id=f"email-{key}", key=key, fingerprint=fingerprint, pipeline=pipeline, content_hash="h")


def decide(listing: Listing, *manifest: ManifestLine, pending: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    plan = build_plan(listing, manifest, pipeline="p1", owner=lambda key: key.partition("#")[0], pending=pending)
    return [(action.verb.value, action.key, action.reason) for action in plan.actions]


ONE = Listing(items=(item("a"),))


@pytest.mark.parametrize(
    ("listing", "manifest", "pending", "expected"),
    [
        pytest.param(ONE, (), (), [("add", "a", "not in the knowledge base")], id="new"),
        pytest.param(ONE, (held("a"),), (), [("unchanged", "a", "same fingerprint")], id="same"),
        pytest.param(ONE, (held("a", "f0"),), (), [("update", "a", "changed at the source")], id="changed"),
        pytest.param(ONE, (held("a", pipeline="p0"),), (), [("update", "a", "was read by another version or with other settings")], id="other parser"),
        pytest.param(ONE, (held("a"), held("a#2", "f0")), (), [("update", "a", "changed at the source")], id="an attachment of an earlier reading"),
        pytest.param(ONE, (held("a#2"),), (), [("add", "a", "an earlier run stopped in the middle of it")], id="attachments without their mail"),
        pytest.param(ONE, (held("a"),), ("a",), [("update", "a", "the last run stopped before it was acknowledged")], id="interrupted"),
        pytest.param(Listing(items=()), (held("a"), held("a#2")), (), [("delete", "a", "gone at the source")], id="gone with its attachments"),
        pytest.param(Listing(items=(), complete=False), (held("a"),), (), [("unchanged", "a", "not seen, but part of the source is unreadable")], id="out of sight is not gone"),
    ],
)  # fmt: skip
def test_decisions(
    listing: Listing, manifest: tuple[ManifestLine, ...], pending: tuple[str, ...], expected: list[tuple[str, str, str]]
) -> None:
    assert decide(listing, *manifest, pending=pending) == expected


def test_a_plan_prints_one_sentence_a_decision_and_a_sum() -> None:
    plan = build_plan(Listing(items=(item("a"), item("b"))), (held("b"), held("c")), pipeline="p1", owner=str)
    assert list(plan.lines()) == [
        "add       a  (not in the knowledge base)",
        "unchanged b  (same fingerprint)",
        "delete    c  (gone at the source)",
        "1 to add, 0 to update, 1 to delete, 1 unchanged",
    ]
