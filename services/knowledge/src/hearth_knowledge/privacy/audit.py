"""Who saw or released what, and why: rows that the database itself refuses to change. Tickets for originals."""

import base64
import threading
from collections.abc import Callable
from typing import Literal, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hearth_api.wire.knowledge import AuditEntry, AuditList
from hearth_knowledge import crypto
from hearth_knowledge.errors import InvalidRequestError
from hearth_knowledge.storage import names, schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.registry import OpenKb

Act = Literal["reveal", "reveal-original", "release", "erase-source"]
TICKET_MILLIS = 60_000
_MOST_TICKETS = 1000


class AuditLog:
    """Appends and lists. The reason is sealed: people write names into reasons."""

    def __init__(self, database: Database, *, random: crypto.RandomBytes, now: Callable[[], int]) -> None:
        self._database = database
        self._random = random
        self._now = now

    def append(
        self, connection: Connection, opened: OpenKb, *, act: Act, actor: str, document: str, version: int, reason: str
    ) -> None:
        """Write one act; whoever asks gets nothing before this is committed."""
        time = self._now()
        sealed = crypto.seal(
            opened.keys.privacy, reason.encode(), place=_place(opened.name, time, document), random=self._random
        )
        connection.execute(
            schema.audit.insert().values(
                kb=opened.name, time=time, actor=actor, act=act, document=document, version=version, reason=sealed
            )
        )

    def page(self, opened: OpenKb, *, after: str | None, limit: int) -> AuditList:
        """Return entries, newest first. InvalidRequestError for a cursor that is none."""
        table = schema.audit
        query = sa.select(table).where(table.c.kb == opened.name).order_by(table.c.id.desc()).limit(limit + 1)
        if after is not None:
            if not (after.isascii() and after.isdigit() and len(after) < 19):
                raise InvalidRequestError("after", "is not a cursor of this list")
            query = query.where(table.c.id < int(after))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        items = tuple(
            AuditEntry(
                time=names.from_millis(row.time),
                actor=row.actor,
                act=cast("Act", row.act),
                document=row.document,
                version=row.version,
                reason=crypto.unseal(
                    opened.keys.privacy, row.reason, place=_place(opened.name, row.time, row.document)
                ).decode(),
            )
            for row in rows[:limit]
        )
        return AuditList(items=items, next=str(rows[limit - 1].id) if len(rows) > limit else None)


class Tickets:
    """Permissions to read one original once, within a minute. In memory: a restart ends them all."""

    def __init__(self, *, random: crypto.RandomBytes, now: Callable[[], int]) -> None:
        self._random = random
        self._now = now
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, str, str]] = {}

    def issue(self, kb: str, document: str) -> str:
        """Return a new ticket."""
        ticket = base64.urlsafe_b64encode(self._random(32)).decode().rstrip("=")
        now = self._now()
        with self._lock:
            self._open = {key: value for key, value in self._open.items() if value[0] > now}
            while len(self._open) >= _MOST_TICKETS:
                self._open.pop(next(iter(self._open)))
            self._open[ticket] = (now + TICKET_MILLIS, kb, document)
        return ticket

    def redeem(self, ticket: str, kb: str, document: str) -> bool:
        """Use a ticket up. False when it is unknown, used, too old or for something else."""
        with self._lock:
            found = self._open.pop(ticket, None)
        return found is not None and found[0] > self._now() and found[1:] == (kb, document)


def _place(kb: str, time: int, document: str) -> str:
    return f"kb|{kb}|document|{document}|audit|{time}"
