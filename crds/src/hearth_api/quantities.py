"""Kubernetes quantities: "512Mi", "1.5", "250m" as exact numbers.

Only the forms that the schema accepts: decimal digits with an optional fraction and one suffix; no exponent, no sign.
"""

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
_PARTS = re.compile(r"^([0-9]+(?:\.[0-9]{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTP", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTP", start=1)},
}


class QuantityError(ValueError):
    """A text that is no quantity."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not a quantity: write a number with one of {', '.join(filter(None, _FACTORS))}")
        self.text = text


def parse_quantity(text: str) -> Decimal:
    """Return the exact value in base units (bytes, cores). Raises `QuantityError`."""
    match = _PARTS.fullmatch(text)
    if match is None:
        raise QuantityError(text)
    return Decimal(match[1]) * _FACTORS[match[2] or ""]


@lru_cache(maxsize=4096)
def to_bytes(text: str) -> int:
    """Return whole bytes, rounded up as Kubernetes does."""
    return int(parse_quantity(text).to_integral_value(rounding=ROUND_CEILING))


@lru_cache(maxsize=4096)
def to_millicores(text: str) -> int:
    """Return thousandths of a core, rounded up as Kubernetes does."""
    return int((parse_quantity(text) * 1000).to_integral_value(rounding=ROUND_CEILING))


def format_bytes(count: int) -> str:
    """Return the shortest exact quantity in binary units: 1610612736 -> "1536Mi"."""
    if count < 0:
        raise QuantityError(str(count))
    for power, suffix in ((5, "Pi"), (4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")):
        if count and count % 1024**power == 0:
            return f"{count // 1024**power}{suffix}"
    return str(count)


def format_millicores(count: int) -> str:
    """Return cores where they are whole, millicores otherwise: 2000 -> "2", 250 -> "250m"."""
    if count < 0:
        raise QuantityError(str(count))
    return f"{count}m" if count % 1000 else str(count // 1000)
