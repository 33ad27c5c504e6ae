"""Live accounts: a real Dovecot and a real Radicale in the house, reached through the proxy and by no other way.

The servers listen on an address of the machine that only this test has, as another machine in the house would.
"""

import ipaddress
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.cluster import Cluster
from support.dovecot import PASSWORD, USER, Authority, Dovecot, running
from support.radicale import Radicale, running_radicale

GROUP = "hearth.banjonet.com/v1alpha1"
BASE = "live"
EVENT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:lantern-review@example.org
DTSTAMP:20261101T090000Z
DTSTART;TZID=Europe/Berlin:20261109T140000
DTEND;TZID=Europe/Berlin:20261109T143000
RRULE:FREQ=WEEKLY;COUNT=3
SUMMARY:Lantern review
LOCATION:Boathouse
END:VEVENT
END:VCALENDAR
"""


def knowledge_base() -> dict:
    spec = {"embedding": {"model": "embed"}, "deletionPolicy": "Delete"}
    return {"apiVersion": GROUP, "kind": "KnowledgeBase", "metadata": {"name": BASE}, "spec": spec}


def account(name: str, *, username: str, password: str, ca: str) -> dict:
    data = {"username": username, "password": password, "ca.crt": ca}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def source(name: str, kind: str, block: dict) -> dict:
    spec = {"knowledgeBaseRef": {"name": BASE}, "type": kind, kind.lower(): block, "timeZone": "Europe/Berlin"}
    return {"apiVersion": GROUP, "kind": "IngestionSource", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> Iterator[str]:
    """An address on the machine beside the cluster's own, for as long as the tests run."""
    node = ipaddress.ip_address(urlsplit(cluster.url).hostname or "")
    found = str(node + 1)
    subprocess.run(["ip", "addr", "add", f"{found}/32", "dev", "lo"], check=True)
    try:
        yield found
    finally:
        subprocess.run(["ip", "addr", "del", f"{found}/32", "dev", "lo"], check=True)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Dovecot reads mail as another user, who must be able to walk here."""
    path = Path(tempfile.mkdtemp(prefix="hearth-live-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority.make(folder / "authority")


@pytest.fixture(scope="module")
def mail(folder: Path, authority: Authority, address: str) -> Iterator[Dovecot]:
    certificate = authority.issue("mail", hosts=(address,))
    with running(Dovecot(folder / "dovecot", authority, certificate, address=address)) as server:
        yield server


@pytest.fixture(scope="module")
def calendar(folder: Path, authority: Authority, address: str) -> Iterator[Radicale]:
    with running_radicale(folder / "radicale", authority=authority, address=address) as server:
        yield server


@pytest.fixture(scope="module")
def house(cluster: Cluster, authority: Authority, mail: Dovecot, calendar: Radicale) -> Iterator[None]:
    with cluster.applied(
        knowledge_base(),
        account("live-mail", username=USER, password=PASSWORD, ca=authority.ca),
        account("live-calendar", username=calendar.username, password=calendar.password, ca=authority.ca),
    ):
        yield


def deliver(server: Dovecot, number: int, words: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "tilda@example.org", USER, f"Notice {number}"
    message["Date"], message["Message-ID"] = "Mon, 09 Nov 2026 09:00:00 +0100", f"<live-{number}@example.org>"
    message.set_content(words)
    with server.client() as client:
        client.append("INBOX", None, None, message.as_bytes())


def keys(cluster: Cluster, query: str) -> set[str]:
    return {hit["origin_key"] for hit in cluster.search(BASE, query, top_k=20)}


@pytest.mark.usefixtures("house")
@pytest.mark.timeout(600)
def test_a_live_mailbox_is_followed(cluster: Cluster, mail: Dovecot) -> None:
    deliver(mail, 1, "The copper kettle is in the boathouse.")
    deliver(mail, 2, "The walnut ladder was lent to the neighbour.")
    block = {"imap": {"host": mail.host, "port": mail.tls_port, "secretRef": {"name": "live-mail"}}}
    with cluster.applied(source("live-inbox", "Email", block)):
        cluster.wait_ready("ingestionsource", "live-inbox")
        cluster.wait_indexed(BASE)
        assert "mid:<live-1@example.org>" in keys(cluster, "copper kettle")
        deliver(mail, 3, "The third willow was cut yesterday.")
        with mail.client() as client:
            client.select("INBOX")
            client.store("1", "+FLAGS", "\\Deleted")
            client.expunge()
        run = cluster.run_now("live-inbox")
        assert {name: run["counts"][name] for name in ("added", "deleted", "unchanged")} == {
            "added": 1,
            "deleted": 1,
            "unchanged": 1,
        }
        cluster.wait_indexed(BASE)
        assert keys(cluster, "copper kettle walnut willow") == {"mid:<live-2@example.org>", "mid:<live-3@example.org>"}


@pytest.mark.usefixtures("house")
@pytest.mark.timeout(600)
def test_a_live_calendar_is_followed_and_each_occurrence_found(cluster: Cluster, calendar: Radicale) -> None:
    calendar.put("Work", "lantern", EVENT.replace("\n", "\r\n"))
    block = {"caldav": {"url": calendar.url, "secretRef": {"name": "live-calendar"}}}
    with cluster.applied(source("live-dates", "Calendar", block)):
        cluster.wait_ready("ingestionsource", "live-dates")
        cluster.wait_indexed(BASE)
        filters = {"kind": ["calendar"], "after": "2026-11-16T00:00:00Z", "before": "2026-11-17T00:00:00Z"}
        hits = cluster.search(BASE, "lantern review", filters=filters)
        assert [hit["time"][:10] for hit in hits] == ["2026-11-16"]


@pytest.mark.usefixtures("house")
@pytest.mark.timeout(600)
def test_a_wrong_password_is_told_in_a_sentence_and_nowhere_repeated(
    cluster: Cluster, authority: Authority, mail: Dovecot
) -> None:
    wrong = "never-the-password-41"
    block = {"imap": {"host": mail.host, "port": mail.tls_port, "secretRef": {"name": "live-wrong"}}}
    secret = account("live-wrong", username=USER, password=wrong, ca=authority.ca)
    with cluster.applied(secret, source("live-refused", "Email", block)):

        def told() -> str:
            condition = cluster.condition("ingestionsource", "live-refused", "Ready")
            return condition.get("message", "") if condition.get("reason") == "RunFailed" else ""

        sentence = cluster.wait_for("the refusal", told, seconds=240)
        assert "password" in sentence
        pods = cluster.items("pod", "hearth.banjonet.com/name=live-refused")
        logs = "".join(cluster.kubectl("logs", pod["metadata"]["name"], check=False).stdout for pod in pods)
        shown = cluster.kubectl("get", "ingestionsource,job,configmap,event", "-o", "json").stdout
        assert wrong not in sentence + logs + shown


@pytest.mark.usefixtures("house")
@pytest.mark.timeout(300)
def test_the_proxy_is_the_only_way_and_knows_one_host_of_each_source(cluster: Cluster, mail: Dovecot) -> None:
    """From a pod of another part: neither directly nor, without a source's token, through the proxy."""
    script = f"""
import json, socket
def ask(host, port, send=None):
    try:
        with socket.create_connection((host, port), timeout=4) as link:
            if send is None:
                return "open"
            link.sendall(send)
            return link.recv(200).split(b"\\r\\n")[0].decode()
    except OSError:
        return "shut"
connect = b"CONNECT {mail.host}:{mail.tls_port} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
print(json.dumps([ask("{mail.host}", {mail.tls_port}), ask("hearth-egress", 3128, connect), ask("127.0.0.1", 3128, connect)]))
"""
    (pod,) = (
        item["metadata"]["name"]
        for item in cluster.items("pod", "app.kubernetes.io/name=hearth-knowledge")
        if item["status"]["phase"] == "Running"
    )
    done = cluster.kubectl("exec", pod, "-c", "knowledge", "--", "python3", "-c", script)
    assert json.loads(done.stdout) == ["shut", "shut", "shut"]
    (proxy,) = (item["metadata"]["name"] for item in cluster.items("pod", "app.kubernetes.io/name=hearth-egress"))
    done = cluster.kubectl("exec", proxy, "--", "python3", "-c", script)
    assert "407" in json.loads(done.stdout)[2], "whoever gets as far as the proxy still needs a source's token"
