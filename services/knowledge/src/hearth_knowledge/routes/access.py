"""What every route needs: the service, the caller's right, checked names."""

from fastapi import Request

from hearth_knowledge.authorization import Action, Caller
from hearth_knowledge.errors import ForbiddenError
from hearth_knowledge.service import Service


def service_of(request: Request) -> Service:
    """Return the service that the application was built with."""
    service: Service = request.app.state.service
    return service


async def demand(request: Request, action: Action, *, source: str | None = None) -> Caller:
    """Return a caller who may do this, or raise."""
    return await service_of(request).guard.demand(request.headers.get("authorization"), action, source=source)


async def demand_source(request: Request) -> tuple[Caller, str]:
    """Return an ingestion account and the source it may write."""
    caller = await demand(request, Action.INGEST)
    if caller.source is None:
        raise ForbiddenError(caller.account, Action.INGEST.value)
    return caller, caller.source
