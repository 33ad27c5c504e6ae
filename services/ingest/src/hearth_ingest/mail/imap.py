"""A mail account on an IMAP server as a source. It is only read: mailboxes are examined, bodies are peeked at."""

import hashlib
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar
from urllib.parse import quote

import structlog

from hearth_ingest.context import ParseContext
from hearth_ingest.errors import ItemError, RefusedError, SourceError
from hearth_ingest.files import matches
from hearth_ingest.item import Item, Listing, Parsed, Refusal
from hearth_ingest.mail.dates import parse_date
from hearth_ingest.mail.imap_compare import Comparison, Remote
from hearth_ingest.mail.imap_mailbox import (
    Mailbox,
    Opened,
    Seen,
    examine,
    fetch,
    fetch_received,
    grown,
    list_mailboxes,
    list_messages,
    personal_prefix,
)
from hearth_ingest.mail.imap_session import Account, LostError, RefusedCommandError, Session
from hearth_ingest.mail.imap_wire import LiteralTooLargeError
from hearth_ingest.mail.index import Entry, arrange, make_entry, read_fields
from hearth_ingest.mail.source import build_entry, mail_key

AHEAD_MAILS = 16
AHEAD_BYTES = 8 << 20
_SLACK_BYTES = 1 << 20
_BROKEN_AT_MOST = 3
_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
RemoteEntry = Entry[Remote]


