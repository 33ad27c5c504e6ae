"""Blind terms, fusion, and plans: pure functions as tables."""

import pytest

from hearth_knowledge.index import terms
from hearth_knowledge.index.fusion import Fusion, FusionMethod, fuse, spread
from hearth_knowledge.index.ledger import IndexedVersion
from hearth_knowledge.index.milvus import build_filter
from hearth_knowledge.index.planning import plan_document
from hearth_knowledge.ports import RowFilter, parse_row_id, row_id
from hearth_knowledge.storage.documents import VersionRow, choose_start
from hearth_knowledge.storage.schema import FOREVER

KEY = b"k" * 32


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The pump is in the house and it is old", "en"),
        ("Die Pumpe ist in dem Haus und sie ist alt", "de"),
        ("La pompe est dans la maison et elle est vieille pour nous", "fr"),
        ("", "en"),
        ("C14 47uF", "en"),
    ],
)
def test_language_is_guessed_from_common_words(text: str, language: str) -> None:
    assert terms.guess_language(text) == language


@pytest.mark.parametrize(
    ("document", "language", "query"),
    [
        ("shipping the enclosures", "en", "enclosure shipped"),
        ("Wartungsverträge", "de", "WARTUNGSVERTRAG"),
        ("les résistances", "fr", "resistance"),
        ("part BF-D19", "en", "bf-d19"),
        ("mail to anna@example.org", "en", "anna@example.org"),
    ],
)
def test_a_query_finds_other_forms_of_a_word(document: str, language: str, query: str) -> None:
    assert terms.query_terms(query) <= set(terms.document_terms(document, language=language)) | terms.query_terms(query)
    assert terms.query_terms(query) & set(terms.document_terms(document, language=language))


def test_dimensions_depend_on_the_key_and_fit_milvus() -> None:
    one, other = terms.term_dimension("pump", key=KEY), terms.term_dimension("pump", key=b"x" * 32)
    assert one != other
    assert 0 <= one < terms.DIMENSIONS


def test_bm25_weighs_rare_terms_more_and_repetition_less_and_less() -> None:
    once = terms.document_vector({"pump": 1, "house": 1}, key=KEY, reference_length=10)
    often = terms.document_vector({"pump": 8, "house": 1}, key=KEY, reference_length=10)
    pump, house = terms.term_dimension("pump", key=KEY), terms.term_dimension("house", key=KEY)
    assert once[pump] < often[pump] < 8 * once[pump]
    query = terms.query_vector([pump, house, 5], frequencies={pump: 1, house: 90}, chunks=100)
    assert query[pump] > query[house] > 0
    assert 5 not in query


def test_fusion_prefers_what_both_legs_found() -> None:
    for method in FusionMethod:
        rows = fuse([("a", 0.9), ("b", 0.8)], [("b", 7.0), ("c", 6.0)], fusion=Fusion(method=method))
        assert rows[0].id == "b"
        assert (rows[0].dense, rows[0].sparse) == (0.8, 7.0)


def test_one_leg_alone_keeps_its_order_and_ties_break_by_id() -> None:
    for method in FusionMethod:
        rows = fuse([], [("c", 2.0), ("b", 1.0)], fusion=Fusion(method=method))
        assert [row.id for row in rows] == ["c", "b"]
    tied = fuse([("b", 1.0), ("a", 1.0)], [], fusion=Fusion())
    assert [row.id for row in tied] == ["a", "b"]
    assert fuse([], [], fusion=Fusion()) == []


def test_one_document_does_not_flood_the_results() -> None:
    assert spread(list("aaab"), limit=3, per_key=2) == [0, 1, 3]
    assert spread(list("aaa"), limit=3, per_key=2) == [0, 1, 2]
    assert spread([], limit=3, per_key=2) == []


def test_a_row_id_names_its_chunk() -> None:
    assert parse_row_id(row_id("email-abc", 3, 7)) == ("email-abc", 3, 7)


def test_the_filter_quotes_and_joins() -> None:
    where = RowFilter(valid_at=5, source=('a"b',), people=("p",), thread="t", after=1, before=9)
    assert build_filter(where) == (
        'valid_from <= 5 and valid_to > 5 and source in ["a\\"b"] and ARRAY_CONTAINS_ANY(people, ["p"])'
        ' and thread == "t" and time >= 1 and time < 9'
    )


@pytest.mark.parametrize(
    ("said", "last", "start"),
    [(None, None, 100), (50, None, 50), (200, None, 100), (50, 60, 100), (80, 60, 80), (None, 100, 101), (60, 60, 100)],
    ids=["says nothing", "the past", "the future", "before the last", "after the last", "clock stood", "same time"],
)
def test_when_a_version_begins(said: int | None, last: int | None, start: int) -> None:
    assert choose_start(said, last=last, now=100) == start


def version(number: int, *, to: int = FOREVER, tombstone: bool = False, parent: str | None = None) -> VersionRow:
    return VersionRow(
        document="d", version=number, tombstone=tombstone, recorded=0, valid_from=number, valid_to=to, parent=parent
    )


def held(number: int, *, to: int = FOREVER, quoted: bool = True) -> IndexedVersion:
    return IndexedVersion(document="d", version=number, valid_to=to, quoted=quoted, count=1)


@pytest.mark.parametrize(
    ("versions", "indexed", "present", "index", "close", "remove"),
    [
        ([version(1)], [], False, [(1, True)], [], []),
        ([version(1)], [held(1)], False, [], [], []),
        ([version(1, to=2), version(2)], [held(1)], False, [(2, True)], [1], []),
        ([version(1, to=2), version(2, tombstone=True)], [held(1)], False, [], [1], []),
        ([version(1, to=2), version(2, tombstone=True)], [held(1, to=2)], False, [], [], []),
        ([version(1, parent="p")], [held(1)], True, [(1, False)], [], []),
        ([version(1, parent="p")], [held(1, quoted=False)], False, [(1, True)], [], []),
        ([version(1)], [held(1), held(9)], False, [], [], [9]),
    ],
    ids=[
        "new", "done", "replaced", "deleted", "deletion done", "its original came", "its original went", "unknown version",
    ],
)  # fmt: skip
def test_what_a_document_needs(
    *,
    versions: list[VersionRow],
    indexed: list[IndexedVersion],
    present: bool,
    index: list[tuple[int, bool]],
    close: list[int],
    remove: list[int],
) -> None:
    plan = plan_document(versions, indexed, parent_present=present)
    assert [(row.version, quoted) for row, quoted in plan.index] == index
    assert [row.version for row in plan.close] == close
    assert list(plan.remove) == remove
    assert plan.is_empty == (not index and not close and not remove)
