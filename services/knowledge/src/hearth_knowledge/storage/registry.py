"""Knowledge bases: configuration, keys, collections."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hearth_api.wire.knowledge import KbConfig
from hearth_knowledge.crypto import KEY_BYTES, KbKeys, Keyring, RandomBytes
from hearth_knowledge.errors import NotFoundError
from hearth_knowledge.storage import names, schema
from hearth_knowledge.storage.database import Database

INDEX_PIPELINE = "2"
"""Raise this when chunking, context or terms change: every knowledge base is then indexed anew."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One Milvus collection of a knowledge base and the configuration that it was made with."""

    name: str
    config: KbConfig
    active: bool


@dataclass(frozen=True, slots=True)
class OpenKb:
    """A knowledge base as the rest of the service uses it."""

    name: str
    config: KbConfig
    keys: KbKeys
    collections: tuple[Collection, ...]

    @property
    def active(self) -> Collection:
        """The collection that answers searches."""
        return next(item for item in self.collections if item.active)

    @property
    def target(self) -> Collection:
        """The collection that is written: one that is being built, else the active one."""
        return next((item for item in self.collections if not item.active), self.active)


class Registry:
    """Opens, makes, changes and removes knowledge bases. Keys that were opened stay in memory."""

    def __init__(self, database: Database, *, keyring: Keyring, random: RandomBytes, now: Callable[[], int]) -> None:
        self._database = database
        self._keyring = keyring
        self._random = random
        self._now = now
        self._keys: dict[str, KbKeys] = {}
        self._lock = threading.Lock()

    def list_names(self) -> list[str]:
        """Return all names, sorted."""
        with self._database.read() as connection:
            return list(connection.execute(sa.select(schema.kbs.c.name).order_by(schema.kbs.c.name)).scalars())

    def open(self, kb: str, *, connection: Connection | None = None) -> OpenKb:
        """Return a knowledge base, read in the given transaction or an own one. NotFoundError, KeyMissingError."""
        if connection is None:
            with self._database.read() as own:
                return self.open(kb, connection=own)
        row = connection.execute(sa.select(schema.kbs).where(schema.kbs.c.name == kb)).one_or_none()
        if row is None:
            raise NotFoundError("knowledge base", kb)
        found = connection.execute(
            sa.select(schema.collections).where(schema.collections.c.kb == kb).order_by(schema.collections.c.name)
        ).all()
        return OpenKb(
            name=kb,
            config=_read_config(row.config),
            keys=self._open_keys(kb, wrapped=row.wrapped_key, version=row.kek_version),
            collections=tuple(
                Collection(name=item.name, config=_read_config(item.config), active=item.active) for item in found
            ),
        )

    def configure(self, kb: str, config: KbConfig) -> tuple[OpenKb, bool]:
        """Make a knowledge base or change it. Returns it and whether all documents must be indexed anew."""
        version = self._keyring.current()
        body = config.to_json_object()  # without what is not set: a release before a field was added refuses its name
        with self._database.write() as connection:
            row = connection.execute(sa.select(schema.kbs).where(schema.kbs.c.name == kb)).one_or_none()
            if row is None:
                wrapped = self._keyring.wrap(
                    self._random(KEY_BYTES), place=names.kb_key(kb), version=version, random=self._random
                )
                connection.execute(
                    schema.kbs.insert().values(
                        name=kb, config=body, wrapped_key=wrapped, kek_version=version, created=self._now()
                    )
                )
            else:
                connection.execute(schema.kbs.update().where(schema.kbs.c.name == kb).values(config=body))
                self._rewrap(connection, kb, wrapped=row.wrapped_key, old=row.kek_version, new=version)
            changed = _plan_collections(connection, kb, config=config, now=self._now())
            return self.open(kb, connection=connection), changed

    def activate_target(self, kb: str) -> tuple[OpenKb, list[str]]:
        """Let the target answer searches. Returns the knowledge base and which collections nobody needs now."""
        table = schema.collections
        with self._database.write() as connection:
            opened = self.open(kb, connection=connection)
            target = opened.target.name
            stale = [item.name for item in opened.collections if item.name != target]
            connection.execute(table.update().where(table.c.kb == kb, table.c.name == target).values(active=True))
            line = schema.lineage
            connection.execute(line.update().where(line.c.kb == kb, line.c.name == target).values(built=self._now()))
            for other in (table, line, schema.indexed, schema.terms):
                column = other.c.name if other in (table, line) else other.c.collection
                connection.execute(other.delete().where(other.c.kb == kb, column != target))
            return self.open(kb, connection=connection), stale

    def rewrap_all(self) -> int:
        """Wrap every key that an older key-encryption key holds with the newest one. Returns how many were."""
        newest = self._keyring.current()
        done = 0
        for kb in self.list_names():
            with self._database.write() as connection:
                row = connection.execute(sa.select(schema.kbs).where(schema.kbs.c.name == kb)).one()
                done += self._rewrap(connection, kb, wrapped=row.wrapped_key, old=row.kek_version, new=newest)
        return done

    def remove(self, kb: str) -> None:
        """Remove every row of a knowledge base, its key first of all."""
        with self._database.write() as connection:
            for table in (
                schema.kbs.delete().where(schema.kbs.c.name == kb),
                schema.versions.delete().where(schema.versions.c.kb == kb),
                schema.documents.delete().where(schema.documents.c.kb == kb),
                schema.indexed.delete().where(schema.indexed.c.kb == kb),
                schema.terms.delete().where(schema.terms.c.kb == kb),
                schema.jobs.delete().where(schema.jobs.c.kb == kb),
                schema.cursors.delete().where(schema.cursors.c.kb == kb),
                schema.collections.delete().where(schema.collections.c.kb == kb),
                schema.lineage.delete().where(schema.lineage.c.kb == kb),
                schema.people.delete().where(schema.people.c.kb == kb),
                schema.quarantined.delete().where(schema.quarantined.c.kb == kb),
                schema.releases.delete().where(schema.releases.c.kb == kb),
                schema.stale.delete().where(schema.stale.c.kb == kb),
                schema.marks.delete().where(schema.marks.c.kb == kb),
                schema.moments.delete().where(schema.moments.c.kb == kb),
                schema.audit.delete().where(schema.audit.c.kb == kb),
            ):
                connection.execute(table)
        with self._lock:
            self._keys.pop(kb, None)
        self._database.truncate_log()

    def _rewrap(self, connection: Connection, kb: str, *, wrapped: bytes, old: int, new: int) -> bool:
        if new <= old:
            return False
        place = names.kb_key(kb)
        master = self._keyring.unwrap(wrapped, place=place, version=old)
        again = self._keyring.wrap(master, place=place, version=new, random=self._random)
        connection.execute(
            schema.kbs.update().where(schema.kbs.c.name == kb).values(wrapped_key=again, kek_version=new)
        )
        return True

    def _open_keys(self, kb: str, *, wrapped: bytes, version: int) -> KbKeys:
        with self._lock:
            keys = self._keys.get(kb)
        if keys is None:
            master = self._keyring.unwrap(wrapped, place=names.kb_key(kb), version=version)
            keys = KbKeys.from_master(master)
            with self._lock:
                self._keys[kb] = keys
        return keys


