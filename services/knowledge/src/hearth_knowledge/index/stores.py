"""Which vector store a knowledge base uses: the one beside us, or one it names."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hearth_api.wire.knowledge import StoreConfig
from hearth_knowledge.errors import InvalidRequestError, StoreUnavailableError
from hearth_knowledge.ports import VectorStore
from hearth_knowledge.storage.names import check_name


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens a store."""

    username: str
    password: str = field(repr=False)


class Connect(Protocol):
    """Connects to the store at an address. `credentials` is asked at each connection: they may be renewed."""

    def __call__(self, uri: str, *, credentials: Callable[[], Credentials] | None = None) -> VectorStore:
        """Return the store; nothing is sent yet."""
        ...


class Stores:
    """One connection per address and credentials."""

    def __init__(self, connect: Connect, *, embedded_uri: str, folder: Path) -> None:
        self._connect = connect
        self._embedded_uri = embedded_uri
        self._folder = folder
        self._stores: dict[tuple[str, str | None], VectorStore] = {}

    @property
    def embedded(self) -> VectorStore:
        """The store beside us."""
        return self._at(self._embedded_uri, None)

    def get(self, config: StoreConfig) -> VectorStore:
        """Return the store of a configuration."""
        if config.mode == "Embedded":
            return self.embedded
        if not config.uri:
            raise InvalidRequestError("store.uri", "is required where store.mode is External")
        return self._at(config.uri, config.credentials)

    def _at(self, uri: str, entry: str | None) -> VectorStore:
        if (uri, entry) not in self._stores:
            self._stores[uri, entry] = (
                self._connect(uri)
                if entry is None
                else self._connect(uri, credentials=credentials_in(self._folder, entry))
            )
        return self._stores[uri, entry]


def credentials_in(folder: Path, entry: str) -> Callable[[], Credentials]:
    """Return how to read an entry of the mounted Secret hearth-stores. StoreUnavailableError while it is not there."""
    path = folder / check_name("store.credentials", entry)

    def read() -> Credentials:
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            return Credentials(username=str(body["username"]), password=str(body["password"]))
        except FileNotFoundError as error:
            raise StoreUnavailableError("its credentials are not mounted yet") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreUnavailableError("its credentials cannot be read") from error

    return read
