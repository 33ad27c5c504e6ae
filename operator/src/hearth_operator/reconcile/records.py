"""What outlives the operator of its writing to Ray: its mark, and per ModelDeployment the revisions that served."""

import asyncio
from collections.abc import Iterable

import structlog

from hearth_api.kinds import ModelDeployment
from hearth_operator import names
from hearth_operator.errors import InvalidSpecError, OperatorError
from hearth_operator.manifests.base import metadata, owner_reference
from hearth_operator.plan.revisions import Record
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.world import EndpointState

log = structlog.get_logger(__name__)
_AT_ONCE = 8
_MARK_BYTES = 8
_LABELS = {
    "app.kubernetes.io/name": "hearth",
    "app.kubernetes.io/component": "operator",
    "app.kubernetes.io/managed-by": "hearth-operator",
}


async def load_owner(ctx: Context) -> str:
    """Return the mark of this release, made once. It does not go with a restart, nor with the operator's pod."""
    if ctx.world.owner:
        return ctx.world.owner
    found = await ctx.kube.get("ConfigMap", names.STATE_CONFIG_MAP)
    owner = str(((found or {}).get("data") or {}).get(names.OWNER_ENTRY) or "")
    if not owner:
        owner = ctx.random_bytes(_MARK_BYTES).hex()
        entries = {names.OWNER_ENTRY: owner}
        if found is not None:
            await ctx.kube.patch_entries("ConfigMap", names.STATE_CONFIG_MAP, entries)
        elif not await ctx.kube.create(_config_map(ctx, names.STATE_CONFIG_MAP, _LABELS, entries)):
            return await load_owner(ctx)  # somebody made it in between
        log.info("made_owner_mark", owner=owner)
    ctx.world.owner = owner
    return owner


def _config_map(ctx: Context, name: str, labels: dict[str, str], data: dict[str, str]) -> dict[str, object]:
    meta = metadata(name, namespace=ctx.settings.namespace, labels=labels)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


async def load_records(ctx: Context, state: EndpointState, models: Iterable[ModelDeployment]) -> None:
    """Read what is not known yet of these models' variants. A model without any status cannot have served."""
    unknown: list[ModelDeployment] = []
    for model in models:
        apps = [names.app_name(model.metadata.name, v.name) for v in model.spec.variants]
        if not model.status.conditions:
            for app in apps:
                state.records.setdefault(app, Record())
        elif any(app not in state.records for app in apps):
            unknown.append(model)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def read(model: ModelDeployment) -> None:
        name = model.metadata.name
        async with gate:
            found = await ctx.kube.get("ConfigMap", names.rollout_name(name))
        owners = ((found or {}).get("metadata") or {}).get("ownerReferences") or ()
        same = any(o.get("uid") == model.metadata.uid for o in owners)  # not of a former one with this name
        data = ((found or {}).get("data") or {}) if same else {}
        for variant in model.spec.variants:
            record = Record.from_text(str(data.get(variant.name, "")))
            state.records.setdefault(names.app_name(name, variant.name), record)

    await asyncio.gather(*(read(model) for model in unknown))


async def save_record(ctx: Context, state: EndpointState, model: ModelDeployment, variant: str, record: Record) -> None:
    """Keep a record. The ConfigMap goes with the ModelDeployment."""
    name = model.metadata.name
    entries = {variant: record.to_text()}
    config_map = names.rollout_name(name)
    labels = names.labels(names.MODEL, name, component="serve")
    made = _config_map(ctx, config_map, labels, entries)
    reference = owner_reference(names.MODEL, name, uid=model.metadata.uid or "")
    made["metadata"] = metadata(config_map, namespace=ctx.settings.namespace, labels=labels, owner=reference)
    app = names.app_name(name, variant)
    state.records[app] = record
    try:
        if not await ctx.kube.create(made):
            await ctx.kube.patch_entries("ConfigMap", config_map, entries)
    except InvalidSpecError as error:  # a quota, a namespace that ends: serving goes on, only a restart forgets
        log.warning("revision_not_kept", app=app, error=error.message[:300])
        return
    except OperatorError:
        del state.records[app]
        raise
    log.info("revision_noted", app=app, bad=bool(record.bad), reason=record.reason)
