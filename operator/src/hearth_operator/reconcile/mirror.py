"""The house's mirror: its certificate, and the orders that say what it brings and for whom.

All of it is one Secret, which the mirror's pod mounts: nothing has to be asked of a pod that may be starting.
"""

import json
from collections.abc import Iterable
from urllib.parse import urlsplit

import structlog

from hearth_api.kinds import InferenceNode
from hearth_api.wire.mirror import MIRROR_PORT, ORDERS_ENTRY, MirrorOrders, reader_mark, reader_token
from hearth_api.wire.weights import MirrorAccess, WantedWeights
from hearth_operator import names
from hearth_operator.clients.certificates import Authority, certificate_is_due, issue_signed
from hearth_operator.errors import NotYetError
from hearth_operator.manifests.secrets import build_secret, secret_entries, secret_text
from hearth_operator.reconcile.authority import ensure_authority
from hearth_operator.reconcile.context import Context

log = structlog.get_logger(__name__)


async def mirror_access(ctx: Context) -> MirrorAccess | None:
    """Return what machines outside the cluster are told of the mirror; None: this release has none."""
    if ctx.settings.mirror_url is None:
        return None
    if ctx.world.mirror is None:
        authority = await _authority(ctx)
        ctx.world.mirror = MirrorAccess(url=ctx.settings.mirror_url, authority=authority.certificate.decode())
    return ctx.world.mirror


def mirror_of(ctx: Context, node: InferenceNode, access: MirrorAccess | None) -> MirrorAccess | None:
    """Return what one node is told: a pod asks the mirror's Service, a machine outside its address in the house."""
    if access is None or node.spec.managed is None:
        return access
    return access.model_copy(update={"url": f"https://{_service_host(ctx.settings.namespace)}:{MIRROR_PORT}"})


async def keep_mirror(ctx: Context) -> None:
    """Make or renew the mirror's certificate, and write its orders where they have changed."""
    if ctx.settings.mirror_url is None:
        return
    authority = await _authority(ctx)
    entries = secret_entries(await ctx.kube.get("Secret", names.SECRET_MIRROR))
    hosts = mirror_hosts(ctx.settings.mirror_url, namespace=ctx.settings.namespace)
    fresh: dict[str, bytes] = {}
    if certificate_is_due(entries.get("tls.crt", b""), authority, hosts=hosts, now=ctx.now()):
        made = issue_signed(authority, name="mirror", hosts=hosts, now=ctx.now())
        fresh |= {"tls.crt": made.certificate, "tls.key": made.key}
        log.info("mirror_certified", secret=names.SECRET_MIRROR, hosts=list(hosts))
    orders = build_orders(
        (each for watch in ctx.world.weights.values() for each in watch.wanted), await _reader_tokens(ctx)
    )
    if entries.get(ORDERS_ENTRY) != orders:
        fresh[ORDERS_ENTRY] = orders
    if not fresh:
        return
    secret = build_secret(names.SECRET_MIRROR, fresh, namespace=ctx.settings.namespace, component="mirror")
    if not entries and await ctx.kube.create(secret):
        return
    await ctx.kube.patch_entries("Secret", names.SECRET_MIRROR, secret["data"])


def mirror_hosts(url: str, *, namespace: str) -> tuple[str, ...]:
    """Return the names and addresses that the mirror's certificate stands for."""
    return tuple(dict.fromkeys((urlsplit(url).hostname or "", names.MIRROR_SERVICE, _service_host(namespace))))


def _service_host(namespace: str) -> str:
    return f"{names.MIRROR_SERVICE}.{namespace}.svc"


def build_orders(wanted: Iterable[WantedWeights], tokens: Iterable[str]) -> bytes:
    """Return the orders as the Secret holds them: the same wants give the same bytes."""
    orders = MirrorOrders(
        wanted=tuple(sorted(set(wanted), key=lambda one: (one.source, one.sha256 or ""))),
        readers=tuple(sorted({reader_mark(reader_token(token)) for token in tokens})),
    )
    return json.dumps(orders.to_json_object(), sort_keys=True).encode()


async def _authority(ctx: Context) -> Authority:
    await ensure_authority(ctx)
    entries = secret_entries(await ctx.kube.get("Secret", names.SECRET_CA))
    if "ca.crt" not in entries or "ca.key" not in entries:
        raise NotYetError("SecretNotFound", f"Secret {names.SECRET_CA} lacks ca.crt or ca.key: restore it")
    return Authority(certificate=entries["ca.crt"], key=entries["ca.key"])


async def _reader_tokens(ctx: Context) -> list[str]:
    """Return the Serve tokens of all nodes. Whose is missing reads nothing."""
    tokens = []
    for node in await ctx.kube.list_all(names.NODE):
        spec, meta = node.get("spec") or {}, node["metadata"]
        named = ((spec.get("external") or {}).get("serveSecretRef") or {}).get("name")
        if spec.get("managed") is not None:
            named = names.serve_secret_name(meta["name"])
        if named and not meta.get("deletionTimestamp"):
            token = secret_text(await ctx.kube.get("Secret", named), "token")
            tokens += [token] if token else []
    return tokens
