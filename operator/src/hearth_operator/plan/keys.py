"""Whether a new key-encryption key may be made."""

from collections.abc import Iterable, Mapping
from typing import Any


def may_make_kek(knowledge_bases: Iterable[Mapping[str, Any]], state: Mapping[str, Any] | None) -> tuple[bool, str]:
    """Return the answer and why. A new key beside old data would make that data unreadable for good."""
    if ((state or {}).get("data") or {}).get("storesHoldData") == "true":
        return False, "a store has held data: restore the Secret from its recovery copy"
    for kb in knowledge_bases:
        status = kb.get("status") or {}
        if status.get("documents") or status.get("collection"):
            return (
                False,
                f"KnowledgeBase {kb['metadata']['name']} holds data: restore the Secret from its recovery copy",
            )
    return True, "no store holds data"
