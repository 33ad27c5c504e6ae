"""Runs of the real command against the real knowledge service: nothing twice, nothing lost, nothing left behind."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hearth_api.wire.knowledge import EmbeddingConfig
from support.knowledge import KnowledgePod, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUICKSTART = Path(__file__).parents[2] / "data" / "work-month"
# Handing over does not wait for indexing, so nobody embeds here.
NOWHERE = "http://127.0.0.1:9"
EMBEDDING = EmbeddingConfig(model="embed", digest="sha256:none", dimensions=8)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pod(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KnowledgePod]:
    async with KnowledgePod(tmp_path_factory.mktemp("pod"), gateway_url=NOWHERE) as running:
        yield running


@dataclass
class Ingestion:
    """Runs of one source into one knowledge base."""

    pod: KnowledgePod
    folder: Path
    kb: str
    source: str
    kind: str
    path: Path

    async def start(self) -> asyncio.subprocess.Process:
        spec = {"source": self.source, "knowledgeBase": self.kb, "type": self.kind, "path": str(self.path)}
        spec |= {"knowledgeUrl": self.pod.url, "tokenPath": str(self.folder / "token"), "trust": "Known"}
        self.folder.mkdir(exist_ok=True)
        (self.folder / "token").write_text(f"hearth-ingest-{self.source}")
        (self.folder / "run.json").write_text(json.dumps(spec))
        command = [str(Path(sys.executable).with_name("hearth-ingest")), "run", "--spec", str(self.folder / "run.json")]
        command += ["--termination-log", str(self.folder / "termination")]
        return await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )

    async def run(self) -> dict[str, Any]:
        return await self.finish(await self.start())

    async def finish(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        out, _ = await asyncio.wait_for(process.communicate(), timeout=100)
        assert process.returncode == 0, out
        assert json.loads((self.folder / "termination").read_text()) == json.loads(out)
        report: dict[str, Any] = json.loads(out)
        report["counts"] = {name: number for name, number in report["counts"].items() if number}
        return report

    async def manifest(self) -> dict[str, str]:
        """Return origin keys by document id."""
        path = f"/v1/kbs/{self.kb}/sources/{self.source}/manifest"
        _, body = await self.pod.call("GET", path, account=f"hearth-ingest-{self.source}")
        return {line["id"]: line["key"] for line in map(json.loads, body.splitlines())}

    async def holds(self) -> dict[str, tuple[Any, bytes]]:
        """Return document and original by key, with ids replaced by what they stand for: ids differ by base."""
        ids = await self.manifest()
        found = {}
        for identity, key in ids.items():
            path = f"/v1/kbs/{self.kb}/documents/{identity}"
            _, body = await self.pod.call("GET", path, account="hearth-gateway")
            status, original = await self.pod.call("GET", f"{path}/original", account="hearth-gateway")
            # The original of what holds a withheld passage is withheld as well.
            assert status == 200 or (status == 403 and b"[withheld" in body), key
            text = re.sub(r"(?:email|document)-[a-z2-7]{32}", lambda m: ids.get(m[0], m[0]), body.decode())
            text = re.sub(r"(person|thread)-[a-z2-7]{32}", r"\1", text)
            document = json.loads(text)
            document = document.get("document", document)
            found[key] = ({name: document[name] for name in ("title", "segments", "links", "attachments")}, original)
        return found


async def begin(pod: KnowledgePod, folder: Path, kb: str, *, kind: str, path: Path) -> Ingestion:
    # With credentials masked the originals of mails that carry some would be withheld; here they are compared.
    await pod.configure(kb, EMBEDDING, privacy={"secrets": "Keep"})
    return Ingestion(pod, folder, kb, "inbox" if kind == "email" else "documents", kind, path)


def copies(number: int) -> bytes:
    """Return the sample mailbox several times, each time with other message ids."""
    mail = (QUICKSTART / "mail.mbox").read_bytes()
    return b"".join(mail.replace(b"@example.org>", b".%d@example.org>" % n) for n in range(number))


async def test_a_second_run_of_the_sample_changes_nothing(pod: KnowledgePod, tmp_path: Path) -> None:
    inbox = await begin(pod, tmp_path / "a", "twice", kind="email", path=QUICKSTART / "mail.mbox")
    files = await begin(pod, tmp_path / "b", "twice", kind="documents", path=QUICKSTART / "documents")
    first = [await inbox.run(), await files.run()]
    assert [report["outcome"] for report in first] == ["Succeeded", "Succeeded"]
    second = [await inbox.run(), await files.run()]
    for before, after in zip(first, second, strict=True):
        assert after["counts"] == {"unchanged": before["counts"]["added"]}
    assert len(await inbox.holds()) == first[0]["counts"]["added"]


async def test_only_what_changed_is_handed_over_and_what_is_gone_is_deleted(pod: KnowledgePod, tmp_path: Path) -> None:
    path = tmp_path / "mail.mbox"
    path.write_bytes(copies(1))
    inbox = await begin(pod, tmp_path / "a", "changing", kind="email", path=path)
    total = (await inbox.run())["counts"]["added"]
    new = b"From x@y Mon Nov 23 09:12:44 2026\nMessage-ID: <new@x>\nFrom: x@example.org\nSubject: new\n\nnew words\n"
    path.write_bytes(copies(1) + b"\n" + new)
    assert (await inbox.run())["counts"] == {"added": 1, "unchanged": total}
    path.write_bytes(copies(1) + b"\n" + new.replace(b"words", b"thoughts"))
    assert (await inbox.run())["counts"] == {"updated": 1, "unchanged": total}
    path.write_bytes(new)
    report = await inbox.run()
    assert report["counts"]["deleted"] == total
    assert list((await inbox.manifest()).values()) == ["mid:<new@x>"]
    path.unlink()
    failed = await inbox.start()
    await failed.communicate()
    assert failed.returncode == 1
    assert len(await inbox.manifest()) == 1


async def test_killed_in_the_middle_and_run_again_equals_an_undisturbed_run(pod: KnowledgePod, tmp_path: Path) -> None:
    path = tmp_path / "mail.mbox"
    path.write_bytes(copies(2))
    calm = await begin(pod, tmp_path / "calm", "calm", kind="email", path=path)
    await calm.run()
    disturbed = await begin(pod, tmp_path / "disturbed", "disturbed", kind="email", path=path)
    total = len(await calm.manifest())
    for above in (0, total // 2):
        process = await disturbed.start()

        async def under_way(above: int = above) -> bool:
            return len(await disturbed.manifest()) > above

        await until(under_way, what="some of it is stored")
        process.kill()
        await process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run was over before it could be disturbed"
        assert len(await disturbed.manifest()) < total
    report = await disturbed.run()
    assert report["outcome"] == "Succeeded"
    assert await disturbed.holds() == await calm.holds()
    assert (await disturbed.run())["counts"] == {"unchanged": total}


async def test_a_knowledge_service_that_dies_and_comes_back_only_delays_a_run(tmp_path: Path) -> None:
    path = tmp_path / "mail.mbox"
    path.write_bytes(copies(2))
    async with KnowledgePod(tmp_path / "own", gateway_url=NOWHERE) as own:
        inbox = await begin(own, tmp_path / "a", "work", kind="email", path=path)
        process = await inbox.start()

        async def under_way() -> bool:
            return bool(await inbox.manifest())

        await until(under_way, what="some of it is stored")
        own.service.kill()
        own.service.start()
        report = await inbox.finish(process)
        assert report["outcome"] == "Succeeded"
        assert len(await inbox.holds()) == report["counts"]["added"] + report["counts"].get("unchanged", 0)


async def test_another_sources_account_is_refused(pod: KnowledgePod, tmp_path: Path) -> None:
    inbox = await begin(pod, tmp_path / "a", "foreign", kind="email", path=QUICKSTART / "mail.mbox")
    process = await inbox.start()
    (inbox.folder / "token").write_text("hearth-ingest-other")
    out, _ = await process.communicate()
    report = json.loads(out)
    assert (process.returncode, report["outcome"]) == (1, "Failed")
    assert "403" in report["firstError"]
    assert await inbox.manifest() == {}
