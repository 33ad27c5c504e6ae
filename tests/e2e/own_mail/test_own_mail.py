"""The README's three lines: copy an mbox, apply one resource, ask; and deletion at the source reaches everything."""

import mailbox
from email.message import EmailMessage
from pathlib import Path

import pytest
import yaml
from openai import OpenAI

from support.cluster import Cluster

EXAMPLE = Path(__file__).resolve().parents[3] / "crds" / "examples" / "own-mail.yaml"
SOURCE = yaml.safe_load(EXAMPLE.read_text())
NAME = SOURCE["metadata"]["name"]
QUESTION = "Who sent the offer for the new roof, and what does it cost?"


def _mail(number: int, subject: str, text: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = f"Person {number} <person{number}@example.org>"
    mail["To"] = "owner@example.org"
    mail["Subject"] = subject
    mail["Date"] = f"Mon, {number + 1:02d} Nov 2026 09:00:00 +0100"
    mail["Message-ID"] = f"<own-{number}@example.org>"
    mail.set_content(text)
    return mail


MAILS = [
    _mail(
        1,
        "Offer for the roof",
        "Dear owner,\n\nour offer for the new roof of your house is 18,450 EUR.\n\nHelga Dachdecker, Roofs & Sons",
    ),
    _mail(2, "Choir on Thursday", "The choir meets at seven in the old school. Bring the Brahms."),
    _mail(3, "Invoice 4711", "Please find the invoice 4711 for three bicycle tyres over 96 EUR."),
]


def _write(path: Path, mails: list[EmailMessage]) -> None:
    path.unlink(missing_ok=True)
    box = mailbox.mbox(str(path))
    for mail in mails:
        box.add(mail)
    box.flush()
    box.close()
    path.chmod(0o644)


@pytest.fixture
def own_mail(cluster: Cluster):
    path = cluster.data / "my.mbox"
    before = path.read_bytes() if path.exists() else None
    _write(path, MAILS)
    cluster.kubectl("apply", "-f", str(EXAMPLE))
    yield path
    # An empty mailbox first: what this test brought in leaves the knowledge base again.
    _write(path, [])
    cluster.run_now(NAME)
    cluster.kubectl("delete", "-f", str(EXAMPLE), "--timeout=120s")
    path.unlink()
    if before is not None:
        path.write_bytes(before)


def test_ones_own_mbox_gives_a_cited_answer_and_a_deleted_mail_is_gone(
    cluster: Cluster, client: OpenAI, own_mail: Path
) -> None:
    cluster.wait_ready("ingestionsource", NAME)
    cluster.wait_indexed("work")
    assert cluster.get("ingestionsource", NAME)["status"]["lastRun"]["counts"]["added"] == 3

    def ask():
        return client.chat.completions.create(
            model="chat@work", messages=[{"role": "user", "content": QUESTION}], max_tokens=64, temperature=0
        )

    answer = ask()
    document = cluster.search("work", QUESTION, top_k=1)[0]
    assert document["origin_key"] == "mid:<own-1@example.org>"
    message = answer.choices[0].message
    assert message.annotations
    assert document["document"] in str(answer.model_dump())

    run = cluster.run_now(NAME)
    assert run["counts"]["unchanged"] == 3
    assert run["counts"]["added"] == run["counts"]["updated"] == run["counts"]["deleted"] == 0

    _write(own_mail, MAILS[1:])
    assert cluster.run_now(NAME)["counts"]["deleted"] == 1
    cluster.wait_indexed("work")
    assert "mid:<own-1@example.org>" not in {hit["origin_key"] for hit in cluster.search("work", QUESTION, top_k=50)}
    again = ask()
    assert document["document"] not in str(again.model_dump())
    assert "18,450" not in str(again.choices[0].message.annotations)
