"""One message to documents: bodies, attachments, hidden text, and a reason for every part."""

import io
import zipfile
from pathlib import Path

import pytest

from hearth_api.wire.documents import Kind, NormalDocument
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.calendars.merging import merge
from hearth_ingest.calendars.pieces import read_pieces
from hearth_ingest.context import build_context
from hearth_ingest.mail.invitation import read_invitation
from support.ingest_mail import parse_mail

HEAD = (
    b"From: anna@example.org\nTo: bob@example.org\nCc: c@example.org\nSubject: Plan\n"
    b"Message-ID: <1@example.org>\nDate: Mon, 5 Oct 2026 09:12:44 +0200\nMIME-Version: 1.0\n"
)


def mail(headers: str, body: bytes, folder: Path) -> NormalDocument:
    return parse_mail(HEAD + headers.encode() + b"\n\n" + body, folder)[-1].document


def multipart(kind: str, *parts: tuple[str, bytes]) -> bytes:
    pieces = b"".join(b"--=b\n" + headers.encode() + b"\n\n" + body + b"\n" for headers, body in parts)
    return HEAD + f'Content-Type: multipart/{kind}; boundary="=b"\n\n'.encode() + pieces + b"--=b--\n"


def codes(document: NormalDocument) -> list[str]:
    return [warning.code for warning in document.warnings]


def reasons(document: NormalDocument) -> list[str]:
    return [part.reason for part in document.parts]


def test_who_when_and_where(tmp_path: Path) -> None:
    document = mail("Content-Type: text/plain", b"Hello", tmp_path)
    assert document.kind is Kind.EMAIL
    assert document.title == "Plan"
    assert document.permalink == "mid:1@example.org"
    assert document.origin.key == "mid:<1@example.org>"
    assert [a.address for a in document.authors] == ["anna@example.org"]
    assert [(p.address, p.role) for p in document.participants] == [("bob@example.org", "to"), ("c@example.org", "cc")]
    assert document.created is not None
    assert document.created.isoformat() == "2026-10-05T09:12:44+02:00"
    assert document.segments[0].author == document.authors[0].id
    assert document.content_hash.startswith("sha256:")


@pytest.mark.parametrize(
    ("headers", "body", "text", "code"),
    [
        pytest.param("Content-Type: text/plain; charset=iso-8859-1", b"se\xf1or", "señor", None, id="8-bit as declared"),
        pytest.param("Content-Type: text/plain; charset=us-ascii", "señor".encode(), "señor", "charset-wrong", id="a lie: it is utf-8"),
        pytest.param("Content-Type: text/plain; charset=utf-8", b"Gr\xfc\xdfe aus K\xf6ln, sch\xf6ne Gr\xfc\xdfe", "Grüße aus Köln, schöne Grüße", "charset-guessed", id="a lie: it is latin-1"),
        pytest.param("Content-Type: text/plain; charset=x-unknown", b"plain", "plain", None, id="an unknown charset of plain ASCII"),
        pytest.param("Content-Type: text/plain; charset=klingon", b"caf\xe9 au lait, tr\xe8s bien", "café au lait, très bien", "charset-unknown", id="an unknown charset is guessed"),
        pytest.param("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable", b"Gr=C3=BC=\n=C3=9Fe", "Grüße", None, id="quoted-printable with a soft break"),
        pytest.param("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: BASE64 ", b"R3LDvMOfZQ", "Grüße", None, id="base64 without padding"),
        pytest.param("Content-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: base64", b"//5IAGkA", "Hi", None, id="utf-16 with its mark"),
        pytest.param("Content-Type: text/plain; format=flowed; delsp=yes", b"One two \nthree.\nNext", "One twothree.\nNext", None, id="flowed text"),
        pytest.param("Content-Type: nonsense", b"Hello", "Hello", None, id="a content type that is none"),
        pytest.param("X-No: type", b"Hello", "Hello", None, id="no content type"),
        pytest.param("Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode", b"begin 644 a\n#2&D*\n \nend", "Hi", None, id="uuencode"),
    ],
)  # fmt: skip
def test_text_is_decoded_whatever_is_declared(
    headers: str, body: bytes, text: str, code: str | None, tmp_path: Path
) -> None:
    document = mail(headers, body, tmp_path)
    assert [s.text for s in document.segments] == [text]
    assert codes(document) == ([code] if code else [])


