"""Milvus behind the VectorStore protocol: milvus-lite's server, standalone and cluster speak the same gRPC."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pymilvus import DataType, MilvusClient, MilvusException

from hearth_knowledge.errors import StoreUnavailableError
from hearth_knowledge.index.stores import Credentials
from hearth_knowledge.ports import RowFilter, VectorRow

T = TypeVar("T")

NOT_LOADED = 101
QUERY_WINDOW = 16384 // 2
UPSERT_ROWS = 256
MAX_PEOPLE = 1024
PEOPLE_FIELD_CHARS = 32
EMPTY_SPARSE = {2**32 - 2: 1e-6}
"""Milvus refuses an empty sparse vector. No term hashes to this dimension."""

FIELDS = ("id", "document", "version", "source", "kind", "trust", "time", "valid_from", "valid_to", "thread", "people")

# pymilvus logs every failed call with its traceback; we report each failure once ourselves.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class MilvusStore:
    """One Milvus. Connects at the first call and after it went away; loads collections that a restart unloaded."""

    def __init__(
        self, uri: str, *, timeout: float = 10.0, credentials: Callable[[], Credentials] | None = None
    ) -> None:
        self._uri = uri
        self._credentials = credentials
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: MilvusClient | None = None

    def ping(self) -> None:
        """Return when the store answers."""
        self._call(lambda client: client.get_server_version(timeout=self._timeout))

    def ensure_collection(self, collection: str, *, dimensions: int) -> None:
        """Make the collection with its indexes if it is not there, and load it."""

        def ensure(client: Any) -> None:
            if not client.has_collection(collection, timeout=self._timeout):
                client.create_collection(
                    collection,
                    schema=_build_schema(dimensions),
                    index_params=_build_indexes(client),
                    consistency_level="Strong",
                    timeout=self._timeout,
                )
            client.load_collection(collection, timeout=120)

        self._call(ensure)

    def point_alias(self, alias: str, *, collection: str) -> None:
        """Let the alias mean this collection from now on."""

        def point(client: Any) -> None:
            try:
                current = client.describe_alias(alias, timeout=self._timeout).get("collection_name")
            except MilvusException as error:
                if _is_down(error):
                    raise
                client.create_alias(collection, alias, timeout=self._timeout)
                return
            if current != collection:
                client.alter_alias(collection, alias, timeout=self._timeout)

        self._call(point)

    def drop(self, collections: Collection[str], *, alias: str | None = None) -> None:
        """Remove collections (and an alias first). Missing ones are no error."""

        def remove(client: Any) -> None:
            if alias is not None:
                try:
                    client.drop_alias(alias, timeout=self._timeout)
                except MilvusException as error:
                    if _is_down(error):
                        raise
            for name in collections:
                if client.has_collection(name, timeout=self._timeout):
                    client.drop_collection(name, timeout=60)

        self._call(remove)

    def list_collections(self, prefix: str) -> list[str]:
        """Return the names of collections that begin with `prefix`."""
        names = self._call(lambda client: client.list_collections(timeout=self._timeout))
        return [name for name in names if name.startswith(prefix)]

    def upsert(self, collection: str, rows: Sequence[VectorRow]) -> None:
        """Write rows; equal ids are replaced."""
        for start in range(0, len(rows), UPSERT_ROWS):
            data = [_to_entity(row) for row in rows[start : start + UPSERT_ROWS]]
            self._on(collection, partial(_upsert, collection=collection, data=data))

    def close_rows(self, collection: str, document: str, version: int, *, valid_to: int) -> int:
        """Set `valid_to` on all rows of a version and return how many there were."""

        def close(client: Any) -> int:
            rows = client.query(
                collection,
                filter=_of_version(document, version),
                output_fields=[*FIELDS, "dense", "sparse"],
                limit=QUERY_WINDOW,
                timeout=self._timeout,
            )
            entities = [{**dict(row), "people": list(row["people"]), "valid_to": valid_to} for row in rows]
            if entities:
                client.upsert(collection, entities, timeout=60)
            return len(entities)

        return self._on(collection, close)

    def delete_rows(self, collection: str, document: str, version: int) -> None:
        """Remove all rows of a version."""
        where = _of_version(document, version)
        self._on(collection, lambda client: client.delete(collection, filter=where, timeout=self._timeout))

    def delete_source(self, collection: str, source: str) -> None:
        """Remove all rows of a source."""
        where = f"source == {_quote(source)}"
        self._on(collection, lambda client: client.delete(collection, filter=where, timeout=60))

    def delete_ids(self, collection: str, ids: Sequence[str]) -> None:
        """Remove rows by id."""
        for start in range(0, len(ids), UPSERT_ROWS):
            part = list(ids[start : start + UPSERT_ROWS])
            self._on(collection, partial(_delete, collection=collection, ids=part))

    def flush(self, collection: str) -> None:
        """Bring everything written to disk."""
        self._on(collection, lambda client: client.flush(collection, timeout=120))

    def count(self, collection: str) -> int:
        """Count rows."""

        def count(client: Any) -> int:
            rows = client.query(collection, filter="", output_fields=["count(*)"], timeout=self._timeout)
            return int(rows[0]["count(*)"])

        return self._on(collection, count)

    def row_ids(self, collection: str) -> set[str]:
        """Return the ids of all rows."""

        def read(client: Any) -> set[str]:
            iterator = client.query_iterator(collection, filter="", output_fields=["id"], batch_size=1000, timeout=60)
            ids: set[str] = set()
            while rows := iterator.next():
                ids.update(str(row["id"]) for row in rows)
            iterator.close()
            return ids

        return self._on(collection, read)

    def search_dense(
        self, collection: str, vector: Sequence[float], *, where: RowFilter, limit: int
    ) -> list[tuple[str, float]]:
        """Return (row id, cosine similarity), best first."""
        params = {"metric_type": "COSINE", "params": {"ef": max(64, limit)}}
        return self._search(collection, list(vector), field="dense", params=params, where=where, limit=limit)

    def search_sparse(
        self, collection: str, vector: Mapping[int, float], *, where: RowFilter, limit: int
    ) -> list[tuple[str, float]]:
        """Return (row id, inner product above 0), best first."""
        if not vector:
            return []
        params: dict[str, Any] = {"metric_type": "IP", "params": {}}
        found = self._search(collection, dict(vector), field="sparse", params=params, where=where, limit=limit)
        return [(row, score) for row, score in found if score > 0]

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _search(
        self, collection: str, vector: Any, *, field: str, params: dict[str, Any], where: RowFilter, limit: int
    ) -> list[tuple[str, float]]:
        def search(client: Any) -> list[tuple[str, float]]:
            (hits,) = client.search(
                collection,
                data=[vector],
                anns_field=field,
                filter=build_filter(where),
                limit=limit,
                output_fields=["id"],
                search_params=params,
                timeout=self._timeout,
            )
            return [(str(hit["id"]), float(hit["distance"])) for hit in hits]

        return self._on(collection, search)

    def _on(self, collection: str, call: Callable[[Any], T]) -> T:
        """Call; where Milvus says that the collection is not loaded (it was restarted), load it and call again."""

        def loaded(client: Any) -> T:
            try:
                return call(client)
            except MilvusException as error:
                if error.code != NOT_LOADED:
                    raise
                client.load_collection(collection, timeout=120)
                return call(client)

        return self._call(loaded)

    def _call(self, call: Callable[[Any], T]) -> T:
        try:
            return call(self._connected())
        except MilvusException as error:
            # With credentials any refusal may mean that they were renewed: they are read again at the next call.
            if _is_down(error) or (self._credentials is not None and error.code != NOT_LOADED):
                self.close()
            # The message of Milvus may quote a filter; its code says enough.
            raise StoreUnavailableError(f"Milvus answered code {error.code}") from error
        except (OSError, ValueError) as error:
            self.close()
            raise StoreUnavailableError(type(error).__name__) from error

    def _connected(self) -> MilvusClient:
        with self._lock:
            if self._client is None:
                found = self._credentials() if self._credentials is not None else None
                who = {"user": found.username, "password": found.password} if found is not None else {}
                self._client = MilvusClient(uri=self._uri, timeout=self._timeout, dedicated=True, **who)
            return self._client


def _upsert(client: Any, *, collection: str, data: list[dict[str, Any]]) -> None:
    client.upsert(collection, data, timeout=60)


def _delete(client: Any, *, collection: str, ids: list[str]) -> None:
    client.delete(collection, ids=ids, timeout=60)


def build_filter(where: RowFilter) -> str:
    """Return the filter expression. Values are our own ids, hashes and checked names, quoted all the same."""
    parts = [f"valid_from <= {where.valid_at}", f"valid_to > {where.valid_at}"]
    parts += [
        f"{field} in [{', '.join(_quote(value) for value in sorted(values))}]"
        for field, values in (("source", where.source), ("kind", where.kind), ("trust", where.trust))
        if values
    ]
    if where.people:
        parts.append(f"ARRAY_CONTAINS_ANY(people, [{', '.join(_quote(value) for value in sorted(where.people))}])")
    if where.thread is not None:
        parts.append(f"thread == {_quote(where.thread)}")
    if where.after is not None:
        parts.append(f"time >= {where.after}")
    if where.before is not None:
        parts.append(f"time < {where.before}")
    return " and ".join(parts)


def _quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _of_version(document: str, version: int) -> str:
    return f"document == {_quote(document)} and version == {version}"


def _is_down(error: MilvusException) -> bool:
    return error.code in {1, 2}


def _to_entity(row: VectorRow) -> dict[str, Any]:
    entity: dict[str, Any] = {name: getattr(row, name) for name in FIELDS}
    entity["people"] = list(row.people[:MAX_PEOPLE])
    entity["dense"] = list(row.dense)
    entity["sparse"] = dict(row.sparse) or EMPTY_SPARSE
    return entity


def _build_schema(dimensions: int) -> Any:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=128)
    for name, length in (("document", 96), ("source", 63), ("kind", 16), ("trust", 16), ("thread", 64)):
        schema.add_field(name, DataType.VARCHAR, max_length=length)
    for name in ("version", "time", "valid_from", "valid_to"):
        schema.add_field(name, DataType.INT64)
    schema.add_field(
        "people", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=MAX_PEOPLE, max_length=PEOPLE_FIELD_CHARS
    )
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimensions)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    return schema


def _build_indexes(client: Any) -> Any:
    indexes = client.prepare_index_params()
    indexes.add_index("dense", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200})
    indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    return indexes
