"""When the next backup is due: every N hours ("6h") or each day at a time ("03:30", UTC)."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from hearth_knowledge.backup.maker import BackupMaker
from hearth_knowledge.backup.manifest import Manifest
from hearth_knowledge.errors import InvalidRequestError, KnowledgeError
from hearth_knowledge.storage.names import to_millis

HOUR = 3_600_000
DAY = 24 * HOUR
LOOK_SECONDS = 30.0
RETRY = HOUR // 4

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every so many milliseconds, counted from the last backup or from a time of day."""

    every: int
    at: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Schedule | None":
        """Read "HH:MM", "<n>h" or "" (none). InvalidRequestError."""
        if not text:
            return None
        if match := re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", text):
            return cls(every=DAY, at=int(match[1]) * HOUR + int(match[2]) * 60_000)
        if (match := re.fullmatch(r"([1-9]\d{0,3})h", text)) is not None:
            return cls(every=int(match[1]) * HOUR)
        raise InvalidRequestError("HEARTH_BACKUP_SCHEDULE", 'must be a time of day as "03:30" (UTC), or "6h"')

    def due(self, *, last: int | None, now: int) -> bool:
        """Tell whether a backup should be made now. Without any, one is due at once."""
        if last is None:
            return True
        if self.at is None:
            return now - last >= self.every
        today = now - now % DAY + self.at
        return last < (today if today <= now else today - DAY)


async def run_schedule(schedule: Schedule, maker: BackupMaker, *, now: Callable[[], int]) -> None:
    """Make backups until cancelled. One that fails is tried again after a quarter of an hour."""
    failed: int | None = None
    while True:
        made = await asyncio.to_thread(maker.list)
        last = latest_millis(made)
        if schedule.due(last=last, now=now()) and (failed is None or now() - failed >= RETRY):
            try:
                await asyncio.to_thread(maker.make)
                failed = None
            except (KnowledgeError, OSError) as error:
                failed = now()
                log.warning(
                    "the scheduled backup will be tried again", error=type(error).__name__, seconds=RETRY // 1000
                )
        await asyncio.sleep(LOOK_SECONDS)


def latest_millis(made: list[Manifest]) -> int | None:
    """Return when the newest backup was made."""
    return to_millis(datetime.fromisoformat(made[0].created)) if made else None
