"""When a replica or a pod is replaced because somebody asked: once for every new value of an annotation.

What was asked for last stays part of what is wanted, so nothing has to be remembered between the asking and the doing:
an operator that is killed in between wants the same afterwards, and a machine that was off gets it when it is back.
"""

from collections.abc import Iterable
from typing import Any

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_operator import names
from hearth_operator.facts import RayApp

_MOST = 1024


def asked_restart(resource: ModelDeployment | InferenceNode) -> str | None:
    """Return the value that is wanted now. Taking the annotation away asks for nothing: the last value stays."""
    return resource.metadata.annotations.get(names.ANNOTATION_RESTART, "")[:_MOST] or resource.status.last_restart


def restart_mark(resource: ModelDeployment | InferenceNode) -> str | None:
    """Return what stands for that value in a configuration, or None: nobody ever asked."""
    asked = asked_restart(resource)
    return names.short_hash(asked) if asked is not None else None


def acted_restart(model: ModelDeployment, apps: Iterable[RayApp | None]) -> str | None:
    """Return the value for `status.lastRestart`: a new one as soon as Ray was given it for one variant."""
    mark = restart_mark(model)
    if mark is not None and any(_args(app).get("restart") == mark for app in apps):
        return asked_restart(model)
    return model.status.last_restart


def _args(app: RayApp | None) -> dict[str, Any]:
    return (app.config or {}).get("args") or {} if app is not None else {}
