"""Mailbox files, maildirs and folders of single messages as a source."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from hearth_ingest.context import ParseContext
from hearth_ingest.documents.parsers import time_limit
from hearth_ingest.errors import ItemError, RefusedError, SourceError
from hearth_ingest.files import Found, check_root, printable, walk
from hearth_ingest.item import Item, Listing, Parsed, Refusal
from hearth_ingest.mail.build import Frame, build_mail, thread_ref
from hearth_ingest.mail.index import (
    Entry,
    FilePlace,
    PlaceT,
    arrange,
    file_digest,
    index_file,
    index_mbox,
    read_message,
)
from hearth_ingest.mail.mbox import is_mbox
from hearth_ingest.mail.structure import parse_message

Format = Literal["auto", "mbox", "maildir", "eml"]

_PART = re.compile(r"(.*?)#\d+(?:\.\d+)*(?:!.*)?$", re.DOTALL)
_MAILDIR = re.compile(
    r"(?:(?P<folder>.*)/)?(?P<state>cur|new|tmp)/(?P<unique>[^/:;!]+)(?:[:;!]2,(?P<flags>[A-Za-z]*))?$"
)
_HEAD_BYTES = 4096
_HEADER = re.compile(rb"\s*[!-9;-~]+[ \t]*:")
_MAILBOX_ENDINGS = (".mbox", ".mbx")


def _refuse(found: Found, error: OSError | ItemError) -> Refusal:
    """Return the refusal of a file whose mails cannot be listed; the listing is incomplete, so nothing is deleted."""
    uri = f"file:{printable(found.name)}"
    if isinstance(error, ItemError):
        return Refusal(uri=uri, code=error.code, detail=error.detail, quarantined=False)
    return Refusal(uri=uri, code="file-unreadable", detail=error.strerror or "cannot be read", quarantined=False)


class MailSource:
    """Mails below the given roots, or in the given files."""

    def __init__(
        self,
        roots: tuple[Path, ...],
        *,
        context: ParseContext,
        form: Format = "auto",
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
    ) -> None:
        self._roots = roots
        self._context = context
        self._form = form
        self._include = include
        self._exclude = exclude
        self._entries: dict[str, Entry[FilePlace]] = {}

    def observe(self) -> Listing:
        """Index all mails and put them into conversations. Raises SourceError."""
        entries: list[Entry[FilePlace]] = []
        refusals: list[Refusal] = []
        for root in self._roots:
            check_root(root)
            self._check_form(root)
            for found in walk(root, include=self._include, exclude=self._exclude):
                if isinstance(found, Refusal):
                    refusals.append(found)
                    continue
                try:
                    entries.extend(self._index(found))
                except (OSError, ItemError) as error:
                    refusals.append(_refuse(found, error))
        arranged, copies = arrange(entries, digest_of=file_digest)
        self._entries = {entry.key: entry for entry in arranged}
        complete = all(refusal.quarantined for refusal in refusals)
        return Listing(
            items=tuple(entry.item() for entry in arranged),
            refusals=tuple(refusals),
            copies=len(copies),
            complete=complete,
        )

    def _check_form(self, root: Path) -> None:
        if self._form == "maildir" and not any((root / name).is_dir() for name in ("cur", "new")):
            raise SourceError(f"{root} is not a maildir: it has neither cur nor new")
        if self._form == "mbox" and root.is_file() and root.stat().st_size:
            with root.open("rb") as file:
                if not is_mbox(file.read(_HEAD_BYTES)):
                    raise SourceError(f'{root} is not an mbox file: it does not begin with a "From " line')

    def _index(self, found: Found) -> Iterator[Entry[FilePlace]]:
        """Yield the mails of one file; files that are no mail are passed over. Raises ItemError."""
        name = printable(found.name)
        box = _MAILDIR.match(name)
        if box and self._form in {"auto", "maildir"}:
            if box["state"] != "tmp" and "T" not in (box["flags"] or ""):
                # The name without flags and always under cur: reading a mail must not make it another one.
                folder = f"{box['folder']}/" if box["folder"] else ""
                yield index_file(found.path, uri=f"file:{folder}cur/{box['unique']}")
            return
        if self._form == "maildir":
            return
        with found.path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if is_mbox(head) and self._form in {"auto", "mbox"}:
            yield from index_mbox(found.path, uri=f"file:{name}")
        elif self._form != "mbox" and (name.lower().endswith(".eml") or (found.single and _HEADER.match(head))):
            yield index_file(found.path, uri=f"file:{name}")
        elif head and (found.single or name.lower().endswith(_MAILBOX_ENDINGS)):
            # Overwritten or cut at its beginning: its mails are not gone, they cannot be seen.
            raise ItemError("not-a-mailbox", 'it neither begins with a "From " line nor with a mail\'s headers')

    def parse(self, item: Item) -> list[Parsed]:
        """Read one mail: its attachments' documents, then its own. Raises ItemError."""
        limits = self._context.limits
        if item.size > limits.item_bytes:
            raise RefusedError("too-large", f"{item.size} bytes, {limits.item_bytes} allowed")
        entry = self._entries[item.key]
        try:
            data = read_message(entry)
        except OSError as error:
            raise ItemError("file-unreadable", error.strerror or "cannot be read") from error
        return build_entry(entry, data, item=item, context=self._context)

    def use(self, context: ParseContext) -> None:
        """Take another context for what is parsed from now on."""
        self._context = context

    def owner(self, key: str) -> str:
        """Return the key of the mail that an attachment's key belongs to, or the key itself."""
        return mail_key(key)


def build_entry(entry: Entry[PlaceT], data: bytes, *, item: Item, context: ParseContext) -> list[Parsed]:
    """Return the documents of an arranged message within the limit of time. Raises ItemError."""
    thread = thread_ref(entry.root, position=entry.position, parent=entry.parent, context=context)
    frame = Frame(item=item, thread=thread, envelope=entry.envelope, twin=entry.twin)
    with time_limit(context.limits.seconds_per_item):
        return build_mail(parse_message(data), data, frame=frame, context=context)


def mail_key(key: str) -> str:
    """Return the key of the mail that an attachment's key belongs to, or the key itself."""
    match = _PART.match(key)
    return match[1] if match else key
