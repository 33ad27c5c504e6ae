"""Kubernetes quantities as exact numbers."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.quantities import (
    QUANTITY_PATTERN,
    QuantityError,
    format_bytes,
    format_millicores,
    to_bytes,
    to_millicores,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1", 1), ("1k", 1000), ("50M", 50_000_000), ("3Gi", 3 * 1024**3), ("1.5Ki", 1536), ("1m", 1),
     ("0.1", 1), ("1Pi", 1024**5), ("448Gi", 448 * 1024**3)],
)  # fmt: skip
def test_bytes_are_rounded_up(text: str, expected: int) -> None:
    assert to_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1000), ("250m", 250), ("0.5", 500), ("1.0001", 1001), ("2k", 2_000_000)]
)
def test_millicores(text: str, expected: int) -> None:
    assert to_millicores(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "1e3", "3GB", "3gi", ".5", "1.", "Gi", "1 Gi", "１", "1Gi\n"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(QuantityError, match="is not a quantity"):
        to_bytes(text)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(min_value=0, max_value=2**62))
def test_what_is_written_reads_back(count: int) -> None:
    assert to_bytes(format_bytes(count)) == count
    assert to_millicores(format_millicores(count)) == count
    assert re.match(QUANTITY_PATTERN, format_bytes(count))


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0"), (1536 * 1024**2, "1536Mi"), (3 * 1024**3, "3Gi"), (1000, "1000"), (1024, "1Ki")]
)
def test_bytes_are_written_shortly(count: int, expected: str) -> None:
    assert format_bytes(count) == expected


def test_negative_numbers_are_no_quantities() -> None:
    for write in (format_bytes, format_millicores):
        with pytest.raises(QuantityError):
            write(-1)
