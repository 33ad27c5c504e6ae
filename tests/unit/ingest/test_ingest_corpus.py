"""Every message of CPython's own mail tests parses, and every one of its MIME parts is accounted for."""

import importlib.util
from pathlib import Path

import pytest

from support.ingest_mail import count_all_parts, parse_mail


def _corpus() -> list[Path]:
    spec = importlib.util.find_spec("test.test_email")
    if spec is None or spec.origin is None:
        return []
    return sorted((Path(spec.origin).parent / "data").glob("msg_*.txt"))


CORPUS = _corpus()


@pytest.mark.skipif(not CORPUS, reason="this Python was installed without its own tests")
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_every_part_of_cpythons_mails_is_accounted_for(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    documents = parse_mail(data, tmp_path)
    mail = documents[-1].document
    assert len(mail.parts) == count_all_parts(data)
    assert all(part.reason for part in mail.parts)
    assert len(mail.attachments) == sum(part.reason.startswith(("attachment", "opaque")) for part in mail.parts)


@pytest.mark.skipif(not CORPUS, reason="this Python was installed without its own tests")
def test_the_corpus_is_whole() -> None:
    assert len(CORPUS) >= 45