class ImapSource:
    """The mails of an account. `include` and `exclude` are globs of mailbox names beside those of the account."""

    def __init__(
        self,
        account: Account,
        *,
        context: ParseContext,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        connect: Callable[[Account], Session] = Session,
    ) -> None:
        self._account = account
        self._context = context
        self._globs = ((account.spec.include, account.spec.exclude), (include, exclude))
        self._connect = connect
        self._session: Session | None = None
        self._selected: tuple[bytes, int] | None = None
        self._order: list[RemoteEntry] = []
        self._positions: dict[str, int] = {}
        self._ahead: dict[int, bytes] = {}
        self._last = -2
        self._burst = 1
        self._broken = 0

    def observe(self) -> Listing:
        """List all mailboxes and put their mails into conversations; no body is read unless it must be compared.

        Raises SourceError where the account cannot be used, or the connection is lost for the second time.
        """
        try:
            return self._observe()
        except BaseException:
            self._drop()
            raise

    def _observe(self) -> Listing:
        mailboxes = self._ask(self._wanted)
        refusals: list[Refusal] = []
        listed: dict[bytes, tuple[Mailbox, Opened, list[RemoteEntry]]] = {}
        for mailbox in mailboxes:
            self._list(mailbox, listed, refusals)
        # A mail that is moved into a mailbox that was listed before must not look gone.
        for mailbox, opened, _ in list(listed.values()):
            if self._ask(partial(_is_grown, mailbox=mailbox, opened=opened)):
                self._list(mailbox, listed, refusals)
        entries = [entry for _, _, found in listed.values() for entry in found]
        entries.sort(key=lambda entry: (entry.place.stamp, entry.place.mailbox.name, entry.place.uid))
        comparison = Comparison(self._fetch_of, item_bytes=self._context.limits.item_bytes)
        arranged, copies = arrange(entries, digest_of=comparison.digests(entries))
        arranged = [entry for entry in arranged if comparison.is_there(entry)]
        self._remember(arranged)
        _log.info("imap_listed", mailboxes=len(mailboxes), mails=len(arranged), copies=len(copies))
        items = tuple(self._item(entry) for entry in self._order)
        complete = not refusals and comparison.complete
        return Listing(items=items, refusals=tuple(refusals), copies=len(copies), complete=complete)

    def _wanted(self, session: Session) -> list[Mailbox]:
        try:
            everything = list_mailboxes(session)
            prefix = personal_prefix(session)
        except RefusedCommandError as error:
            raise SourceError(f"{self._account.place} does not list its mailboxes: {error.sentence}") from error
        if not everything:
            raise SourceError(f"{self._account.place} shows no mailbox to {self._account.credentials.username}")
        chosen = [mailbox for mailbox in everything if self._matches(mailbox, prefix=prefix)]
        if not chosen:
            names = ", ".join(mailbox.name for mailbox in everything[:20])
            raise SourceError(f"no mailbox of {self._account.place} matches include and exclude; it has {names}")
        return chosen

    def _matches(self, mailbox: Mailbox, *, prefix: str) -> bool:
        r"""Names count with and without the prefix of the account's own mailboxes, and special uses as \Trash."""
        bare = mailbox.name.removeprefix(prefix) if prefix else mailbox.name
        names = {mailbox.name, bare or mailbox.name}

        def hit(globs: tuple[str, ...]) -> bool:
            if {glob.lower() for glob in globs} & {use.lower() for use in mailbox.uses}:
                return True
            return any(matches(name, include=globs, exclude=()) for name in names)

        return all((not include or hit(include)) and not (exclude and hit(exclude)) for include, exclude in self._globs)

    def _list(
        self,
        mailbox: Mailbox,
        listed: dict[bytes, tuple[Mailbox, Opened, list[RemoteEntry]]],
        refusals: list[Refusal],
    ) -> None:
        # A refusal says that mails are out of sight, not gone: nothing is deleted then.
        uri = f"imap://{self._account.spec.host}/{quote(mailbox.name)}"
        try:
            opened, missing, entries = self._ask(partial(self._index, mailbox=mailbox))
        except RefusedCommandError as error:
            refusals.append(Refusal(uri=uri, code="mailbox-unreadable", detail=error.sentence, quarantined=False))
            return
        if missing:
            detail = f"{missing} of {opened.count} mails were not listed by the server"
            refusals.append(Refusal(uri=uri, code="mailbox-incomplete", detail=detail, quarantined=False))
        listed[mailbox.raw] = (mailbox, opened, entries)

    def _index(self, session: Session, *, mailbox: Mailbox) -> tuple[Opened, int, list[RemoteEntry]]:
        """Return the mailbox as it was opened, how many of its mails did not answer, and those that did."""
        self._selected = None
        opened = examine(session, mailbox)
        self._selected = (mailbox.raw, opened.validity)
        seen: dict[int, tuple[Seen, dict[str, str]]] = {}
        missing = 0
        for absent, batch in list_messages(session, opened.count):
            missing += absent
            for one in batch:
                seen[one.uid] = (one, read_fields(one.header))
        undated = [uid for uid, (_, fields) in seen.items() if parse_date(fields.get("date", ""))[0] is None]
        for uid, header in fetch_received(session, sorted(undated)).items():
            if uid in seen:
                seen[uid][1].update(read_fields(header))
        return opened, missing, [self._entry(mailbox, opened, one, fields) for one, fields in seen.values()]

    def _entry(self, mailbox: Mailbox, opened: Opened, seen: Seen, fields: dict[str, str]) -> RemoteEntry:
        """The fingerprint is what moves and copies leave alone: neither mailbox nor UID are in it."""
        stamp = seen.stamp or 0.0
        marks = [str(seen.size), str(stamp), *(fields.get(name, "") for name in ("message-id", "references"))]
        marks += [fields.get(name, "") for name in ("in-reply-to", "date")]
        print_ = hashlib.sha256("\0".join(marks).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return make_entry(
            fields,
            place=Remote(mailbox=mailbox, validity=opened.validity, uid=seen.uid, stamp=stamp),
            uri=f"imap://{quote(self._account.spec.host, safe='')}",
            size=seen.size,
            # As in the line before a mail of an mbox file: when the server took it.
            envelope=time.asctime(time.gmtime(seen.stamp)) if seen.stamp is not None else "",
            fingerprint=f"imap:{print_}",
        )

    def _item(self, entry: RemoteEntry) -> Item:
        """The uri names the mail and not where it lies: a moved mail is the same document."""
        item = entry.item()
        uri = f"{item.uri}/{quote(item.key, safe='<>@:~')}"
        return Item(key=item.key, fingerprint=item.fingerprint, uri=uri, size=item.size)

    def _remember(self, entries: Iterable[RemoteEntry]) -> None:
        self._order = sorted(entries, key=lambda entry: (entry.place.mailbox.name, entry.place.uid))
        self._positions = {entry.key: position for position, entry in enumerate(self._order)}
        self._ahead.clear()

    def parse(self, item: Item) -> list[Parsed]:
        """Fetch and read one mail: its attachments' documents, then its own. Raises ItemError, SourceError."""
        limit = self._context.limits.item_bytes
        if item.size > limit:
            raise RefusedError("too-large", f"{item.size} bytes, {limit} allowed")
        position = self._positions[item.key]
        entry = self._order[position]
        data = self._take(position)
        if len(data) > limit:
            raise RefusedError("too-large", f"{len(data)} bytes, {limit} allowed")
        return build_entry(entry, data, item=item, context=self._context)

    def _take(self, position: int) -> bytes:
        """Return a mail's bytes. Mails that are asked for in order are fetched ahead, more each time."""
        self._burst = min(AHEAD_MAILS, self._burst * 2) if position == self._last + 1 else 1
        self._last = position
        if position not in self._ahead:
            self._ahead.clear()
            try:
                self._fetch_ahead(self._following(position))
            except (RefusedCommandError, LiteralTooLargeError, LostError):
                self._fetch_alone(position)
        if position not in self._ahead:
            raise ItemError("mail-gone", "moved or deleted during the run; the next run sees what became of it")
        return self._ahead.pop(position)

    def _following(self, position: int) -> list[int]:
        first = self._order[position]
        chosen, room = [position], AHEAD_BYTES - first.size
        for other in range(position + 1, min(position + self._burst, len(self._order))):
            entry = self._order[other]
            room -= entry.size
            if entry.place.mailbox.raw != first.place.mailbox.raw or room < 0:
                break
            chosen.append(other)
        return chosen

    def _fetch_ahead(self, positions: list[int]) -> None:
        entries = {self._order[position].place.uid: position for position in positions}
        place = self._order[positions[0]].place
        limit = max(self._order[position].size for position in positions) + _SLACK_BYTES
        found = self._twice(lambda session: self._fetch(session, place, list(entries), b"BODY.PEEK[]", limit))
        for uid, data in found.items():
            if uid in entries:
                self._ahead[entries[uid]] = data

    def _fetch_alone(self, position: int) -> None:
        """Fetch one mail by itself: one that the server cannot give must not keep the others out."""
        try:
            self._fetch_ahead([position])
        except RefusedCommandError as error:
            raise ItemError("mail-unreadable", f"the server says: {error.sentence}") from error
        except LiteralTooLargeError as error:
            size = self._order[position].size
            raise RefusedError("too-large", f"{error.size} bytes, {size} announced") from error
        except LostError as error:
            self._broken += 1
            if self._broken >= _BROKEN_AT_MOST:
                raise self._lost(error) from error
            raise ItemError("mail-unreadable", f"the connection ended twice when it was fetched: {error}") from error

    def _fetch_of(self, place: Remote, uids: list[int], what: bytes, limit: int) -> dict[int, bytes]:
        return self._ask(lambda session: self._fetch(session, place, uids, what, limit))

    def _fetch(self, session: Session, place: Remote, uids: list[int], what: bytes, limit: int) -> dict[int, bytes]:
        wanted = (place.mailbox.raw, place.validity)
        if self._selected != wanted:
            self._selected = None
            opened = examine(session, place.mailbox)
            self._selected = (place.mailbox.raw, opened.validity)
        # Another UIDVALIDITY: the same UIDs may be other mails now.
        return fetch(session, uids, what=what, limit=limit) if self._selected == wanted else {}

    def _ask(self, ask: Callable[[Session], _T]) -> _T:
        """Ask as `_twice` does, and raise SourceError when the connection is lost again."""
        try:
            return self._twice(ask)
        except LostError as error:
            raise self._lost(error) from error

    def _twice(self, ask: Callable[[Session], _T]) -> _T:
        """Ask over the connection; when it is lost, over one new connection."""
        try:
            return ask(self._open())
        except LostError as error:
            _log.info("imap_reconnect", host=self._account.spec.host, reason=str(error))
        except LiteralTooLargeError:
            self._drop()
            raise
        self._drop()
        try:
            return ask(self._open())
        except (LostError, LiteralTooLargeError):
            self._drop()
            raise

    def _open(self) -> Session:
        if self._session is None:
            self._session = self._connect(self._account)
            self._selected = None
        return self._session

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None
        self._selected = None

    def _lost(self, error: LostError) -> SourceError:
        return SourceError(
            f"{self._account.place} lost the connection twice ({error}): is the server well? "
            "What was read stays; the next run goes on from there"
        )

    def use(self, context: ParseContext) -> None:
        """Take another context for what is parsed from now on."""
        self._context = context

    def owner(self, key: str) -> str:
        """Return the key of the mail that an attachment's key belongs to, or the key itself."""
        return mail_key(key)

    def close(self) -> None:
        """Sign out."""
        if self._session is not None:
            self._session.logout()
        self._session = None


def _is_grown(session: Session, *, mailbox: Mailbox, opened: Opened) -> bool:
    try:
        return grown(session, mailbox, opened)
    except RefusedCommandError:
        return True  # gone since: listing it again says so
