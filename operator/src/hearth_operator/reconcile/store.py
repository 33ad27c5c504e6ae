"""A knowledge base's vector store: the Milvus that we run, and what opens it or another.

The knowledge service reads credentials from the one Secret `hearth-stores`, which is mounted into it: it needs no right
on the API server, and no credential stands in a resource, an argument or a status.
"""

import base64
import json
from typing import Any

import structlog

from hearth_api.kinds import KnowledgeBase
from hearth_api.kinds.knowledge import StoreMode
from hearth_api.reasons import Reason
from hearth_api.wire.knowledge import StoreConfig
from hearth_operator import names
from hearth_operator.manifests.milvus import PASSWORD_KEY, USER, build_milvus, milvus_uri
from hearth_operator.manifests.secrets import build_secret, secret_text
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.objects import apply_objects
from hearth_operator.status.conditions import Verdict, false

log = structlog.get_logger(__name__)
_PASSWORD_BYTES = 32


async def ensure_store(ctx: Context, kb: KnowledgeBase) -> tuple[StoreConfig, Verdict | None]:
    """Return what the knowledge service is told of the store, and why it cannot be used yet, if so."""
    name, store = kb.metadata.name, kb.spec.store
    if store.mode is StoreMode.MANAGED:
        return await _ensure_managed(ctx, kb)
    if store.external is None:
        return StoreConfig(), None
    config = StoreConfig(mode="External", uri=store.external.uri)
    if store.external.secret_ref is None:
        return config, None
    wanted = store.external.secret_ref.name
    secret = await ctx.kube.get("Secret", wanted)
    username, password = secret_text(secret, "username"), secret_text(secret, "password")
    if not username or not password:
        said = "does not exist" if secret is None else "lacks username or password"
        return config, false(Reason.SECRET_NOT_FOUND, f"Secret {wanted} {said}")
    await _keep_entry(ctx, name, username=username, password=password)
    return config.model_copy(update={"credentials": name}), None


async def _ensure_managed(ctx: Context, kb: KnowledgeBase) -> tuple[StoreConfig, Verdict | None]:
    name = kb.metadata.name
    config = StoreConfig(mode="External", uri=milvus_uri(name), credentials=name)
    called = names.milvus_name(name)
    password = secret_text(await ctx.kube.get("Secret", called), PASSWORD_KEY)
    if password is None:
        # Milvus keeps the first password in its files: one that is lost cannot be made anew beside them.
        if await ctx.kube.get("PersistentVolumeClaim", called) is not None:
            return config, false(
                Reason.SECRET_NOT_FOUND,
                f"Secret {called} is gone but its volume is not: restore the Secret, or delete the claim {called}"
                " and the index is built again",
            )
        password = base64.urlsafe_b64encode(ctx.random_bytes(_PASSWORD_BYTES)).decode().rstrip("=")
        labels = names.labels(names.KNOWLEDGE_BASE, name, component="store")
        made = build_secret(
            called, {PASSWORD_KEY: password}, namespace=ctx.settings.namespace, component="store", labels=labels
        )
        await ctx.kube.create(made)
    await _keep_entry(ctx, name, username=USER, password=password)
    await apply_objects(ctx, build_milvus(kb, settings=ctx.settings).all(), of=f"{names.KNOWLEDGE_BASE} {name}")
    if not _is_available(await ctx.kube.get("Deployment", called)):
        return config, false(Reason.STORE_NOT_READY, f"Milvus (Deployment {called}) is not available")
    return config, None


def _is_available(deployment: dict[str, Any] | None) -> bool:
    return bool(((deployment or {}).get("status") or {}).get("availableReplicas"))


async def _keep_entry(ctx: Context, name: str, *, username: str, password: str) -> None:
    """Let the knowledge service have these credentials; write only what differs."""
    entry = json.dumps({"username": username, "password": password}, sort_keys=True)
    found = await ctx.kube.get("Secret", names.SECRET_STORES)
    if secret_text(found, name) == entry:
        return
    if found is None:
        made = build_secret(names.SECRET_STORES, {name: entry}, namespace=ctx.settings.namespace, component="knowledge")
        if await ctx.kube.create(made):
            return
    await ctx.kube.patch_entries("Secret", names.SECRET_STORES, {name: base64.b64encode(entry.encode()).decode()})
    log.info("store_credentials_changed", knowledge_base=name)


async def prune_entries(ctx: Context) -> None:
    """Take credentials away from the knowledge service whose knowledge base is gone."""
    found = await ctx.kube.get("Secret", names.SECRET_STORES)
    entries = set((found or {}).get("data") or {})
    if not entries:
        return
    bases = {kb["metadata"]["name"] for kb in await ctx.kube.list_all(names.KNOWLEDGE_BASE)}
    gone = sorted(entries - bases)
    if gone:
        await ctx.kube.patch_entries("Secret", names.SECRET_STORES, dict.fromkeys(gone))
        log.info("store_credentials_removed", knowledge_bases=gone)