def _read_config(stored: object) -> KbConfig:
    """Read a stored configuration. A newer release may have written fields that this one does not know."""
    return KbConfig.model_validate(stored, extra="ignore")


def alias_name(kb: str) -> str:
    """Return the Milvus alias of a knowledge base. Their names have no underscore, so none are mixed up."""
    return "kb_" + kb.replace("-", "_")


def is_collection_of(collection: str, *, kb: str) -> bool:
    """Tell whether a name in Milvus is one of `collection_name`'s for this knowledge base."""
    return re.fullmatch(re.escape(alias_name(kb)) + "_[0-9a-f]{8}", collection) is not None


def collection_name(kb: str, config: KbConfig) -> str:
    """Return `kb_<name>_<hash8>`: the hash covers what forces a new index, and nothing else."""
    facts = {
        "digest": config.embedding.digest,
        "dimensions": config.embedding.dimensions,
        "chunking": config.chunking.model_dump(mode="json"),
        "store": config.store.model_dump(mode="json", exclude={"credentials"}),
        "privacy": {**config.privacy.model_dump(mode="json"), "keep": sorted(config.privacy.keep)},
        "pipeline": INDEX_PIPELINE,
    }
    return f"{alias_name(kb)}_{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]}"


def read_lineage(connection: Connection, kb: str, collection: str) -> tuple[int | None, int | None]:
    """Return when a collection was begun and since when it answers, in milliseconds; None where that is not known."""
    table = schema.lineage
    found = connection.execute(
        sa.select(table.c.started, table.c.built).where(table.c.kb == kb, table.c.name == collection)
    ).one_or_none()
    return (found.started, found.built) if found is not None else (None, None)


def _plan_collections(connection: Connection, kb: str, *, config: KbConfig, now: int) -> bool:
    """Write which collections there are to be. True when documents must be indexed into another than before."""
    table, line = schema.collections, schema.lineage
    wanted = collection_name(kb, config)
    rows: Sequence[sa.Row[tuple[object, ...]]] = connection.execute(sa.select(table).where(table.c.kb == kb)).all()
    body = config.to_json_object()
    before = next((row.name for row in rows if not row.active), None) or next((row.name for row in rows), None)
    for row in rows:
        if row.name != wanted and not row.active:
            # A build that was overtaken: the worker drops the collection that no row names any more.
            connection.execute(table.delete().where(table.c.kb == kb, table.c.name == row.name))
            connection.execute(line.delete().where(line.c.kb == kb, line.c.name == row.name))
            for other in (schema.indexed, schema.terms):
                connection.execute(other.delete().where(other.c.kb == kb, other.c.collection == row.name))
    if wanted in {row.name for row in rows}:
        connection.execute(table.update().where(table.c.kb == kb, table.c.name == wanted).values(config=body))
    else:
        connection.execute(table.insert().values(kb=kb, name=wanted, config=body, active=not rows))
        connection.execute(line.insert().values(kb=kb, name=wanted, started=now, built=None if rows else now))
    return wanted != before
