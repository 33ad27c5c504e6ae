"""Cutting documents."""

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.wire.documents import Anchor, Kind, Segment
from hearth_api.wire.knowledge import ChunkingConfig
from hearth_knowledge.index.chunking import chunk_document, count_tokens, describe_sender, describe_subject
from support.knowledge import mail

SIZES = ChunkingConfig(target_tokens=40, overlap_tokens=10)


def cut(*segments: Segment, include_quoted: bool = True, **fields: Any) -> list[Any]:
    document = mail("mid:<x@example.org>", "unused").model_copy(update={"segments": segments, **fields})
    return chunk_document(document, sizes=SIZES, include_quoted=include_quoted)


def test_a_short_mail_is_one_chunk_with_author_time_and_place() -> None:
    document = mail("mid:<x@example.org>", "Short text.")
    (chunk,) = chunk_document(document, sizes=SIZES, include_quoted=True)
    assert (chunk.ordinal, chunk.text, chunk.segment, chunk.author) == (0, "Short text.", 0, document.authors[0].id)
    assert chunk.time == "2026-10-05T09:12:44+02:00"


def test_segments_of_different_authors_are_never_mixed() -> None:
    chunks = cut(Segment(text="One.", author="person-a"), Segment(text="Two.", author="person-b"))
    assert [(chunk.text, chunk.author) for chunk in chunks] == [("One.", "person-a"), ("Two.", "person-b")]


def test_neighbours_that_agree_share_a_chunk_and_pages_do_not() -> None:
    first = Anchor(page=1, heading="Start")
    chunks = cut(
        Segment(text="One.", anchor=first), Segment(text="Two.", anchor=Anchor(page=1)),
        Segment(text="Three.", anchor=Anchor(page=2)),
    )  # fmt: skip
    assert [chunk.text for chunk in chunks] == ["One.\n\nTwo.", "Three."]
    assert chunks[0].anchor == first


def test_long_text_is_cut_at_sentences_and_the_last_one_is_repeated() -> None:
    sentences = [f"Sentence number {number} is written here now." for number in range(12)]
    chunks = cut(Segment(text=" ".join(sentences)))
    assert len(chunks) > 2
    assert all(count_tokens(chunk.text) <= SIZES.target_tokens for chunk in chunks)
    for before, after in itertools.pairwise(chunks):
        assert before.text.endswith(after.text.split(". ")[0] + ".")


def test_signatures_and_headers_of_mails_are_left_out_and_quotes_on_demand() -> None:
    segments = (
        Segment(text="From: a", role="header"), Segment(text="They wrote this.", role="quoted"),
        Segment(text="My answer."), Segment(text="Regards", role="signature"),
    )  # fmt: skip
    assert [(chunk.text, chunk.quoted) for chunk in cut(*segments)] == [
        ("My answer.", False),
        ("They wrote this.", True),
    ]
    assert [chunk.text for chunk in cut(*segments, include_quoted=False)] == ["My answer."]
    assert [chunk.text for chunk in cut(segments[0], kind=Kind.CALENDAR)] == ["From: a"]


def test_an_empty_document_has_no_chunk() -> None:
    assert cut() == []
    assert cut(Segment(text=" \n ")) == []


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=2000))
def test_no_word_is_lost_no_chunk_too_long_and_the_same_again(text: str) -> None:
    chunks = cut(Segment(text=text))
    assert all(0 < count_tokens(chunk.text) <= SIZES.target_tokens or not chunk.text for chunk in chunks)
    everything = " ".join(chunk.text for chunk in chunks)
    assert set("".join(text.split())) <= set(everything)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert cut(Segment(text=text)) == chunks


def test_the_context_says_what_who_and_when() -> None:
    document = mail("mid:<x@example.org>", "Text.", title="Offer")
    (chunk,) = chunk_document(document, sizes=SIZES, include_quoted=True)
    assert describe_subject(document, chunk) == "Offer"
    assert describe_sender(document, chunk) == "Anna Berg 2026-10-05"
    page = document.model_copy(
        update={"kind": Kind.DOCUMENT, "segments": (Segment(text="Text.", anchor=Anchor(heading="Prices")),)}
    )
    (chunk,) = chunk_document(page, sizes=SIZES, include_quoted=True)
    assert describe_subject(page, chunk) == "Offer\nPrices"
