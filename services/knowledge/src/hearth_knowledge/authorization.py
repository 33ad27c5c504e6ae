"""Who may do what. Everything that is not in the table is refused."""

from dataclasses import dataclass
from enum import StrEnum

from hearth_common.errors import KubeUnreachableError, TokenRefusedError
from hearth_common.review import Identity
from hearth_knowledge.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from hearth_knowledge.ports import Authenticator

OPERATOR = "hearth-operator"
GATEWAY = "hearth-gateway"
INGEST_PREFIX = "hearth-ingest-"


class Action(StrEnum):
    """What a call does; the words stand in refusals."""

    CONFIGURE = "configure a knowledge base"
    STATUS = "read a knowledge base's status"
    DELETE = "delete a knowledge base"
    ERASE = "erase a source"
    INGEST = "write this source"
    READ = "read documents"
    SEARCH = "search"
    REVEAL = "see and release what is withheld"
    BACKUP = "make and list backups"


ALLOWED: dict[str, frozenset[Action]] = {
    OPERATOR: frozenset({Action.CONFIGURE, Action.STATUS, Action.DELETE, Action.ERASE, Action.BACKUP}),
    GATEWAY: frozenset({Action.STATUS, Action.READ, Action.SEARCH, Action.REVEAL, Action.BACKUP}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated ServiceAccount of our namespace."""

    account: str

    @property
    def source(self) -> str | None:
        """The source that this account writes, None for accounts that write none."""
        return self.account.removeprefix(INGEST_PREFIX) if self.account.startswith(INGEST_PREFIX) else None


def is_allowed(account: str, action: Action, *, source: str | None = None) -> bool:
    """Look into the table. An ingestion account may write exactly the source that its name ends with."""
    if action is Action.INGEST:
        return bool(source) and account == f"{INGEST_PREFIX}{source}"
    return action in ALLOWED.get(account, frozenset())


class Guard:
    """Turns an Authorization header into a caller who may, or an error."""

    def __init__(self, authenticator: Authenticator, *, namespace: str) -> None:
        self._authenticator = authenticator
        self._namespace = namespace

    async def identify(self, authorization: str | None) -> Caller:
        """Return the caller. UnauthenticatedError; UnavailableError when the API server cannot be asked."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthenticatedError("a bearer token is required")
        try:
            identity: Identity = await self._authenticator.review(token.strip())
        except TokenRefusedError as error:
            raise UnauthenticatedError("the token is not valid for this service") from error
        except KubeUnreachableError as error:
            raise UnavailableError("authentication", "the API server does not answer") from error
        if identity.namespace != self._namespace:
            raise ForbiddenError(identity.username, "use this service from another namespace")
        return Caller(account=identity.account)

    async def demand(self, authorization: str | None, action: Action, *, source: str | None = None) -> Caller:
        """Return a caller who may do this. ForbiddenError otherwise."""
        caller = await self.identify(authorization)
        if not is_allowed(caller.account, action, source=source if source is not None else caller.source):
            raise ForbiddenError(caller.account, action.value)
        return caller
