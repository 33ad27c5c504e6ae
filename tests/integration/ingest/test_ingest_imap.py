"""Live mail against a real Dovecot: what changes there changes here, and nothing else does."""

import asyncio
import imaplib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import test.test_email

from hearth_api.wire.ingest import ImapSpec, RunLimits
from hearth_ingest.context import build_context
from hearth_ingest.errors import RefusedError, SourceError
from hearth_ingest.item import Listing, Source
from hearth_ingest.live.account import Credentials
from hearth_ingest.mail.imap import ImapSource
from hearth_ingest.mail.imap_session import Account
from hearth_ingest.mail.source import MailSource
from hearth_ingest.run import Runner, Tally, make_plan
from support.dovecot import PASSWORD, USER, Authority, Dovecot, running
from support.fake_knowledge import FakeKnowledge

CONTEXT = build_context("inbox", kind="email")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user can walk to: pytest closes its own to others whenever it runs."""
    with tempfile.TemporaryDirectory(prefix="hearth-dovecot-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def server(folder: Path, authority: Authority) -> Iterator[Dovecot]:
    with running(Dovecot(folder / "dovecot", authority, authority.issue("server"))) as one:
        yield one


@pytest.fixture
def client(server: Dovecot) -> Iterator[imaplib.IMAP4_SSL]:
    client = server.client()
    yield client
    client.shutdown()


def mail(number: int, *, body: str = "Hello", reply: int | None = None, mid: str | None = None) -> bytes:
    lines = [
        f"From: Anna <anna{number % 7}@home.example>",
        "To: me@home.example",
        f"Subject: Number {number}",
        f"Date: Mon, 05 Jan 2026 10:{number % 60:02}:00 +0100",
        f"Message-ID: <{mid or f'm{number}@home.example'}>",
        *([f"In-Reply-To: <m{reply}@home.example>"] if reply is not None else []),
        "",
        f"{body} {number}",
        "",
    ]
    return "\r\n".join(lines).encode()


def put(client: imaplib.IMAP4_SSL, box: str, *mails: bytes) -> None:
    for data in mails:
        answer = client.append(box, "", "", data)
        assert answer[0] == "OK", answer


def credentials(server: Dovecot, **changes: str | None) -> Credentials:
    return Credentials(**{"username": USER, "password": PASSWORD, "ca": server.authority.ca, **changes})  # type: ignore[arg-type]


def open_source(
    server: Dovecot, *, secret: Credentials | None = None, timeout: float = 20, **spec: object
) -> ImapSource:
    fields = {"host": "localhost", "port": server.tls_port, **spec}
    account = Account(spec=ImapSpec.model_validate(fields), credentials=secret or credentials(server), timeout=timeout)
    return ImapSource(account, context=CONTEXT)


async def sync(source: Source, knowledge: FakeKnowledge) -> tuple[Tally, Listing]:
    tally = Tally()
    listing = source.observe()
    plan = make_plan(
        source, listing, await knowledge.fetch_manifest(), pipeline=CONTEXT.pipeline, cursor=knowledge.cursor
    )
    await Runner(source, knowledge, tally=tally, keep_originals=True).carry_out(plan, cursor=knowledge.cursor)
    if isinstance(source, ImapSource):
        source.close()
    return tally, listing


async def counts(server: Dovecot, knowledge: FakeKnowledge, **spec: object) -> dict[str, int]:
    tally, _ = await sync(open_source(server, **spec), knowledge)
    return {state: number for state, number in tally.counts.items() if number}


def plain(knowledge: FakeKnowledge) -> dict[str, object]:
    """What two sources of the same mails agree in: all but where they lie and how the index saw them."""

    def strip(document: dict[str, object]) -> dict[str, object]:
        origin = document["origin"]
        assert isinstance(origin, dict)
        # The line ends of the wire count in sizes, of a text attachment, too.
        sized = {name: drop_sizes(document.get(name)) for name in ("attachments", "parts")}
        return {**document, **sized, "origin": origin["key"], "contentHash": ""}

    def drop_sizes(listed: object) -> list[object]:
        return [{**one, "bytes": 0} for one in listed] if isinstance(listed, list) else []

    return {key: strip(value) for key, value in knowledge.documents.items()}


async def test_a_mailbox_lives(server: Dovecot, client: imaplib.IMAP4_SSL) -> None:
    knowledge = FakeKnowledge()
    put(client, "INBOX", mail(1), mail(2, reply=1), mail(3))
    assert await counts(server, knowledge) == {"added": 3}
    assert await counts(server, knowledge) == {"unchanged": 3}
    client.select("INBOX")
    client.store("1:3", "+FLAGS", "(\\Seen \\Flagged)")
    assert await counts(server, knowledge) == {"unchanged": 3}
    client.create("Archive")
    client.copy("1", "Archive")
    assert await counts(server, knowledge) == {"unchanged": 3}
    client.store("1", "+FLAGS", "\\Deleted")
    client.expunge()  # the other half of the move
    assert await counts(server, knowledge) == {"unchanged": 3}
    client.store("2", "+FLAGS", "\\Deleted")  # not expunged: gone all the same
    assert await counts(server, knowledge) == {"unchanged": 2, "deleted": 1}
    client.store("2", "-FLAGS", "\\Deleted")
    assert await counts(server, knowledge) == {"unchanged": 2, "added": 1}
    put(client, "INBOX", mail(4, reply=2))
    assert await counts(server, knowledge) == {"unchanged": 3, "added": 1}
    fresh = FakeKnowledge()
    await counts(server, fresh)
    assert knowledge.state() == fresh.state()
    assert b"\\Seen" not in client.fetch("3", "(FLAGS)")[1][0]  # reading leaves no mark


async def test_a_mailbox_made_anew(server: Dovecot, client: imaplib.IMAP4_SSL) -> None:
    knowledge = FakeKnowledge()
    when = '"05-Jan-2026 10:00:00 +0100"'
    client.create("Work")
    for number in range(5):
        client.append("Work", "", when, mail(number))
    assert await counts(server, knowledge) == {"added": 5}
    before = client.status("Work", "(UIDVALIDITY)")
    client.delete("Work")
    await asyncio.sleep(1.1)  # UIDVALIDITY is a time in seconds
    client.create("Work")
    assert client.status("Work", "(UIDVALIDITY)") != before
    for number in (4, 2, 0, 1, 3):
        client.append("Work", "", when, mail(number))
    assert await counts(server, knowledge) == {"unchanged": 5}


@pytest.mark.parametrize(("separator", "prefix"), [("/", ""), (".", "INBOX.")])
async def test_names_and_levels(folder: Path, authority: Authority, separator: str, prefix: str) -> None:
    one = Dovecot(folder / "d", authority, authority.issue("s2"), separator=separator, prefix=prefix)
    with running(one):
        client = one.client()
        names = ["Projekte", "Projekte/B&APw-ro &- Haus", "Projekte/&ZeVnLIqe-", "Trash", 'odd "name"']
        for number, name in enumerate(names):
            raw = '"' + prefix + name.replace("/", separator).replace('"', '\\"') + '"'
            assert client.create(raw)[0] == "OK"
            put(client, raw, mail(number))
        put(client, "INBOX", mail(10))

        def keys(**spec: object) -> set[str]:
            source = open_source(one, **spec)
            found = {item.key[5:].split("@")[0] for item in source.observe().items}
            source.close()
            return found

        assert keys() == {"m0", "m1", "m2", "m3", "m4", "m10"}
        assert keys(exclude=["Trash"]) == {"m0", "m1", "m2", "m4", "m10"}
        assert keys(include=["Projekte/*"]) == {"m1", "m2"}
        assert keys(include=["Projekte/Büro & Haus", "INBOX"], exclude=["x"]) == {"m1", "m10"}
        with pytest.raises(
            SourceError, match=r"no mailbox of .* matches include and exclude; it has .*Projekte/日本語"
        ):
            keys(include=["Projects"])
        client.shutdown()


async def test_same_id_other_body_and_no_id(server: Dovecot, client: imaplib.IMAP4_SSL) -> None:
    knowledge = FakeKnowledge()
    client.create("Other")
    shared = "same@home.example"
    put(client, "INBOX", mail(1, mid=shared), b"Subject: none\r\n\r\nNo id at all\r\n", mail(5))
    put(
        client,
        "Other",
        mail(1, mid=shared, body="Howdy"),
        mail(1, mid=shared),
        b"Subject: none\r\n\r\nNo id at all\r\n",
    )
    tally, listing = await sync(open_source(server), knowledge)
    assert tally.counts == {"added": 4}
    assert listing.copies == 2
    assert sorted(item.key[:24] for item in listing.items if item.key.startswith("mid:<same")) == [
        "mid:<same@home.example>",
        "mid:<same@home.example>~",
    ]
    assert await counts(server, knowledge) == {"unchanged": 4}


async def test_equal_to_an_mbox(server: Dovecot, client: imaplib.IMAP4_SSL, tmp_path: Path) -> None:
    """CPython's own torture mails say the same through both ways."""
    folder = Path(test.test_email.__file__).parent / "data"
    mails = [path.read_bytes().replace(b"\r\n", b"\n") for path in sorted(folder.glob("msg_*.txt"))]
    assert len(mails) > 30
    box = tmp_path / "all.mbox"
    with box.open("wb") as file:
        for number, data in enumerate(mails):
            text = data.rstrip(b"\n") + b"\n"
            text = text.partition(b"\n")[2] if text.startswith(b"From ") else text
            file.write(
                b"From a@x Mon Jan  5 09:%02d:00 2026\n" % number + text.replace(b"\nFrom ", b"\n>From ") + b"\n"
            )
            when = f'"05-Jan-2026 09:{number:02}:00 +0000"'
            assert client.append("INBOX", "", when, text.replace(b"\n", b"\r\n"))[0] == "OK"
    live, stored = FakeKnowledge(), FakeKnowledge()
    ours, _ = await sync(open_source(server), live)
    theirs, _ = await sync(MailSource((box,), context=CONTEXT), stored)
    assert ours.counts == theirs.counts
    left, right = plain(live), plain(stored)
    assert left.keys() == right.keys()
    differing = [key for key in left if left[key] != right[key]]
    assert differing == []