def test_plain_text_is_the_chosen_alternative(tmp_path: Path) -> None:
    data = multipart(
        "alternative", ("Content-Type: text/plain", b"Plain words"), ("Content-Type: text/html", b"<p>HTML words</p>")
    )
    document = parse_mail(data, tmp_path)[-1].document
    assert [s.text for s in document.segments] == ["Plain words"]
    assert reasons(document) == ["container-alternative", "body", "alternative-not-chosen"]


def test_html_is_chosen_when_the_plain_alternative_is_a_stub(tmp_path: Path) -> None:
    html = b"<p>" + b"The whole long text of this mail. " * 10 + b"</p>"
    data = multipart(
        "alternative", ("Content-Type: text/plain", b"Please view as HTML"), ("Content-Type: text/html", html)
    )
    document = parse_mail(data, tmp_path)[-1].document
    assert document.segments[0].text.startswith("The whole long text")
    assert reasons(document) == ["container-alternative", "alternative-not-chosen", "body"]


HIDDEN = [
    ('<div style="display:none">X</div>', "display"),
    ('<div style="DISPLAY : none !important">X</div>', "display"),
    ('<span style="visibility:hidden">X</span>', "visibility"),
    ('<span style="font-size:0px">X</span>', "font-size"),
    ('<span style="font-size:0">X</span>', "font-size"),
    ('<span style="color:#ffffff">X</span>', "white-on-white"),
    ('<font color="white">X</font>', "white-on-white"),
    ('<span style="opacity:0">X</span>', "opacity"),
    ('<div style="max-height:0;overflow:hidden">X</div>', "no-room"),
    ('<div style="position:absolute;left:-9999px">X</div>', "off-page"),
    ('<div style="mso-hide:all">X</div>', "mso-hide"),
    ("<p hidden>X</p>", "display"),
    ("<!-- X -->", "comment"),
    ("<style>.z{display:none}</style><p class=z>X</p>", "display"),
    ("<b>see\u200bn</b>", "zero-width"),
]


@pytest.mark.parametrize(("html", "reason"), HIDDEN, ids=[f"{reason}-{n}" for n, (_, reason) in enumerate(HIDDEN)])
def test_hidden_text_is_removed_and_reported(html: str, reason: str, tmp_path: Path) -> None:
    document = mail(
        "Content-Type: text/html; charset=utf-8", f"<html><body><p>seen</p>{html}</body></html>".encode(), tmp_path
    )
    assert set("".join(s.text for s in document.segments).split()) == {"seen"}
    assert [(w.code, w.detail.partition(":")[0]) for w in document.warnings] == [("hidden-text", reason)]


@pytest.mark.parametrize(
    "html",
    [
        '<table bgcolor="#000000"><tr><td style="color:#fff">seen</td></tr></table>',
        '<div style="background:#123456"><span style="color:white">seen</span></div>',
        "<style>@media print {p {display:none}}</style><p>seen</p>",
        '<p style="font-size:0.9em">seen</p>',
        "<!--[if mso]><p>Outlook</p><![endif]--><p>seen</p>",
        '<p style="left:-5px">seen</p>',
        "<p>s<!---->een</p>",
    ],
)
def test_visible_text_stays(html: str, tmp_path: Path) -> None:
    document = mail("Content-Type: text/html", html.encode(), tmp_path)
    assert [s.text for s in document.segments] == ["seen"]
    assert codes(document) == []


def test_attachments_are_documents_linked_both_ways(tmp_path: Path) -> None:
    data = multipart(
        "mixed",
        ("Content-Type: text/plain", b"See attached"),
        ('Content-Type: text/markdown; name="n.md"\nContent-Disposition: attachment', b"# Notes\nBuy a boat."),
        ('Content-Type: application/octet-stream; name="t.csv"\nContent-Disposition: attachment', b"a,b\n1,2\n"),
        (
            'Content-Type: image/png; name="p.png"\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64',
            b"iVBORw0KGgo=",
        ),
    )
    *attached, own = [parsed.document for parsed in parse_mail(data, tmp_path)]
    assert [d.origin.key for d in attached] == [f"mid:<1@example.org>#{n}" for n in (2, 3, 4)]
    assert [a.document for a in own.attachments] == [d.id for d in attached]
    assert [link.target for link in own.links if link.rel == "attachment"] == [d.id for d in attached]
    assert all(d.links[0].target == own.id for d in attached)
    assert attached[0].title == "Notes"
    assert attached[1].segments[0].role == "table"
    assert (attached[2].segments, codes(attached[2])) == ((), ["no-parser"])
    assert reasons(own) == ["container-mixed", "body", "attachment", "attachment", "attachment"]
    assert all(d.authors == own.authors and d.created == own.created for d in attached)


