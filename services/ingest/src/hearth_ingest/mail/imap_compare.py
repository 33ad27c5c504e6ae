"""Telling mails on a server apart that share a Message-ID or have none, with as few bytes fetched as that takes."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hearth_ingest.mail.imap_mailbox import Mailbox
from hearth_ingest.mail.imap_session import RefusedCommandError
from hearth_ingest.mail.imap_wire import LiteralTooLargeError
from hearth_ingest.mail.index import Entry, body_digest, shared_ids

SAMPLE_BYTES = 4096
_AT_ONCE = 50
_ROUND_BYTES = 16 << 20
_SAMPLE = b"BODY.PEEK[TEXT]<0.%d>" % SAMPLE_BYTES
_WHOLE = b"BODY.PEEK[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Where a mail lies on a server, and when the server took it (Unix seconds)."""

    mailbox: Mailbox
    validity: int
    uid: int
    stamp: float


Spot = tuple[bytes, int]
RemoteEntry = Entry[Remote]
Fetch = Callable[[Remote, list[int], bytes, int], dict[int, bytes]]
"""(any mail of the mailbox, UIDs, what, limit of one part) to bytes by UID."""


class Comparison:
    """Digests of the mails that need one.

    Mails that share an id are the same mail in several mailboxes nearly always: where size and the body's beginning
    agree nothing more is fetched. Bodies are fetched whole only where they differ in these, and where there is no id.
    """

    def __init__(self, fetch: Fetch, *, item_bytes: int) -> None:
        self._fetch = fetch
        self._limit = item_bytes
        self._digests: dict[Spot, str] = {}
        self._missing: set[Spot] = set()

    def digests(self, entries: list[RemoteEntry]) -> Callable[[RemoteEntry], str]:
        """Return the function that `arrange` asks. Raises SourceError when the connection is lost."""
        shared = shared_ids(entries)
        groups: dict[str, list[RemoteEntry]] = defaultdict(list)
        for entry in entries:
            if entry.mid and entry.mid in shared:
                groups[entry.mid].append(entry)
        self._compare(groups)
        self._digest([entry for entry in entries if not entry.mid])
        return lambda entry: self._digests.get(_spot(entry), "")

    def is_there(self, entry: RemoteEntry) -> bool:
        """Tell whether a mail that had to be compared could be read."""
        return _spot(entry) not in self._missing

    @property
    def complete(self) -> bool:
        """False when a mail was listed and could not be read: it may be out of sight only."""
        return not self._missing

    def _compare(self, groups: dict[str, list[RemoteEntry]]) -> None:
        samples = self._collect([entry for group in groups.values() for entry in group], what=_SAMPLE)
        whole: list[RemoteEntry] = []
        classes: list[list[RemoteEntry]] = []
        for group in groups.values():
            alike: dict[tuple[int, str], list[RemoteEntry]] = defaultdict(list)
            for entry in group:
                alike[(entry.size, samples.get(_spot(entry), ""))].append(entry)
            if len(alike) > 1:
                whole.extend(members[0] for members in alike.values())
                classes.extend(alike.values())
        self._digest(whole)
        for members in classes:
            digest = self._digests.get(_spot(members[0]), "")
            self._digests.update((_spot(entry), digest) for entry in members)

    def _digest(self, entries: list[RemoteEntry]) -> None:
        """Read whole mails, except those too large to be read anyway: what is known tells these apart."""
        small = [entry for entry in entries if entry.size <= self._limit]
        found = self._collect(small, what=_WHOLE)
        for entry in entries:
            spot = _spot(entry)
            if entry.size > self._limit:
                known = f"{entry.size}\0{entry.fingerprint}"
                self._digests[spot] = hashlib.sha256(known.encode()).hexdigest()[:24]
            elif spot in found:
                self._digests[spot] = found[spot]
            else:
                self._missing.add(spot)

    def _collect(self, entries: Iterable[RemoteEntry], *, what: bytes) -> dict[Spot, str]:
        """Return hashes by place: of the sample, or of the mail as `body_digest` sees it. Bytes are not kept."""
        out: dict[Spot, str] = {}
        boxes: dict[bytes, list[RemoteEntry]] = defaultdict(list)
        for entry in entries:
            boxes[entry.place.mailbox.raw].append(entry)
        for members in boxes.values():
            for batch in _batches(members, whole=what == _WHOLE):
                for entry, data in self._pull(batch, what=what):
                    # As in a file: the line ends of the wire are not part of a mail.
                    plain = data.replace(b"\r\n", b"\n")
                    if what == _WHOLE:
                        out[_spot(entry)] = body_digest(plain, mid=entry.mid)
                    else:
                        out[_spot(entry)] = hashlib.sha256(plain.strip()).hexdigest()
        return out

    def _pull(self, batch: list[RemoteEntry], *, what: bytes) -> list[tuple[RemoteEntry, bytes]]:
        limit = max(*(entry.size for entry in batch), SAMPLE_BYTES) + SAMPLE_BYTES
        try:
            found = self._fetch(batch[0].place, [entry.place.uid for entry in batch], what, limit)
        except (RefusedCommandError, LiteralTooLargeError):
            if len(batch) == 1:
                return []
            half = len(batch) // 2
            return self._pull(batch[:half], what=what) + self._pull(batch[half:], what=what)
        return [(entry, found[entry.place.uid]) for entry in batch if entry.place.uid in found]


def _batches(entries: list[RemoteEntry], *, whole: bool) -> Iterable[list[RemoteEntry]]:
    batch: list[RemoteEntry] = []
    held = 0
    for entry in entries:
        size = entry.size if whole else SAMPLE_BYTES
        if batch and (len(batch) >= _AT_ONCE or held + size > _ROUND_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(entry)
        held += size
    if batch:
        yield batch


def _spot(entry: RemoteEntry) -> Spot:
    return entry.place.mailbox.raw, entry.place.uid