async def test_five_thousand_mails(server: Dovecot, client: imaplib.IMAP4_SSL) -> None:
    folder = server.folder / "mail" / "cur"
    assert client.select("INBOX")[0] == "OK"
    for number in range(5000):
        path = folder / f"{1767603600 + number}.M{number}.home:2,"
        path.write_bytes(mail(number, reply=number - 1 if number % 5 else None).replace(b"\r\n", b"\n"))
        path.chmod(0o644)
    source = open_source(server)
    started = time.perf_counter()
    listing = source.observe()
    seconds = time.perf_counter() - started
    assert len(listing.items) == 5000
    assert listing.complete
    assert seconds < 30, seconds
    parsed = [source.parse(item)[-1] for item in listing.items[:400]]
    assert len({one.document.id for one in parsed}) == 400
    source.close()
    print(f"listed 5,000 mails in {seconds:.1f} s, listed and fetched 400 in {time.perf_counter() - started:.1f} s")


async def test_the_server_dies_in_the_middle(server: Dovecot, client: imaplib.IMAP4_SSL) -> None:
    put(client, "INBOX", *(mail(number) for number in range(60)))
    source = open_source(server, timeout=5)
    listing = source.observe()
    for item in listing.items[:10]:
        source.parse(item)
    server.stop()
    server.start()  # gone for a moment: the rest comes over one new connection
    assert all(source.parse(item) for item in listing.items[10:40])
    server.stop()
    with pytest.raises(SourceError, match="refused the connection"):
        [source.parse(item) for item in listing.items[40:]]
    source.close()
    knowledge = FakeKnowledge()
    with pytest.raises(SourceError):
        await sync(open_source(server), knowledge)
    assert knowledge.writes == 0
    server.start()
    assert await counts(server, knowledge) == {"added": 60}