def test_a_mail_inside_a_mail_is_a_document_with_attachments_of_its_own(tmp_path: Path) -> None:
    inner = (
        b"From: carl@example.org\nSubject: Inner\nMessage-ID: <in@example.org>\nDate: Sun, 4 Oct 2026 08:00:00 +0000\n"
        b'Content-Type: multipart/mixed; boundary="i"\n\n--i\n\ninner words\n--i\nContent-Type: text/plain; name=x.txt\n\nfile\n--i--\n'
    )
    data = multipart("mixed", ("Content-Type: text/plain", b"fwd"), ("Content-Type: message/rfc822", inner))
    leaf, nested, own = [parsed.document for parsed in parse_mail(data, tmp_path)]
    assert (leaf.origin.key, nested.origin.key) == ("mid:<1@example.org>#2.2", "mid:<1@example.org>#2")
    assert (nested.kind, nested.title, nested.permalink) == (Kind.EMAIL, "Inner", "mid:in@example.org")
    assert nested.authors[0].address == "carl@example.org"
    assert reasons(own) == ["container-mixed", "body", "attachment-mail"]
    assert own.attachments[0].document == nested.id
    assert leaf.links[0].target == nested.id


def test_mails_nested_deeper_than_allowed_are_refused_with_a_warning(tmp_path: Path) -> None:
    data = HEAD + b"\nbody"
    for _ in range(4):
        data = HEAD + b"Content-Type: message/rfc822\n\n" + data
    context = build_context("inbox", kind="email", limits=RunLimits(attachment_depth=2))
    documents = parse_mail(data, tmp_path, context=context)
    assert len(documents) == 2
    assert "too-deep" in codes(documents[0].document)


def encrypted_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "secret")
    data = bytearray(buffer.getvalue())
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ("Content-Type: application/pkcs7-mime; name=smime.p7m", b"0\x82", "opaque-smime"),
        ("Content-Type: application/ms-tnef; name=winmail.dat", b"\x78\x9f\x3e\x22", "opaque-tnef"),
        ("Content-Type: application/octet-stream; name=winmail.dat", b"\x78\x9f\x3e\x22", "opaque-tnef"),
        ("Content-Type: application/octet-stream; name=m.asc", b"-----BEGIN PGP MESSAGE-----\n", "opaque-pgp"),
        (
            "Content-Type: application/zip; name=a.zip\nContent-Transfer-Encoding: binary",
            encrypted_zip(),
            "opaque-encrypted-zip",
        ),
    ],
)
def test_what_cannot_be_opened_is_kept_and_named(headers: str, body: bytes, reason: str, tmp_path: Path) -> None:
    attached, own = [p.document for p in parse_mail(multipart("mixed", ("", b"words"), (headers, body)), tmp_path)]
    assert reasons(own)[2] == reason
    assert codes(own) == codes(attached) == ["opaque-content"]
    assert attached.segments == ()


def test_encrypted_and_signed_containers(tmp_path: Path) -> None:
    encrypted = multipart(
        "encrypted",
        ("Content-Type: application/pgp-encrypted", b"Version: 1"),
        ("Content-Type: application/octet-stream", b"-----BEGIN PGP MESSAGE-----\nxx\n-----END PGP MESSAGE-----"),
    )
    own = parse_mail(encrypted, tmp_path)[-1].document
    assert reasons(own) == ["container-encrypted", "opaque-pgp-control", "opaque-pgp"]
    assert codes(own) == ["encrypted-content", "opaque-content"]
    signed = multipart(
        "signed",
        ("Content-Type: text/plain", b"words"),
        ("Content-Type: application/pgp-signature; name=s.asc", b"sig"),
    )
    assert reasons(parse_mail(signed, tmp_path)[-1].document) == ["container-signed", "body", "signature-not-verified"]


