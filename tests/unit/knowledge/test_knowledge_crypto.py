"""Keys and seals."""

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_knowledge import crypto
from hearth_knowledge.errors import KeyMissingError, SealBrokenError

KEY = bytes(range(32))


def opened(sealed: bytes, place: str, *, cut: int = 7000) -> bytes:
    pieces = [sealed[start : start + cut] for start in range(0, len(sealed), cut)]
    return b"".join(crypto.unseal_stream(KEY, pieces, place=place))


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=200))
def test_a_sealed_value_opens_at_its_place(plain: bytes) -> None:
    sealed = crypto.seal(KEY, plain, place="kb|a", random=os.urandom)
    assert crypto.unseal(KEY, sealed, place="kb|a") == plain
    assert plain == b"" or len(plain) < 4 or plain not in sealed


@pytest.mark.parametrize("position", [0, 11, 12, 20, -1])
def test_a_changed_byte_does_not_open(position: int) -> None:
    sealed = bytearray(crypto.seal(KEY, b"some text", place="kb|a", random=os.urandom))
    sealed[position] ^= 1
    with pytest.raises(SealBrokenError):
        crypto.unseal(KEY, bytes(sealed), place="kb|a")


@pytest.mark.parametrize(("key", "place"), [(KEY, "kb|b"), (bytes(32), "kb|a")], ids=["another place", "another key"])
def test_a_moved_value_does_not_open(key: bytes, place: str) -> None:
    sealed = crypto.seal(KEY, b"some text", place="kb|a", random=os.urandom)
    with pytest.raises(SealBrokenError):
        crypto.unseal(key, sealed, place=place)


def test_an_empty_value_does_not_open() -> None:
    with pytest.raises(SealBrokenError):
        crypto.unseal(KEY, b"", place="kb|a")


@pytest.mark.parametrize("size", [0, 1, crypto.FRAME_BYTES - 1, crypto.FRAME_BYTES, crypto.FRAME_BYTES + 1, 3_000_000])
def test_a_stream_of_any_length_comes_back(size: int) -> None:
    plain = os.urandom(size)
    frames = [plain[start : start + 100_001] for start in range(0, size, 100_001)]
    sealed = b"".join(crypto.seal_stream(KEY, frames, place="p", random=os.urandom))
    assert opened(sealed, "p") == plain


@pytest.mark.parametrize("damage", ["cut frame", "cut at frame", "swap", "flip", "elsewhere", "empty"])
def test_a_damaged_stream_does_not_open(damage: str) -> None:
    frame = crypto.FRAME_BYTES + crypto.TAG_BYTES
    sealed = b"".join(crypto.seal_stream(KEY, [bytes(2 * crypto.FRAME_BYTES + 5)], place="p", random=os.urandom))
    salt, first, second, last = (
        sealed[:16],
        sealed[16 : 16 + frame],
        sealed[16 + frame : 16 + 2 * frame],
        sealed[16 + 2 * frame :],
    )
    broken = {
        "cut frame": sealed[:-3],
        "cut at frame": salt + first + second,
        "swap": salt + second + first + last,
        "flip": sealed[:500] + bytes([sealed[500] ^ 1]) + sealed[501:],
        "elsewhere": sealed,
        "empty": b"",
    }[damage]
    with pytest.raises(SealBrokenError):
        opened(broken, "q" if damage == "elsewhere" else "p", cut=1 << 20)


def write_key(folder: Path, name: str, key: bytes) -> None:
    (folder / name).write_text(base64.b64encode(key).decode() + "\n")


def test_the_keyring_uses_the_newest_version_and_opens_older_ones(tmp_path: Path) -> None:
    ring = crypto.Keyring(tmp_path)
    with pytest.raises(KeyMissingError):
        ring.current()
    write_key(tmp_path, "v1", KEY)
    wrapped = ring.wrap(b"k" * 32, place="kb|a|key", version=1, random=os.urandom)
    write_key(tmp_path, "v10", bytes(32))
    write_key(tmp_path, "v9", bytes(32))
    (tmp_path / "..data").mkdir()
    assert ring.current() == 10
    assert ring.unwrap(wrapped, place="kb|a|key", version=1) == b"k" * 32
    with pytest.raises(SealBrokenError):
        ring.unwrap(wrapped, place="kb|b|key", version=1)
    with pytest.raises(KeyMissingError):
        ring.unwrap(wrapped, place="kb|a|key", version=2)


@pytest.mark.parametrize("text", ["", "not base64 !", base64.b64encode(b"short").decode()])
def test_an_unusable_key_file_is_named_and_its_content_is_not(tmp_path: Path, text: str) -> None:
    (tmp_path / "v1").write_text(text)
    with pytest.raises(KeyMissingError, match="v1") as caught:
        crypto.Keyring(tmp_path).wrap(b"k", place="p", version=1, random=os.urandom)
    assert not text or text not in str(caught.value)


def test_derived_keys_differ_and_do_not_show() -> None:
    keys = crypto.KbKeys.from_master(KEY)
    assert len({keys.wrap, keys.meta, keys.lookup, keys.terms, keys.ids, KEY}) == 6
    assert str(keys.terms) not in repr(keys)


def test_a_keyed_hash_separates_its_parts() -> None:
    assert crypto.keyed_hash(KEY, "a", "bc") != crypto.keyed_hash(KEY, "ab", "c")
