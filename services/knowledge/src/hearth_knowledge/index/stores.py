"""Which vector store a knowledge base uses: the one beside us, or one it names."""

from collections.abc import Callable

from hearth_api.wire.knowledge import StoreConfig
from hearth_knowledge.errors import InvalidRequestError
from hearth_knowledge.ports import VectorStore


class Stores:
    """One connection per address."""

    def __init__(self, connect: Callable[[str], VectorStore], *, embedded_uri: str) -> None:
        self._connect = connect
        self._embedded_uri = embedded_uri
        self._stores: dict[str, VectorStore] = {}

    @property
    def embedded(self) -> VectorStore:
        """The store beside us."""
        return self._at(self._embedded_uri)

    def get(self, config: StoreConfig) -> VectorStore:
        """Return the store of a configuration."""
        if config.mode == "Embedded":
            return self.embedded
        if not config.uri:
            raise InvalidRequestError("store.uri", "is required where store.mode is External")
        return self._at(config.uri)

    def _at(self, uri: str) -> VectorStore:
        if uri not in self._stores:
            self._stores[uri] = self._connect(uri)
        return self._stores[uri]