def test_an_invitation_is_an_event_segment_with_a_link_to_its_uid(tmp_path: Path) -> None:
    ics = (
        b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:uid-1\r\n"
        b"SUMMARY:Design\\, re\r\n view\r\nDTSTART;TZID=Europe/Berlin:20261005T090000\r\nLOCATION:Room 4\r\n"
        b'ATTENDEE;CN="Berg: Anna":mailto:anna@example.org\r\nBEGIN:VALARM\r\nDESCRIPTION:Reminder\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n'
    )
    data = multipart(
        "alternative",
        ("Content-Type: text/plain", b"You are invited"),
        ("Content-Type: text/calendar; method=REQUEST", ics),
    )
    document = parse_mail(data, tmp_path)[-1].document
    event = document.segments[1]
    assert event.role == "event"
    assert event.text.splitlines() == [
        "Method: REQUEST",
        "Event: Design, review",
        "Starts: 2026-10-05 09:00 Europe/Berlin",
        "Where: Room 4",
        "Attendees: anna@example.org",
    ]
    assert [(link.rel, link.target) for link in document.links] == [("meeting", "uid:uid-1")]
    assert reasons(document) == ["container-alternative", "body", "event"]


def test_an_invitation_agrees_with_the_calendar_on_names() -> None:
    zone = "BEGIN:VTIMEZONE\nTZID:Mine\nX-LIC-LOCATION:Europe/Paris\nEND:VTIMEZONE"
    start, end = "DTSTART;TZID=W. Europe Standard Time:20261005T090000", "DTEND;TZID=Mine:20261005T100000"
    ics = f"BEGIN:VCALENDAR\n{zone}\nBEGIN:VEVENT\nUID: a\\,b@x \n{start}\n{end}\nEND:VEVENT\nEND:VCALENDAR\n"
    found = read_invitation(ics)
    assert found.text.splitlines() == ["Starts: 2026-10-05 09:00 Europe/Berlin", "Ends: 2026-10-05 10:00 Europe/Paris"]
    assert found.uids == tuple(merge(read_pieces(ics.encode(), place="")))
    assert read_invitation("<html>").text == ""
    assert read_invitation("BEGIN:VEVENT\nSUMMARY:x\ud800").text.startswith("Event: x")


def test_inline_images_are_accounted_for_and_inline_pdfs_are_attachments(tmp_path: Path) -> None:
    data = multipart(
        "related",
        ("Content-Type: text/html", b"<p>words</p><img src=cid:1>"),
        ("Content-Type: image/png; name=logo.png\nContent-ID: <1>", b"x"),
        ("Content-Type: application/pdf; name=a.pdf\nContent-Disposition: inline", b"%PDF-broken"),
    )
    attached, own = [p.document for p in parse_mail(data, tmp_path)]
    assert reasons(own) == ["container-related", "body", "inline-image", "attachment"]
    assert codes(attached) == ["pdf-unparseable"]


def test_a_delivery_report_is_notes(tmp_path: Path) -> None:
    data = multipart(
        "report",
        ("Content-Type: text/plain", b"Could not deliver"),
        (
            "Content-Type: message/delivery-status",
            b"Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; bob@example.org\nStatus: 5.1.1\n",
        ),
        ("Content-Type: text/rfc822-headers", b"Subject: lost"),
    )
    document = parse_mail(data, tmp_path)[-1].document
    assert [s.role for s in document.segments] == ["body", "notes"]
    assert "Status: 5.1.1" in document.segments[1].text
    assert reasons(document) == ["container-report", "body", "delivery-report", "headers-of-another-mail"]


def test_missing_identity_is_said(tmp_path: Path) -> None:
    document = parse_mail(b"Subject: x\n\nwords", tmp_path)[-1].document
    assert document.origin.key.startswith("sha:")
    assert sorted(codes(document)) == ["date-missing", "from-missing", "message-id-missing"]
    assert document.created is None


def test_a_mail_that_is_not_multipart_although_it_says_so_still_gives_its_text(tmp_path: Path) -> None:
    document = mail("Content-Type: multipart/mixed", b"words without any boundary", tmp_path)
    assert len(document.parts) == 1


def test_masking_at_the_source_leaves_no_finding_readable(tmp_path: Path) -> None:
    context = build_context("inbox", kind="email", at_source=True)
    document = parse_mail(HEAD + b"\ncall +49 30 901820, password: hunter2x", tmp_path, context=context)[-1].document
    assert document.segments[0].text == "call [phone], password: [password]"
    assert document.findings == ()
    assert codes(document) == ["masked-at-source"]


def test_the_same_bytes_give_the_same_documents(tmp_path: Path) -> None:
    data = multipart("mixed", ("", b"words"), ("Content-Type: text/plain; name=a.txt", b"file"))
    first, second = ([p.document for p in parse_mail(data, tmp_path)] for _ in range(2))
    assert [(d.id, d.content_hash) for d in first] == [(d.id, d.content_hash) for d in second]
