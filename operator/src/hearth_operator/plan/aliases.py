"""Who owns a model id: the resource's name or an alias; the older resource keeps what two want."""

from collections.abc import Iterable

from hearth_api.kinds import ModelDeployment
from hearth_operator.plan.capacity import seniority


def taken_by(models: Iterable[ModelDeployment]) -> dict[str, tuple[str, str]]:
    """Return, for every model that may not have one of its ids, that id and the resource that holds it.

    A resource's own name is its own whatever its age: only aliases can be refused.
    """
    ordered = sorted(models, key=seniority)
    owner: dict[str, str] = {m.metadata.name: m.metadata.name for m in ordered}
    refused: dict[str, tuple[str, str]] = {}
    for model in ordered:
        name = model.metadata.name
        for alias in model.spec.aliases:
            holder = owner.setdefault(alias, name)
            if holder != name and name not in refused:
                refused[name] = (alias, holder)
    return refused
