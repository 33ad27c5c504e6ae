"""What the release as a whole needs: keys made once, the gateway's right to Serve Secrets, the mirror's orders."""

import base64
from typing import Any

import structlog

from hearth_api.wire.keys import ApiKeyRecord, Scope, hash_key, make_key, public_id
from hearth_operator import names
from hearth_operator.errors import OperatorError
from hearth_operator.manifests.base import metadata
from hearth_operator.manifests.gateway_access import build_gateway_access
from hearth_operator.manifests.secrets import build_secret, has_admin, key_entry, secret_text
from hearth_operator.plan.keys import may_make_kek
from hearth_operator.reconcile.authority import ensure_authority
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.mirror import keep_mirror
from hearth_operator.reconcile.objects import apply_objects
from hearth_operator.reconcile.store import prune_entries

log = structlog.get_logger(__name__)
_KEK_BYTES = 32


async def reconcile_release(ctx: Context) -> float | None:
    """One pass; returns the seconds until the next."""
    await ensure_admin_key(ctx)
    await ensure_kek(ctx)
    await ensure_authority(ctx)
    await prune_entries(ctx)
    nodes = await ctx.kube.list_all(names.NODE)
    secrets = [_serve_secret_of(node) for node in nodes if not node["metadata"].get("deletionTimestamp")]
    access = build_gateway_access(secrets, namespace=ctx.settings.namespace)
    await apply_objects(ctx, access, of="gateway")
    await keep_mirror(ctx)
    return ctx.settings.intervals.resync


def _serve_secret_of(node: dict[str, Any]) -> str:
    external = (node.get("spec") or {}).get("external") or {}
    named = (external.get("serveSecretRef") or {}).get("name")
    return str(named or names.serve_secret_name(node["metadata"]["name"]))


async def ensure_admin_key(ctx: Context) -> None:
    """Make the first API key while no key may administer. A crash in between is healed by the next pass."""
    keys = await ctx.kube.get("Secret", names.SECRET_API_KEYS)
    if has_admin(keys):
        return
    whole = secret_text(await ctx.kube.get("Secret", names.SECRET_ADMIN_KEY), "key")
    if whole is None:
        _, whole = make_key(ctx.random_bytes)
        made = build_secret(
            names.SECRET_ADMIN_KEY, {"key": whole}, namespace=ctx.settings.namespace, component="gateway"
        )
        if not await ctx.kube.create(made):
            return
    public = public_id(whole)
    if public is None:
        raise OperatorError("InternalError", f"Secret {names.SECRET_ADMIN_KEY} holds no key: delete it")
    record = ApiKeyRecord(id=public, sha256=hash_key(whole), name="admin", scopes=tuple(Scope))
    entry = key_entry(record)
    if keys is None:
        secret = build_secret(
            names.SECRET_API_KEYS, {public: entry}, namespace=ctx.settings.namespace, component="gateway"
        )
        await ctx.kube.create(secret)
    else:
        encoded = base64.b64encode(entry.encode()).decode()
        await ctx.kube.patch_entries("Secret", names.SECRET_API_KEYS, {public: encoded})
    log.info("made_admin_key", secret=names.SECRET_ADMIN_KEY)


async def ensure_kek(ctx: Context) -> None:
    """Make the key-encryption key, unless data may exist that an earlier one encrypted."""
    if await ctx.kube.get("Secret", names.SECRET_KEK) is not None:
        return
    bases = await ctx.kube.list_all(names.KNOWLEDGE_BASE)
    state = await ctx.kube.get("ConfigMap", names.STATE_CONFIG_MAP)
    allowed, why = may_make_kek(bases, state)
    if not allowed:
        log.error("kek_missing", secret=names.SECRET_KEK, why=why)
        return
    key = base64.b64encode(ctx.random_bytes(_KEK_BYTES)).decode()
    made = build_secret(names.SECRET_KEK, {"v1": key}, namespace=ctx.settings.namespace, component="knowledge")
    if await ctx.kube.create(made):
        log.info("made_kek", secret=names.SECRET_KEK)


async def remember_data(ctx: Context) -> None:
    """Note, once and for good, that a store holds data."""
    found = await ctx.kube.get("ConfigMap", names.STATE_CONFIG_MAP)
    if found is not None and (found.get("data") or {}).get("storesHoldData") == "true":
        return
    labels = {
        "app.kubernetes.io/name": "hearth",
        "app.kubernetes.io/component": "operator",
        "app.kubernetes.io/managed-by": "hearth-operator",
    }
    await ctx.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(names.STATE_CONFIG_MAP, namespace=ctx.settings.namespace, labels=labels),
            "data": {"storesHoldData": "true"},
        }
    )
