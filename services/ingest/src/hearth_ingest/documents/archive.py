"""Archives and mails inside files: what comes out of them becomes documents of their own, all within one budget."""

from dataclasses import dataclass

from hearth_api.wire.documents import DocumentWarning, Part
from hearth_ingest.context import ParseContext
from hearth_ingest.documents.body import ARCHIVE_TYPES, PARSED_TYPES, Body, media_type_of, part_type, segment
from hearth_ingest.errors import RefusedError
from hearth_ingest.item import Refusal
from hearth_ingest.sandbox.process import SANDBOX

_MAX_LINES = 1000
_MAX_SLOW = 3
_NAME_BYTES = 8192
_JUNK = ("__macosx/", "thumbs.db", "desktop.ini")
OPENED_TYPES = ARCHIVE_TYPES | {"message/rfc822"}


@dataclass(slots=True, kw_only=True)
class Budget:
    """What one item may still cost, its nested archives included."""

    entries: int
    expanded_bytes: int
    slow: int = 0
    """Members that took too long; after a few the rest is refused, or one archive could take a day."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member that is worth a document."""

    name: str
    data: bytes
    media_type: str


@dataclass(slots=True)
class Opened:
    """An archive's members and its account. `office` is set where the archive is an office document instead."""

    members: list[Member]
    parts: list[Part]
    refusals: list[Refusal]
    office: str | None = None


def start_budget(context: ParseContext) -> Budget:
    """Return the budget of one item."""
    return Budget(entries=context.limits.entries, expanded_bytes=context.limits.expanded_bytes)


def open_archive(data: bytes, *, key: str, name: str, media_type: str, context: ParseContext, budget: Budget) -> Opened:
    """Return the members of an archive. Raises ItemError for one that cannot be opened, RefusedError for a bomb."""
    limits = context.limits
    if len(data) > limits.item_bytes:
        raise RefusedError("too-large", f"{len(data)} bytes, {limits.item_bytes} allowed")
    arguments = {
        "type": media_type,
        "name": name,
        "entries": budget.entries,
        "expanded_bytes": budget.expanded_bytes,
        "ratio": limits.ratio,
        "item_bytes": limits.item_bytes,
    }
    room = budget.expanded_bytes + budget.entries * _NAME_BYTES
    frames = SANDBOX.ask("unpack", data, seconds=limits.seconds_per_item, max_output=room, args=arguments)
    opened = Opened([], [], [])
    for head, blob in frames:
        if "office" in head:
            opened.office = str(head["office"])
            return opened
        budget.entries -= 1
        budget.expanded_bytes -= len(blob)
        _sort(opened, str(head.get("name", ""))[:2048], blob, head.get("error"), str(head.get("detail", "")), key=key)
    budget.entries, budget.expanded_bytes = max(budget.entries, 0), max(budget.expanded_bytes, 0)
    return opened


def _sort(opened: Opened, name: str, blob: bytes, error: object, detail: str, *, key: str) -> None:
    kind = media_type_of(name, head=blob[:64]) if name else "application/octet-stream"
    lower = name.lower()
    if error is not None:
        code = str(error)[:60]
        quarantined = code not in {"entry-broken", "archive-broken"}
        opened.refusals.append(Refusal(uri=f"{key}!{name}", code=code, detail=detail[:200], quarantined=quarantined))
        opened.parts.append(Part(media_type=part_type(name), used=False, reason=code, name=name or None))
    elif lower.startswith(_JUNK) or lower.rpartition("/")[2].startswith((".", "thumbs.db", "desktop.ini")):
        opened.parts.append(Part(media_type=kind, used=False, reason="hidden-file", name=name))
    elif kind not in PARSED_TYPES:
        opened.parts.append(Part(media_type=part_type(name), used=False, reason="no-parser", name=name))
    else:
        opened.members.append(Member(name, blob, kind))
        opened.parts.append(Part(media_type=kind, used=True, reason="member", name=name))


def refuse_slow(budget: Budget) -> None:
    """Raise RefusedError when several members of the item took too long already."""
    if budget.slow >= _MAX_SLOW:
        raise RefusedError("too-slow", "other members of the archive took too long")


def listing_body(opened: Opened) -> Body:
    """Return what the archive's own document says: its entries and what became of each."""
    lines = [
        f"{part.name or '(rest)'}" + ("" if part.used else f" ({part.reason})") for part in opened.parts[:_MAX_LINES]
    ]
    if len(opened.parts) > _MAX_LINES:
        lines.append(f"and {len(opened.parts) - _MAX_LINES} more")
    warnings = [
        DocumentWarning(code=refusal.code, detail=f"{refusal.uri.rpartition('!')[2][:200]}: {refusal.detail}")
        for refusal in opened.refusals[:100]
    ]
    if not opened.parts:
        warnings.append(DocumentWarning(code="no-text", detail="an empty archive"))
    segments = (segment("\n".join(lines), role="table"),) if lines else ()
    return Body(segments=segments, warnings=tuple(warnings), parts=tuple(opened.parts))
