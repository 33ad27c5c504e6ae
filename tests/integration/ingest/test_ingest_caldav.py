"""A real Radicale behind TLS with an authority of its own, and servers that mean harm."""

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hearth_api.wire.documents import ManifestLine
from hearth_api.wire.ingest import CalendarSettings, RunLimits
from hearth_ingest.calendars.caldav import CalDavSource, Globs
from hearth_ingest.calendars.dav import DavClient, DavError
from hearth_ingest.calendars.source import make_frame
from hearth_ingest.context import build_context
from hearth_ingest.errors import SourceError
from hearth_ingest.item import Listing
from hearth_ingest.live.account import Credentials
from support.dovecot import Authority
from support.radicale import start_radicale

FRAME = make_frame(CalendarSettings(), today=date(2026, 11, 1), whole_months=True)


class House:
    """A running Radicale with one user, and what a calendar program would do with it."""

    def __init__(self, folder: Path) -> None:
        authority = Authority.make(folder / "authority")
        self.ca = authority.ca
        self.server = start_radicale(folder, authority=authority)

    def client(self, path: str = "/", *, password: str = "secret", ca: str | None = None) -> DavClient:
        """Return a client of the account."""
        credentials = Credentials(username="anna", password=password, ca=ca or self.ca)
        url = f"{self.server.url.rstrip('/')}{path}"
        return DavClient(url, credentials=credentials, proxy=None, limits=RunLimits(), timeout=5)

    def source(self, path: str = "/", globs: Globs = ()) -> CalDavSource:
        """Return the account as a source."""
        return CalDavSource(self.client(path), context=build_context("s", kind="calendar"), frame=FRAME, globs=globs)

    def make_calendar(self, name: str) -> None:
        """Create an empty calendar."""
        body = (
            '<c:mkcalendar xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:set><d:prop><d:displayname>'
            f"{name}</d:displayname></d:prop></d:set></c:mkcalendar>"
        )
        self.client().ask("MKCALENDAR", f"/anna/{name}/", body=body)

    def put(self, name: str, summary: str, *, calendar: str = "work") -> None:
        """Write an event; the object's name differs from the UID, as it may."""
        text = (
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\n"
            f"UID:{name}@x\r\nDTSTAMP:20261001T000000Z\r\nDTSTART:20261006T140000Z\r\nRRULE:FREQ=WEEKLY;COUNT=3\r\n"
            f"SUMMARY:{summary}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
        self.client().ask("PUT", f"/anna/{calendar}/o-{name}.ics", body=text)

    def delete(self, name: str, *, calendar: str = "work") -> None:
        """Remove an event."""
        self.client().ask("DELETE", f"/anna/{calendar}/o-{name}.ics")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    server = House(tmp_path)
    server.make_calendar("work")
    yield server
    server.server.stop()


def manifest(listing: Listing) -> list[ManifestLine]:
    return [
        ManifestLine(id=f"calendar-{'a' * 16}", key=i.key, fingerprint=i.fingerprint, pipeline="", content_hash="")
        for i in listing.items
    ]


@pytest.mark.parametrize("path", ["/", "/anna/", "/anna/work/"])
def test_calendars_are_found_from_server_principal_and_calendar(house: House, path: str) -> None:
    for name in ("a", "b", "c"):
        house.put(name, f"Meeting {name}")
    source = house.source(path)
    listing = source.observe()
    assert sorted(item.key for item in listing.items) == ["uid:a@x", "uid:b@x", "uid:c@x"]
    documents = {item.key: source.parse(item)[-1].document for item in listing.items}
    assert documents["uid:a@x"].title == "Meeting a"
    assert [s.role for s in documents["uid:a@x"].segments] == ["body", "event", "event", "event"]


def test_only_what_changed_is_fetched(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("a", "A")
    house.put("b", "B")
    house.make_calendar("private")
    before = house.source().observe()
    house.put("a", "A changed")
    house.put("c", "C")
    house.delete("b")
    house.put("b", "B", calendar="private")
    source = house.source()
    source.remember(manifest(before))
    asked: list[str] = []
    ask = DavClient.ask

    def listen(self: DavClient, method: str, path: str, **options: object) -> object:
        asked.append(f"{method} {path} {str(options.get('body', '')).count('<d:href>')}")
        return ask(self, method, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(DavClient, "ask", listen)
    after = source.observe()
    same = {item.key for item in before.items if item in after.items}
    assert {item.key for item in after.items} == {"uid:a@x", "uid:b@x", "uid:c@x"}
    assert same == set()
    again = house.source()
    again.remember(manifest(after))
    asked.clear()
    assert [(i.key, i.fingerprint) for i in again.observe().items] == [(i.key, i.fingerprint) for i in after.items]
    assert [line for line in asked if not line.startswith("PROPFIND")] == []


def test_calendars_are_chosen_by_name(house: House) -> None:
    house.make_calendar("private")
    house.put("a", "A")
    house.put("p", "P", calendar="private")
    assert [i.key for i in house.source(globs=((("work",), ()),)).observe().items] == ["uid:a@x"]
    assert [i.key for i in house.source(globs=(((), ("work",)),)).observe().items] == ["uid:p@x"]


def test_wrong_password_and_wrong_authority_name_the_remedy(house: House, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="check the Secret"):
        house.client(password="wrong").ask("PROPFIND", "/anna/", depth="0")
    other = tmp_path / "other"
    with pytest.raises(SourceError, match=r"ca\.crt"):
        house.client(ca=Authority.make(other).ca).ask("PROPFIND", "/", depth="0")


def test_a_server_that_goes_in_the_middle_ends_the_run(house: House) -> None:
    house.put("a", "A")
    source = house.source()
    source.remember(manifest(source.observe()))
    listing = source.observe()
    house.server.stop()
    source = house.source()
    with pytest.raises(SourceError):
        source.observe()
    assert len(listing.items) == 1


def test_a_server_that_goes_between_listing_and_reading_ends_the_run(house: House) -> None:
    house.put("a", "A")
    house.put("b", "B")
    first = house.source()
    known = manifest(first.observe())
    # Known objects are not fetched while they are listed; a new window makes them be read again.
    source = house.source()
    source.remember([line.model_copy(update={"fingerprint": f"{line.fingerprint};older"}) for line in known])
    listing = source.observe()
    assert len(listing.items) == 2
    house.server.stop()
    with pytest.raises(SourceError):
        source.parse(listing.items[0])


@pytest.mark.parametrize("status", [403, 500])
def test_one_calendar_of_several_that_fails_makes_the_listing_incomplete(
    house: House, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    house.make_calendar("private")
    house.put("a", "A")
    house.put("p", "P", calendar="private")
    ask = DavClient.ask

    def fail(self: DavClient, method: str, path: str, **options: object) -> object:
        if path.startswith("/anna/private") and options.get("depth") == "1":
            raise DavError("it has a problem of its own", status=status)
        return ask(self, method, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(DavClient, "ask", fail)
    listing = house.source().observe()
    assert [item.key for item in listing.items] == ["uid:a@x"]
    assert [(refusal.uri, refusal.code) for refusal in listing.refusals] == [
        ("caldav:/anna/private/", "calendar-unreadable")
    ]
    assert not listing.complete


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[tuple[DavClient, list[tuple[int, dict[str, str], bytes]], list[str]]]:
    """Yield a client of a server that gives the answers in the list, the last one for ever, and what it was asked."""
    answers: list[tuple[int, dict[str, str], bytes]] = []
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PROPFIND(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(self.path)
            status, headers, body = answers[0] if len(answers) == 1 else answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    authority = Authority.make(tmp_path / "authority")
    certificate, key = authority.issue("hostile")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    credentials = Credentials(username="anna", password="secret", ca=authority.ca)
    url = f"https://127.0.0.1:{server.server_address[1]}/dav/"
    yield DavClient(url, credentials=credentials, proxy=None, limits=RunLimits(), timeout=5), answers, seen
    server.shutdown()
    server.server_close()


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><multistatus xmlns="DAV:">&b;</multistatus>'
ABROAD = b'<multistatus xmlns="DAV:"><response><href>https://evil.example/x</href></response></multistatus>'


@pytest.mark.parametrize(
    ("status", "headers", "body", "sentence"),
    [
        (207, {}, BOMB, "document type"),
        (207, {}, BOMB.decode().encode("utf-16"), "document type"),
        (207, {}, b"<multistatus", "no XML"),
        (207, {}, ABROAD, r"points to https://evil\.example:443"),
        (200, {}, b"<html>Sign in</html>", "is it a CalDAV server"),
        (302, {"Location": "https://evil.example/"}, b"", "the password is not sent there"),
        (302, {"Location": "http://127.0.0.1/"}, b"", "the password is not sent there"),
        (301, {"Location": "/dav/"}, b"", "in a circle"),
        (403, {}, b"", "let the account read"),
        (404, {}, b"", "check the calendar's url"),
        (503, {}, b"", "a problem of its own"),
        (207, {}, b'<multistatus xmlns="DAV:"/>', "shows no calendar"),
    ],
)
def test_answers_that_are_not_followed(
    hostile: tuple[DavClient, list[tuple[int, dict[str, str], bytes]], list[str]],
    status: int,
    headers: dict[str, str],
    body: bytes,
    sentence: str,
) -> None:
    client, answers, _ = hostile
    answers.append((status, headers, body))
    source = CalDavSource(client, context=build_context("s", kind="calendar"), frame=FRAME)
    with pytest.raises(SourceError, match=sentence):
        source.observe()
    source.close()


def test_passwords_in_addresses_and_plain_http_are_refused() -> None:
    credentials = Credentials(username="a", password="b")
    for url in ("http://127.0.0.1/", "https://a:b@127.0.0.1/", "https://127.0.0.1:x/", "file:///etc/passwd"):
        with pytest.raises(SourceError):
            DavClient(url, credentials=credentials, proxy=None, limits=RunLimits())


def test_documents_are_json(house: House) -> None:
    house.put("a", "A")
    source = house.source()
    for item in source.observe().items:
        assert json.loads(source.parse(item)[-1].document.model_dump_json())["kind"] == "calendar"
