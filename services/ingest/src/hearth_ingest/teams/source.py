"""Exports of chats as a source: all files together, since the same message stands in several."""

import hashlib
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from hearth_ingest.context import ParseContext
from hearth_ingest.errors import ItemError
from hearth_ingest.files import Found, check_root, printable, walk
from hearth_ingest.item import Item, Listing, Parsed, Refusal
from hearth_ingest.teams.build import Builder, Window
from hearth_ingest.teams.files import is_export, read_file
from hearth_ingest.teams.gather import Gathered, Message
from hearth_ingest.teams.stream import Broken
from hearth_ingest.teams.windows import CHAT, THREAD, cut_windows

_MOST_REFUSALS = 1000
"""Of one file; further ones are counted in the last."""


class TeamsSource:
    """Windows of the conversations in the files below the given roots."""

    def __init__(
        self,
        roots: tuple[Path, ...],
        *,
        context: ParseContext,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
    ) -> None:
        self._roots = roots
        self._context = context
        self._include = include
        self._exclude = exclude
        self._gathered = Gathered()
        self._windows: dict[str, Window] = {}

    def observe(self) -> Listing:
        """Read all exports and cut them into windows. Raises SourceError."""
        self._gathered = Gathered()
        refusals: list[Refusal] = []
        skipped: list[Refusal] = []
        for root in self._roots:
            check_root(root)
            for found in walk(root, include=self._include, exclude=self._exclude):
                if isinstance(found, Refusal):
                    refusals.append(found)
                elif is_export(found.name) or found.single:
                    refusals.extend(self._read(found))
                else:
                    uri = f"file:{printable(found.name)}"
                    skipped.append(Refusal(uri=uri, code="no-export", detail="neither JSON nor an archive of it"))
        windows = make_windows(self._gathered)
        self._windows = {window.key: window for window in windows}
        builder = Builder(self._gathered, context=self._context)
        return Listing(
            items=tuple(_item(window, builder, self._gathered) for window in windows),
            refusals=tuple(refusals),
            skipped=tuple(skipped),
            copies=self._gathered.copies,
            complete=all(refusal.quarantined for refusal in refusals),
        )

    def _read(self, found: Found) -> list[Refusal]:
        """Take one file; return what of it could not be read."""
        uri = f"file:{printable(found.name)}"
        refusals: list[Refusal] = []

        def refuse(where: str, code: str, detail: str) -> None:
            if len(refusals) < _MOST_REFUSALS:
                refusals.append(Refusal(uri=where, code=code, detail=detail, quarantined=False))
            else:
                last = refusals[-1]
                refusals[-1] = replace(last, detail="and more: the file is not an export of chats")

        try:
            number = 0
            for member, record in read_file(found.path, name=found.name, limits=self._context.limits):
                number += 1
                where = f"{uri}!{printable(member)}" if member else uri
                if isinstance(record, Broken):
                    refuse(f"{where}#{number}", record.code, record.detail)
                    continue
                for code in self._gathered.add(record, place=f"{found.name}!{member}" if member else found.name):
                    refuse(f"{where}#{number}", code, "no message, and nothing else that is known")
            if not number:
                refuse(uri, "no-records", "there is no JSON object in it")
        except ItemError as error:
            refuse(uri, error.code, error.detail)
        except OSError as error:
            refuse(uri, "file-unreadable", error.strerror or "cannot be read")
        return refusals

    def parse(self, item: Item) -> list[Parsed]:
        """Build one window's document."""
        window = self._windows[item.key]
        return [Builder(self._gathered, context=self._context).build(item, window)]

    def use(self, context: ParseContext) -> None:
        """Take another context for what is parsed from now on."""
        self._context = context

    def owner(self, key: str) -> str:
        """Return the key itself: chats carry nothing else, their files are elsewhere."""
        return key


def make_windows(gathered: Gathered) -> list[Window]:
    """Cut everything that was gathered: a channel by its threads, a chat by its silences."""
    threads: dict[tuple[str, str], list[Message]] = defaultdict(list)
    for message in gathered.messages.values():
        root = (message.root or message.id) if message.conversation in gathered.teams else ""
        threads[message.conversation, root].append(message)
    out: list[Window] = []
    for (conversation, root), messages in sorted(threads.items()):
        team = min(gathered.teams.get(conversation, set()) - {"-"}, default="-")
        base = f"teams:{team}/{conversation}/{root}" if root else f"chat:{conversation}"
        for position, window in enumerate(cut_windows(messages, cut=THREAD if root else CHAT), start=1):
            first = window[0].id
            key = base if root and position == 1 else f"{base}/{first}"
            out.append(
                Window(
                    key=key,
                    conversation=conversation,
                    root=root,
                    team=team,
                    position=position,
                    messages=tuple(window),
                )
            )
    return out


def _item(window: Window, builder: Builder, gathered: Gathered) -> Item:
    """Return the listed item. Its fingerprint covers all that the document says, and nothing of other windows."""
    people = sorted({person for message in window.messages for person in message.people})
    members = sorted(gathered.members.get(window.conversation, ()))
    seen = [
        window.position,
        sorted(gathered.topics.get(window.conversation, ())),
        [(key, builder.name(key), builder.address(key)) for key in (*people, *members)],
        [(message.id, message.digest) for message in window.messages],
    ]
    digest = hashlib.sha256(json.dumps(seen, ensure_ascii=True).encode()).hexdigest()
    size = sum(len(message.blob) for message in window.messages)
    return Item(key=window.key, fingerprint=f"sha256:{digest}", uri=window.key, size=size)
