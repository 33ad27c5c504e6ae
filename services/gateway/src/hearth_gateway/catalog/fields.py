"""Reads parts of resources that may hold anything."""

from collections.abc import Mapping
from typing import Any


def read_part(item: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object within, empty where there is none."""
    value = item.get(name)
    return value if isinstance(value, Mapping) else {}


def read_list(item: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list within, empty where there is none."""
    value = item.get(name)
    return value if isinstance(value, list) else []


def read_text(value: object) -> str | None:
    """Return a text, None where there is none."""
    return value if isinstance(value, str) and value else None


def read_ready(status: Mapping[str, Any]) -> tuple[bool, str]:
    """Return the Ready condition: whether it holds, and its words."""
    for condition in read_list(status, "conditions"):
        if isinstance(condition, Mapping) and condition.get("type") == "Ready":
            words = str(condition.get("message") or condition.get("reason") or "")
            return condition.get("status") == "True", words
    return False, "the operator has not reported on it yet"
