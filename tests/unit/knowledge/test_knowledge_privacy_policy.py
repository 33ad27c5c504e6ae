"""The policies as a pure function: what they hide, what they leave, and that nothing slips between."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.wire.documents import Anchor, AttachmentRef, Finding, NormalDocument, Participant, Segment, person_id
from hearth_api.wire.knowledge import PrivacyConfig, PrivacyPolicy, SecretsPolicy
from hearth_ingest.findings.apply import with_findings
from hearth_knowledge.privacy.directory import build_directory
from hearth_knowledge.privacy.names import Directory, PersonRecord, find_calls
from hearth_knowledge.privacy.policy import Lens, apply_privacy, filter_text, pseudonym, withhold
from support.knowledge import mail

KEY = b"k" * 32
PHONE = "+49 30 901820"


def lens(policy: str, *, directory: Directory | None = None, **config: Any) -> Lens:
    return Lens(PrivacyConfig(policy=PrivacyPolicy(policy), **config), key=KEY, directory=directory or Directory())


def records(*people: tuple[str, str]) -> Directory:
    return build_directory(
        PersonRecord(id=person_id(address), names=(name,), addresses=(address,)) for name, address in people
    )


HOUSE = records(
    ("Anna Berg", "anna@example.org"), ("Ode, Ben", "ben@example.org"), ("Dr. Jürgen Müller-Lüdenscheidt", "jml@example.org"),
    ("Maria Keller", "keller@example.org"), ("Zoltan Zukowski", "zz@example.org"), ("Eva Lindqvist", "eva@example.org"),
    ("Olof Lindqvist", "olof@example.org"), ("Support Team", "support@example.org"),
)  # fmt: skip


def person(address: str) -> str:
    return pseudonym(person_id(address), key=KEY)


def test_off_masks_credentials_and_nothing_else() -> None:
    document = with_findings(mail("mid:<1>", f"password: hunter2! Call {PHONE}"), mask=False)
    off = apply_privacy(document, lens("Off"))
    assert off.segments[0].text == f"password: [password] Call {PHONE}"
    assert off.authors == document.authors
    assert off.findings == ()
    kept = lens("Off", secrets=SecretsPolicy.KEEP)
    assert apply_privacy(document, kept) is document


def test_a_password_is_masked_wherever_the_document_repeats_it() -> None:
    plain = mail("mid:<1>", "password: Quokka77! is it.", title="x")
    more = (*plain.segments, Segment(text="Then type Quokka77! and wait."))
    document = with_findings(plain.model_copy(update={"segments": more}), mask=False)
    shown = apply_privacy(document, lens("Off"))
    assert [one.text for one in shown.segments] == ["password: [password] is it.", "Then type [password] and wait."]


def test_mask_covers_title_heading_files_and_addresses_and_leaves_names() -> None:
    plain = mail("mid:<1>", f"Call {PHONE}, Anna Berg", title=f"About {PHONE} and anna@example.org")
    document = with_findings(
        plain.model_copy(
            update={
                "segments": (plain.segments[0].model_copy(update={"anchor": Anchor(heading=f"Tel {PHONE}")}),),
                "attachments": (
                    AttachmentRef(document=plain.id, name=f"{PHONE}.txt", media_type="text/plain", bytes=1),
                ),
                "permalink": f"file:/home/{PHONE}/a.txt",
            }
        ),
        mask=False,
    )
    shown = apply_privacy(document, lens("Mask"))
    assert shown.title == "About [phone] and [email]"
    assert shown.segments[0].text == "Call [phone], Anna Berg"
    assert shown.segments[0].anchor == Anchor(heading="Tel [phone]")
    assert shown.attachments[0].name == "[phone].txt"
    assert shown.permalink == "file:/home/[phone]/a.txt"
    assert [(one.name, one.address) for one in shown.authors] == [("Anna Berg", "[email]")]
    left = shown.model_dump_json()
    assert "901820" not in left
    assert "@example.org" not in left
    assert apply_privacy(shown, lens("Mask")) == shown
    kept = apply_privacy(document, lens("Mask", keep=("phone", "email")))
    assert kept.segments[0].text == document.segments[0].text
    assert kept.authors == document.authors


def test_pseudonyms_stand_for_a_person_wherever_they_are_named() -> None:
    text = (
        "Anna Berg met Berg, Anna. ANNA BERG'S plan; Jurgen Mueller was away. Jürgen Müller-Lüdenscheidt agreed. "
        "Zukowskis car, Frau Keller, the cellar keller, Ben and anna@example.org. am Berg oben. Write to x@unknown.example"
    )
    document = with_findings(mail("mid:<1>", text, title="From Anna to Eva Lindqvist"), mask=False)
    shown = apply_privacy(document, lens("Pseudonymise", directory=HOUSE))
    anna, ben, zz = person("anna@example.org"), person("ben@example.org"), person("zz@example.org")
    jml, keller, eva = person("jml@example.org"), person("keller@example.org"), person("eva@example.org")
    assert shown.segments[0].text == (
        f"{anna} met {anna}. {anna}'S plan; Jurgen Mueller was away. {jml} agreed. "
        f"{zz}s car, Frau {keller}, the cellar keller, {ben} and {anna}. am Berg oben. Write to [email]"
    )
    assert shown.title == f"From {anna} to {eva}"
    assert [(one.name, one.address, one.id) for one in shown.authors] == [(anna, None, person_id("anna@example.org"))]
    assert shown.participants[0].name == ben
    again = apply_privacy(shown, lens("Pseudonymise", directory=HOUSE))
    assert again.segments == shown.segments
    assert again.title == shown.title


def test_a_surname_of_two_people_is_nobodys_unless_the_document_says_whose() -> None:
    calls = find_calls("Lindqvist wrote.", directory=HOUSE)
    assert calls == ()
    (call,) = find_calls("Lindqvist wrote.", directory=HOUSE, present={person_id("eva@example.org")})
    assert call.person == person_id("eva@example.org")
    both = {person_id("eva@example.org"), person_id("olof@example.org")}
    (call,) = find_calls("Lindqvist wrote.", directory=HOUSE, present=both)
    assert call.person is None
    (call,) = find_calls("Herr Lindqvist wrote.", directory=HOUSE)
    assert call.person is None


@pytest.mark.parametrize(
    "text", ["The Support Team helps.", "an ode", "berg und tal", "Keller voll", "Bergwerk", "Annabel"]
)
def test_words_of_the_language_are_not_people(text: str) -> None:
    assert find_calls(text, directory=HOUSE) == ()


def test_pseudonyms_need_the_key_and_hold_across_directories() -> None:
    one = apply_privacy(mail("mid:<1>", "x"), lens("Pseudonymise"))
    two = apply_privacy(mail("mid:<2>", "y"), lens("Pseudonymise", directory=HOUSE))
    assert one.authors[0].name == two.authors[0].name == person("anna@example.org")
    assert pseudonym(person_id("anna@example.org"), key=b"o" * 32) != person("anna@example.org")
    assert len({pseudonym(str(number), key=KEY) for number in range(2000)}) >= 1999


def test_what_was_learnt_later_is_hidden_in_what_was_cut_before() -> None:
    assert filter_text("Anna Berg called", lens("Pseudonymise")) == "Anna Berg called"
    assert (
        filter_text("Anna Berg called", lens("Pseudonymise", directory=HOUSE)) == f"{person('anna@example.org')} called"
    )
    assert filter_text("Anna Berg called", lens("Mask", directory=HOUSE)) == "Anna Berg called"


def test_quarantined_text_is_a_note_or_nothing() -> None:
    plain = mail("mid:<1>", "Hello.")
    document = plain.model_copy(
        update={
            "segments": (*plain.segments, Segment(text="Obey!", quarantine="instruction-to-model")),
            "findings": (Finding(segment=1, type="phone", start=0, end=4, score=1.0),),
        }
    )
    shown = withhold(document, released=lambda _: False, placeholder=True)
    assert shown.segments[1].text == "[withheld: instruction-to-model]"
    assert shown.findings == ()
    assert withhold(document, released=lambda _: False, placeholder=False).segments[1].text == ""
    out = withhold(document, released=lambda _: True, placeholder=True)
    assert (out.segments[1].text, out.segments[1].quarantine) == ("Obey!", None)
    assert withhold(plain, released=lambda _: False, placeholder=True) is plain


WORDS = st.sampled_from(
    ["Anna", "Berg", "Anna Berg", "Berg, Anna", "Zukowski", "anna@example.org", PHONE, "password: hunter2!", "and", "the",
     ". ", ", ", "\n", "[phone]", "Person-ABCDEF", "4111 1111 1111 1111", "'s", "ANNA", "Keller", "(", "file.txt"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(WORDS, st.text(max_size=6)), max_size=12).map(" ".join),
    st.sampled_from(["Off", "Mask", "Pseudonymise"]),
)
def test_nothing_forbidden_is_left_and_filtering_twice_is_filtering_once(text: str, policy: str) -> None:
    document = with_findings(mail("mid:<1>", text, title=text[:60]), mask=False)
    chosen = lens(policy, directory=HOUSE)
    shown = apply_privacy(document, chosen)
    for finding in document.findings:
        if finding.where is None and chosen.forbids(finding.type):
            value = document.segments[0].text[finding.start : finding.end]
            assert value not in shown.segments[0].text
    if policy == "Pseudonymise":
        left = json.dumps([shown.segments[0].text, shown.title])
        assert "Anna Berg" not in left
        assert "Zukowski" not in left
    again = apply_privacy(shown, chosen)
    assert (again.segments, again.title) == (shown.segments, shown.title)


def test_participants_without_a_name_get_one() -> None:
    document: NormalDocument = mail("mid:<1>", "x")
    who = Participant(id="person-x", address="q@example.org", role="cc")
    shown = apply_privacy(document.model_copy(update={"participants": (who,)}), lens("Pseudonymise"))
    assert shown.participants[0].name == pseudonym("person-x", key=KEY)
    assert shown.participants[0].address is None
