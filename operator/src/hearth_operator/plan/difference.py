"""Whether what is there already says what we want, where the server adds defaults and rewrites quantities."""

from collections.abc import Mapping, Sequence
from typing import Any

from hearth_api.quantities import QuantityError, parse_quantity


def covers(live: Any, wanted: Any) -> bool:
    """Whether `live` says everything that `wanted` says. Fields that only `live` has do not matter.

    Lists must have the same length: a container or rule too many is a difference. An empty value equals an absent one.
    """
    if isinstance(wanted, Mapping):
        if not wanted:
            return live is None or isinstance(live, Mapping)
        return isinstance(live, Mapping) and all(covers(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if not wanted:
            return not live
        return (
            isinstance(live, Sequence)
            and not isinstance(live, str)
            and len(live) == len(wanted)
            and all(covers(a, b) for a, b in zip(live, wanted, strict=True))
        )
    return _same_leaf(live, wanted)


def _same_leaf(live: Any, wanted: Any) -> bool:
    if live == wanted and type(live) is type(wanted):
        return True
    if wanted in (None, "", False) and live in (None, "", False):
        return True
    if isinstance(live, bool) or isinstance(wanted, bool):
        return False
    if isinstance(live, int | float) and isinstance(wanted, int | float):
        return live == wanted
    try:
        return parse_quantity(str(live)) == parse_quantity(str(wanted))
    except QuantityError:
        return False
