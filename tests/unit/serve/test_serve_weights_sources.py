"""Remote sources in their parts, signatures of S3, and settings: what needs no server."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hearth_api.wire.weights import WantedWeights, WeightsCode
from hearth_serve.weights.errors import WeightsError
from hearth_serve.weights.fetch.http import refusal
from hearth_serve.weights.fetch.s3 import object_url, presign
from hearth_serve.weights.remote import Listing, RemoteFile, choose_files, parse_remote
from hearth_serve.weights.resolve import _pinned
from hearth_serve.weights.settings import Credentials, open_store, read_size
from hearth_serve.weights.store import Store


def test_sources_in_their_parts() -> None:
    hub = parse_remote("hf://owner/model@v1.0/sub/m-*.gguf")
    assert (hub.host, hub.revision, hub.path) == ("owner/model", "v1.0", "sub/m-*.gguf")
    assert parse_remote("hf://owner/model").revision is None
    assert parse_remote("s3://bucket/a/m.gguf").path == "a/m.gguf"
    assert parse_remote("https://example.org:8443/a%20b.gguf").path == "a b.gguf"


@pytest.mark.parametrize(
    "source",
    [
        "ftp://example.org/m.gguf",
        "hf://owner",
        "hf://owner/model@/m.gguf",
        "hf://owner/../m.gguf",
        "https://example.org/%2e%2e/m.gguf",
        "https://example.org",
        "https://[example/m.gguf",
        "https://example.org:port/m.gguf",
        "s3://bucket",
        "s3://key@bucket/m.gguf",
        "https://example.org/m gguf",
    ],
)
def test_what_is_no_source(source: str) -> None:
    with pytest.raises(WeightsError) as error:
        parse_remote(source)
    assert error.value.code is WeightsCode.SOURCE_INVALID


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(WeightsError, match="must not carry a user or password") as error:
        parse_remote("https://me:hunter2@example.org/m.gguf")
    assert "hunter2" not in str(error.value)


def test_parts_and_tokenizers_come_along() -> None:
    split = [f"m-{n:05d}-of-00003.gguf" for n in (1, 2, 3)]
    assert sorted(choose_files([*split, "x.gguf"], split[1])) == split
    assert choose_files(["onnx/model.onnx", "tokenizer.json", "README.md"], "onnx/model.onnx") == {
        "onnx/model.onnx": "onnx/model.onnx",
        "tokenizer.json": "onnx/tokenizer.json",
    }
    names = ["model.safetensors", "config.json", "pytorch_model.bin", "README.md"]
    assert sorted(choose_files(names, "")) == ["config.json", "model.safetensors"]


def test_a_plain_address_must_be_pinned_and_a_contradiction_costs_no_byte() -> None:
    file = RemoteFile(name="m.gguf", url="https://example.org/m.gguf")
    with pytest.raises(WeightsError, match=r"is not pinned: give model\.sha256"):
        _pinned(Listing(files=(file,)), WantedWeights(source=file.url))
    known = RemoteFile(name="m.gguf", url=file.url, sha256="a" * 64)
    with pytest.raises(WeightsError, match="nothing was downloaded"):
        _pinned(Listing(files=(known,)), WantedWeights(source=file.url, sha256="sha256:" + "b" * 64))


def test_the_signature_is_the_one_of_amazons_example() -> None:
    url = presign(
        "https://examplebucket.s3.amazonaws.com/test.txt",
        key="AKIAIOSFODNN7EXAMPLE",
        secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="us-east-1",
        now=datetime(2013, 5, 24, tzinfo=UTC),
        expires=86400,
    )
    assert url.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    assert object_url("b", "a m.gguf", region="eu-west-1", endpoint=None).endswith(
        "s3.eu-west-1.amazonaws.com/a%20m.gguf"
    )


def test_refusals() -> None:
    assert refusal(403, "m", host="h").code is WeightsCode.GATED
    assert refusal(404, "m", host="h").code is WeightsCode.SOURCE_NOT_FOUND
    assert refusal(503, "m", host="h").passing


def test_settings(tmp_path: Path) -> None:
    assert read_size("200Gi") == 200 * 2**30
    with pytest.raises(ValueError, match="not a size"):
        read_size("much")
    store = open_store({"HEARTH_WEIGHTS_STORE": str(tmp_path), "HEARTH_WEIGHTS_QUOTA": "1G"})
    assert (store.root, store.quota) == (tmp_path, 10**9)
    (tmp_path / "HF_TOKEN").write_text("one\n")
    secrets = Credentials({"HOME": "/"}, folder=tmp_path)
    assert secrets.get("HF_TOKEN") == "one"
    assert Credentials({"HF_TOKEN": "two"}, folder=tmp_path)["HF_TOKEN"] == "two"
    assert secrets.get("AWS_ACCESS_KEY_ID") is None


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written"):
        Store(root=tmp_path / "file" / "store").prepare()
