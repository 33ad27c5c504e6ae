"""Messages of a conversation to windows that one reads at a time, named by their first message."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from hearth_ingest.teams.gather import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a window ends: after a silence, after `most` messages, or from `least` on at a message that says so."""

    silence: timedelta
    least: int
    most: int


CHAT = Cut(silence=timedelta(hours=6), least=24, most=40)
THREAD = Cut(silence=timedelta(days=14), least=60, most=100)
_ONE_IN = 8


def cut_windows(messages: Iterable[Message], *, cut: Cut) -> list[list[Message]]:
    """Return windows by time.

    They are made from the front, so what is appended never changes earlier ones. Between `least` and `most` the hash
    of a message's own id chooses the border: a message found later shifts borders only up to the next such id.
    """
    windows: list[list[Message]] = []
    for message in sorted(messages, key=lambda one: one.order):
        now = windows[-1] if windows else None
        if now is None or _begins(message, now, cut):
            windows.append([message])
        else:
            now.append(message)
    return windows


def _begins(message: Message, window: list[Message], cut: Cut) -> bool:
    if len(window) >= cut.most or message.created - window[-1].created > cut.silence:
        return True
    return len(window) >= cut.least and zlib.crc32(message.id.encode("utf-8", "replace")) % _ONE_IN == 0
