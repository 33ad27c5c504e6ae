"""What every reconciler is given: clients, settings, clocks, memory, and how to wake another key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from hearth_operator import names
from hearth_operator.clients.front import FrontApi
from hearth_operator.clients.knowledge import KnowledgeApi
from hearth_operator.clients.kubernetes import KubernetesApi
from hearth_operator.clients.model import Access, ModelApi
from hearth_operator.clients.ray import RayApi
from hearth_operator.reconcile.glance import Glance
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.world import World
from hearth_operator.settings import Settings

ENDPOINT = "Endpoint"
RELEASE = "Release"
FLEET = "Fleet"
_FLEET_SECONDS = 0.5
"""Between two passes over the fleet: a burst of changes costs as much as one."""
_USERS = {names.MODEL: names.KNOWLEDGE_BASE, names.KNOWLEDGE_BASE: names.SOURCE}


class Wake(Protocol):
    """Asks for a key to be looked at."""

    def __call__(self, key: Key, *, delay: float = 0.0, urgent: bool = False) -> None:
        """Ask."""


def _nobody(_kind: str, _name: str, _obj: Mapping[str, Any]) -> None:
    """Is told and does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything that a pass may use."""

    settings: Settings
    kube: KubernetesApi
    ray: Callable[[str, Access | str | None], RayApi]
    """From dashboard URL and token."""
    model: ModelApi
    knowledge: KnowledgeApi
    now: Callable[[], datetime]
    clock: Callable[[], float]
    """Monotonic seconds."""
    random_bytes: Callable[[int], bytes]
    world: World
    wake: Wake
    instance: str = names.FIELD_MANAGER
    """This process, as Events name it."""
    front: Callable[[str, Access], FrontApi] | None = None
    """From the URL of Ray's port; None: no machine joins."""
    glance: Glance[Any, Any] = field(default_factory=Glance)
    wrote: Callable[[str, str, Mapping[str, Any]], None] = _nobody
    """Is told of every status that was written, with the object as it is now."""

    def wake_fleet(self) -> None:
        """Ask for whoever is concerned by a change of a node, a model or an endpoint."""
        self.wake(Key(FLEET, ""), delay=max(0.0, self.world.fleet_at + _FLEET_SECONDS - self.clock()))

    def wake_users(self, kind: str, name: str) -> None:
        """Ask for the knowledge bases of a model, or the sources of a knowledge base. Nobody names the other kinds."""
        if (user := _USERS.get(kind)) is not None:
            for found in self.world.users(user, of=name):
                self.wake(Key(user, found))
