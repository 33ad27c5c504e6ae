"""The gateway's parts, put together once."""

from dataclasses import dataclass

from hearth_gateway.admission import Admission
from hearth_gateway.auth import Authenticator, Caller, RateLimiter
from hearth_gateway.catalog.model import Catalog, Model
from hearth_gateway.catalog.source import CatalogSource
from hearth_gateway.dispatch import Dispatcher
from hearth_gateway.errors import KnowledgeBaseNotFoundError, ModelNotFoundError, UnavailableError, WrongTaskError
from hearth_gateway.knowledge import KnowledgeClient
from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class State:
    """Everything that routes use."""

    settings: Settings
    source: CatalogSource
    authenticator: Authenticator
    limiter: RateLimiter
    admission: Admission
    dispatcher: Dispatcher
    knowledge: KnowledgeClient
    metrics: Metrics

    @property
    def catalog(self) -> Catalog:
        """The catalog as it is known now."""
        return self.source.catalog

    async def admit(self, authorization: bytes | None) -> Caller:
        """Authenticate and count against the key's limit."""
        if not self.source.synced:
            raise UnavailableError("The gateway has not read its catalog and keys yet.", retry_after=2)
        caller = await self.authenticator.authenticate(authorization)
        self.limiter.take(caller)
        return caller

    def model(self, name: str, *, task: str) -> Model:
        """Return a model by name or alias; ModelNotFoundError, WrongTaskError."""
        model = self.catalog.find(name)
        if model is None:
            raise ModelNotFoundError(name, known=tuple(self.catalog.models))
        if model.task != task:
            raise WrongTaskError(f"The model '{name}' is for {model.task}, not for {task}.", param="model")
        return model

    def require_knowledge_base(self, name: str, *, caller: Caller) -> None:
        """ForbiddenError where the caller may not read it, KnowledgeBaseNotFoundError where it does not exist."""
        caller.require_knowledge_base(name)
        if name not in self.catalog.knowledge_bases:
            raise KnowledgeBaseNotFoundError(name, known=self.readable(caller))

    def readable(self, caller: Caller) -> tuple[str, ...]:
        """Return the knowledge bases that the caller may read."""
        return tuple(name for name in self.catalog.knowledge_bases if caller.may_read(name))