async def test_limits_of_size(server: Dovecot, client: imaplib.IMAP4_SSL) -> None:
    put(client, "INBOX", mail(1), mail(2, body="x" * 70_000))
    source = open_source(server)
    source.use(build_context("inbox", kind="email", limits=RunLimits(item_bytes=50_000)))
    small, large = source.observe().items
    assert source.parse(small)
    with pytest.raises(RefusedError, match="too-large"):
        source.parse(large)
    source.close()


async def test_starttls(server: Dovecot, client: imaplib.IMAP4_SSL) -> None:
    put(client, "INBOX", mail(1))
    assert await counts(server, FakeKnowledge(), port=server.plain_port, security="starttls") == {"added": 1}


def test_sentences_for_the_owner(tmp_path: Path, server: Dovecot, authority: Authority) -> None:
    def sentence(**changes: object) -> str:
        with pytest.raises(SourceError) as refused:
            open_source(server, timeout=3, **changes).observe()  # type: ignore[arg-type]
        assert PASSWORD not in refused.value.sentence
        assert "wrong-password" not in refused.value.sentence
        return refused.value.sentence

    assert "did not accept the password of me@home.example" in sentence(
        secret=credentials(server, password="wrong-password")
    )
    other = Authority.make(tmp_path / "other", name="Other")
    assert "not trusted" in sentence(secret=credentials(server, ca=other.ca))
    assert "ca.crt" in sentence(secret=credentials(server, ca=None))
    assert "did not complete TLS" in sentence(port=server.plain_port)
    assert "ended the conversation" in sentence(port=server.tls_port, security="starttls")
    assert "refused the connection" in sentence(port=1)
    assert "name is not known" in sentence(host="nowhere.invalid")
    server.stop()
    server.certificate = authority.issue("elsewhere", hosts=("mail.home.example",))
    server.start()
    assert "is not for localhost: use the name" in sentence()
    server.stop()
    server.certificate = authority.issue("old", days=-1)
    server.start()
    assert "has expired: renew it" in sentence()
