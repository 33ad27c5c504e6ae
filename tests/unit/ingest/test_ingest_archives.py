"""Archives: members as documents of their own, and everything that archives are built to do harm with."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearth_api.wire.ingest import RunLimits
from hearth_ingest.context import build_context
from hearth_ingest.documents.build import build_document
from hearth_ingest.documents.source import DocumentSource
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.item import Item, Parsed
from hearth_ingest.mail.source import MailSource

MOMENT = datetime(2026, 11, 1, tzinfo=UTC)
Packer = Callable[[Mapping[str, bytes]], bytes]


def make_zip(files: Mapping[str, bytes], *, stored: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
    return out.getvalue()


def make_tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def build(data: bytes, name: str = "a.zip", limits: RunLimits | None = None) -> list[Parsed]:
    key = f"file:{name}"
    item = Item(key=key, fingerprint="f", uri=key, size=len(data))
    return build_document(
        item, data, name=name, modified=MOMENT, context=build_context("s", kind="documents", limits=limits)
    )


def keys(parsed: list[Parsed]) -> list[str]:
    return [one.document.origin.key for one in parsed]


def reasons(parsed: list[Parsed]) -> dict[str | None, str]:
    return {part.name: part.reason for part in parsed[-1].document.parts[1:]}


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.zip", make_zip),
        ("a.tar", make_tar),
        ("a.tar.gz", lambda files: gzip.compress(make_tar(files))),
        ("a.tgz", lambda files: gzip.compress(make_tar(files))),
        ("a.tar.bz2", lambda files: bz2.compress(make_tar(files))),
        ("a.tar.xz", lambda files: lzma.compress(make_tar(files))),
        ("without-suffix.bin", make_zip),
    ],
)
def test_members_are_documents_and_the_archive_lists_them(name: str, pack: Packer) -> None:
    parsed = build(pack({"notes/a.txt": b"first", "b.md": b"# B\nsecond", "c.bin": b"\0\1", ".hid": b"x"}), name)
    assert keys(parsed) == [f"file:{name}!notes/a.txt", f"file:{name}!b.md", f"file:{name}"]
    own = parsed[-1].document
    assert reasons(parsed) == {"notes/a.txt": "member", "b.md": "member", "c.bin": "no-parser", ".hid": "hidden-file"}
    assert own.segments[0].text.splitlines() == ["notes/a.txt", "b.md", "c.bin (no-parser)", ".hid (hidden-file)"]
    first = parsed[0].document
    assert (first.permalink, first.origin.uri) == (f"file:{name}!notes/a.txt", f"file:{name}!notes/a.txt")
    assert first.links[0].target == own.id
    assert [link.target for link in own.links] == [one.document.id for one in parsed[:-1]]
    assert [one.original for one in parsed[:-1]] == [b"first", b"# B\nsecond"]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_single_compressed_file(suffix: str, pack: Callable[[bytes], bytes]) -> None:
    parsed = build(pack(b"words"), f"log.txt.{suffix}")
    assert keys(parsed) == [f"file:log.txt.{suffix}!log.txt", f"file:log.txt.{suffix}"]
    assert parsed[0].document.segments[0].text == "words"


def test_archives_within_archives_and_mails_within() -> None:
    mail = EmailMessage()
    mail["From"], mail["Subject"], mail["Message-ID"] = "a@example.org", "Hi", "<x@example.org>"
    mail.set_content("words")
    mail.add_attachment(b"inside", maintype="text", subtype="plain", filename="in.txt")
    inner = make_zip({"deep.txt": b"deep", "m.eml": mail.as_bytes()})
    parsed = build(make_zip({"in.zip": inner}))
    assert keys(parsed) == [
        "file:a.zip!in.zip!deep.txt", "file:a.zip!in.zip!m.eml#2", "file:a.zip!in.zip!m.eml", "file:a.zip!in.zip", "file:a.zip",
    ]  # fmt: skip
    source = DocumentSource((Path("/nowhere"),), context=build_context("s", kind="documents"))
    assert {source.owner(key) for key in keys(parsed)} == {"file:a.zip"}
    assert source.owner("file:a!b.txt") == "file:a!b.txt"
    assert source.owner("file:m.eml#2") == "file:m.eml"


def test_nesting_ends_at_its_limit() -> None:
    data = make_zip({"x.txt": b"x"})
    for _ in range(8):
        data = make_zip({"n.zip": data})
    parsed = build(data, limits=RunLimits(attachment_depth=3))
    assert keys(parsed) == ["file:a.zip!n.zip!n.zip!n.zip", "file:a.zip!n.zip!n.zip", "file:a.zip!n.zip", "file:a.zip"]
    assert [w.code for w in parsed[0].document.warnings] == ["too-deep"]


@pytest.mark.parametrize(
    "name", ["../../etc/x.txt", "/etc/x.txt", "a/../../x.txt", "C:/x.txt", "..\\x.txt", "C:\\x.txt", "\\x.txt"]
)
@pytest.mark.parametrize("pack", [make_zip, make_tar])
def test_names_that_lead_out_are_refused_alone(name: str, pack: Packer) -> None:
    parsed = build(pack({name: b"x", "good.txt": b"good"}), "a.tar" if pack is make_tar else "a.zip")
    assert len(parsed) == 2
    assert [(one.code, one.quarantined) for one in parsed[-1].refusals] == [("unsafe-path", True)]
    assert parsed[0].document.segments[0].text == "good"


def test_links_devices_and_repeated_names_are_refused_alone() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"bad{kind.decode()}.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for data in (b"one", b"two"):
            info = tarfile.TarInfo("same.txt")
            info.size = 3
            archive.addfile(info, io.BytesIO(data))
    parsed = build(out.getvalue(), "a.tar")
    assert [one.code for one in parsed[-1].refusals] == ["file-not-regular"] * 4 + ["duplicate-name"]
    assert [one.original for one in parsed[:-1]] == [b"one"]


def test_a_symbolic_link_in_a_zip_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("l.txt")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("ok.txt", "ok")
    assert [one.code for one in build(out.getvalue())[-1].refusals] == ["file-not-regular"]


def test_a_wrong_checksum_and_a_password_lose_one_member_each() -> None:
    data = bytearray(make_zip({"bad.txt": b"checksum", "locked.txt": b"secret", "good.txt": b"good"}, stored=True))
    at = data.index(b"checksum")
    data[at] ^= 0xFF
    local, central = data.index(b"locked.txt") - 30, data.rindex(b"locked.txt") - 46
    data[local + 6] |= 1
    data[central + 8] |= 1
    parsed = build(bytes(data))
    assert [one.code for one in parsed[-1].refusals] == ["entry-broken", "entry-encrypted"]
    assert keys(parsed) == ["file:a.zip!good.txt", "file:a.zip"]


def test_bombs_are_refused_and_what_came_before_stays() -> None:
    bomb = make_zip({"good.txt": b"good", "bomb.txt": b"\0" * 30_000_000})
    parsed = build(bomb, limits=RunLimits())
    assert [one.code for one in parsed[-1].refusals] == ["expands-too-far"]
    assert keys(parsed)[0] == "file:a.zip!good.txt"
    with pytest.raises(RefusedError, match="expands-too-far"):
        build(gzip.compress(b"\0" * 30_000_000), "a.gz")
    with pytest.raises(RefusedError, match="expands-too-far"):
        build(lzma.compress(b"\0" * 30_000_000), "a.tar.xz")


def test_a_budget_is_shared_by_nested_archives() -> None:
    inner = make_zip({f"{n}.txt": b"x" * 1000 for n in range(10)}, stored=True)
    outer = make_zip({f"{n}.zip": inner for n in range(10)}, stored=True)
    parsed = build(outer, limits=RunLimits(expanded_bytes=len(inner) * 10 + 25_000))
    assert sum(key.endswith(".txt") for key in keys(parsed)) == 25
    parsed = build(outer, limits=RunLimits(entries=32))
    assert sum(key.endswith(".txt") for key in keys(parsed)) == 20


def test_a_member_that_declares_gigabytes_or_hides_its_size() -> None:
    data = bytearray(make_zip({"a.txt": b"x" * 5000}))
    central = data.index(b"PK\1\2")
    data[central + 24 : central + 28] = struct.pack("<I", 0xF0000000)
    assert [one.code for one in build(bytes(data))[-1].refusals] == ["too-large"]
    data[central + 24 : central + 28] = struct.pack("<I", 10)
    assert [one.code for one in build(bytes(data))[-1].refusals] == ["entry-broken"]


def test_overlapping_entries_are_refused() -> None:
    """Many names in the directory for one block of data, as the best bombs do."""
    kernel = zlib.compress(b"\0" * 3_000_000)[2:-4]
    crc = zlib.crc32(b"\0" * 3_000_000)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(kernel), 3_000_000, 5, 0) + b"a.txt" + kernel
    central = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(kernel), 3_000_000, 5, 0, 0, 0, 0, 0, 0)
        + b"%05d" % number
        for number in range(100)
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 100, 100, len(central), len(local), 0)
    with pytest.raises(RefusedError, match="expands-too-far: its entries overlap"):
        build(local + central + end)


def test_too_many_entries_are_refused() -> None:
    with pytest.raises(RefusedError, match="too-many-entries"):
        build(make_zip({f"{n}.txt": b"" for n in range(30)}), limits=RunLimits(entries=20))
    parsed = build(make_tar({f"{n}.txt": b"x" for n in range(30)}), "a.tar", limits=RunLimits(entries=20))
    assert len(parsed) == 21
    assert [one.code for one in parsed[-1].refusals] == ["too-many-entries"]


def test_archives_that_are_cut_off_give_what_they_have() -> None:
    files = {f"{n}.txt": bytes([65 + n]) * 2000 for n in range(3)}
    cut = make_tar(files)[:4000]
    parsed = build(cut, "a.tar")
    assert keys(parsed) == ["file:a.tar!0.txt", "file:a.tar"]
    assert [one.code for one in parsed[-1].refusals][-1:] in (["entry-broken"], ["archive-broken"])
    parsed = build(make_zip(files, stored=True)[:5000])
    assert keys(parsed) == ["file:a.zip!0.txt", "file:a.zip!1.txt", "file:a.zip"]
    assert [(one.code, one.quarantined) for one in parsed[-1].refusals] == [
        ("entry-broken", False),
        ("archive-broken", False),
    ]
    parsed = build(make_zip({f"{n}.txt": bytes(str(n), "ascii") * 50 for n in range(9)})[:300])
    assert len(parsed) > 3


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.gz", "a.tar.xz", "a.tbz2"])
def test_what_is_no_archive_is_an_error(name: str) -> None:
    for data in (b"nothing of the kind" * 100, b"", b"PK\3\4"):
        with pytest.raises(ItemError, match="archive-broken"):
            build(data, name)


@pytest.mark.parametrize(
    ("name", "code"), [("a.7z", "archive-unsupported"), ("a.rar", "archive-unsupported"), ("a.doc", "old-format")]
)
def test_what_nothing_here_reads_is_kept_with_the_remedy(name: str, code: str) -> None:
    (parsed,) = build(b"7z\xbc\xaf\x27\x1c" if name == "a.7z" else b"\xd0\xcf\x11\xe0", name)
    assert [w.code for w in parsed.document.warnings] == [code]
    assert parsed.document.warnings[0].detail
    assert not parsed.document.parts[0].used
    assert parsed.original


def test_archives_and_office_files_that_hang_on_a_mail(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["From"], mail["Message-ID"] = "a@example.org", "<1@example.org>"
    mail.set_content("words")
    inner = make_zip({"x.txt": b"inside", "../evil.txt": b"x"})
    mail.add_attachment(inner, maintype="application", subtype="zip", filename="z.zip")
    mail.add_attachment(rb"{\rtf1 rich}", maintype="application", subtype="msword", filename="r.doc")
    (tmp_path / "m.eml").write_bytes(mail.as_bytes())
    source = MailSource((tmp_path,), context=build_context("s", kind="email"))
    (item,) = source.observe().items
    parsed = source.parse(item)
    base = "mid:<1@example.org>"
    assert keys(parsed) == [f"{base}#2!x.txt", f"{base}#2", f"{base}#3", base]
    assert {source.owner(key) for key in keys(parsed)} == {base}
    assert [one.document.segments[0].text for one in (parsed[0], parsed[2])] == ["inside", "rich"]
    assert [one.code for one in parsed[1].refusals] == ["unsafe-path"]
    assert len(parsed[-1].document.attachments) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from([("a.zip", make_zip), ("a.tar", make_tar)]))
def test_any_damage_gives_documents_or_an_error(data: st.DataObject, form: tuple[str, Packer]) -> None:
    name, pack = form
    raw = bytearray(pack({"a.txt": b"some words", "b/c.html": b"<p>x</p>", "n.zip": make_zip({"d.txt": b"y"})}))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(1, len(raw)))])
    try:
        parsed = build(cut, name)
    except ItemError as error:
        parsed = []
        code = f"{error.code}: {error.detail}"
    else:
        code = ""
    assert not code.startswith("parser-died")
    assert all(part.reason for one in parsed for part in one.document.parts)
    assert len(set(keys(parsed))) == len(parsed)


def test_an_archive_that_was_only_touched_has_the_same_content(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inside.txt", "words")
    seen = []
    for moment in (1_000_000_000, 1_700_000_000):
        os.utime(file, (moment, moment))
        source = DocumentSource((tmp_path,), context=build_context("s", kind="documents"))
        (item,) = source.observe().items
        seen.append({one.document.id: one.document.content_hash for one in source.parse(item)})
    assert len(seen[0]) == 2
    assert seen[0] == seen[1]
