"""The durable queue of indexing work: one row per document that may differ from its index.

A job says "look at this document", never what to do, so doing it twice or out of order is harmless. Taking a job off
demands the ticket that was seen when it was taken up; a later change has raised the ticket and keeps the job.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from hearth_api.wire.knowledge import QueueStatus
from hearth_knowledge.storage import names, schema
from hearth_knowledge.storage.database import Database

REBUILDING = "index_rebuilding"
"""Mark of jobs whose document was indexed and lost its rows, or came back from a backup."""
RETRY_SECONDS = (5, 15, 60, 300, 900)


@dataclass(frozen=True, slots=True)
class Job:
    """One document to look at."""

    kb: str
    document: str
    ticket: int
    attempts: int


class JobQueue:
    """Jobs in SQL."""

    def __init__(self, database: Database, *, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now

    def enqueue(self, connection: Connection, kb: str, documents: Collection[str], *, mark: str | None = None) -> None:
        """Add jobs in the caller's transaction; a job that is there is due at once again."""
        for document in sorted(documents):
            row = insert(schema.jobs).values(
                kb=kb, document=document, ticket=1, enqueued=self._now(), due=0, attempts=0, error=mark
            )
            connection.execute(
                row.on_conflict_do_update(
                    index_elements=["kb", "document"],
                    set_={"ticket": schema.jobs.c.ticket + 1, "due": 0, "attempts": 0, "error": mark},
                )
            )

    def due(self, kb: str, *, limit: int, deleted_only: bool = False) -> list[Job]:
        """Return jobs that are due, oldest first; if asked, only those of documents that were deleted."""
        table, documents = schema.jobs, schema.documents
        query = (
            sa.select(table.c.kb, table.c.document, table.c.ticket, table.c.attempts)
            .where(table.c.kb == kb, table.c.due <= self._now())
            .order_by(table.c.enqueued, table.c.document)
            .limit(limit)
        )
        if deleted_only:
            gone = sa.exists().where(
                documents.c.kb == table.c.kb, documents.c.id == table.c.document, documents.c.deleted.is_(True)
            )
            query = query.where(gone)
        with self._database.read() as connection:
            return [Job(*row) for row in connection.execute(query)]

    def finish(self, connection: Connection, job: Job) -> None:
        """Take a job off, unless the document changed meanwhile."""
        table = schema.jobs
        connection.execute(
            table.delete().where(table.c.kb == job.kb, table.c.document == job.document, table.c.ticket == job.ticket)
        )

    def postpone(self, job: Job, *, code: str) -> None:
        """Count a failure of this document alone, and try again after a growing time."""
        table = schema.jobs
        seconds = RETRY_SECONDS[min(job.attempts, len(RETRY_SECONDS) - 1)]
        with self._database.write() as connection:
            connection.execute(
                table.update()
                .where(table.c.kb == job.kb, table.c.document == job.document, table.c.ticket == job.ticket)
                .values(attempts=job.attempts + 1, due=self._now() + seconds * 1000, error=code[:64])
            )

    def pending(self, kb: str) -> tuple[int, int]:
        """Return (jobs not failed yet, jobs that failed and will be tried again)."""
        status = self.status(kb)
        return status.pending, status.failed

    def fewest_attempts(self, kb: str) -> int:
        """Return how often the job that was tried least was tried; 0 without jobs."""
        table = schema.jobs
        with self._database.read() as connection:
            found = connection.execute(sa.select(sa.func.min(table.c.attempts)).where(table.c.kb == kb)).scalar()
        return int(found or 0)

    def is_rebuilding(self, kb: str) -> bool:
        """Tell whether documents wait because their rows were lost."""
        table = schema.jobs
        query = sa.select(table.c.document).where(table.c.kb == kb, table.c.error == REBUILDING).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def status(self, kb: str) -> QueueStatus:
        """Return what waits."""
        table = schema.jobs
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(table.c.enqueued, table.c.attempts, table.c.error).where(table.c.kb == kb)
            ).all()
        failed = [row for row in rows if row.attempts]
        return QueueStatus(
            pending=len(rows) - len(failed),
            failed=len(failed),
            oldest=names.from_millis(min(row.enqueued for row in rows)) if rows else None,
            last_error=failed[-1].error if failed else None,
        )
