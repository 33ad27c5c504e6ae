"""Certificates of joined machines are renewed long before they end, without anybody."""

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit

import structlog

from hearth_api.kinds import InferenceNode
from hearth_operator import names
from hearth_operator.clients.certificates import Authority, RequestError, sign_request
from hearth_operator.clients.front import CertificateState, FrontApi
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.errors import OperatorError
from hearth_operator.manifests.secrets import secret_entries
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.secrets import ray_access

log = structlog.get_logger(__name__)
_LOOK_SECONDS = 3600.0
_AGAIN_SECONDS = 300.0
_MOST_SKEW = 300.0
_NO_FRONT = frozenset({403, 404, 405, 501})
"""Ray itself, or an authenticating proxy of somebody else: nothing to renew."""


def is_due(state: CertificateState, *, now: datetime) -> bool:
    """Whether a certificate is replaced now: a third of its life is left, or its key has travelled."""
    life = state.not_after - state.not_before
    return state.invited or now >= state.not_after - life / 3


def hosts_of(urls: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts by which a machine is called, each once."""
    return tuple(dict.fromkeys(host for url in urls if (host := urlsplit(url).hostname)))


async def renew_certificate(ctx: Context, node: InferenceNode, *, url: str) -> None:
    """Look now and then; renew what is due. That it cannot be done now changes nothing else."""
    name, external = node.metadata.name, node.spec.external
    if ctx.front is None or external is None or not url.startswith("https://"):
        return
    if ctx.clock() < ctx.world.certificates.get(name, float("-inf")):
        return
    ctx.world.certificates[name] = ctx.clock() + _LOOK_SECONDS
    access = await ray_access(ctx, node)
    entries = secret_entries(await ctx.kube.get("Secret", names.SECRET_CA))
    if "ca.key" not in entries or access.ca is None or access.ca.strip() != entries["ca.crt"].decode().strip():
        return  # somebody else's authority: its certificates are not ours to renew
    authority = Authority(certificate=entries["ca.crt"], key=entries["ca.key"])
    hosts = hosts_of((external.dashboard_url, external.serve_url))
    try:
        front = ctx.front(url, access)
        shown = await front.certificate(ctx.now())
        _tell_clock(name, shown, now=ctx.now())
        if is_due(shown, now=ctx.now()):
            fresh = await _renew(front, authority, name=name, hosts=hosts, now=ctx.now())
            log.info("certificate_renewed", node=name, not_after=fresh.not_after.isoformat())
    except HttpStatusError as error:
        if error.status not in _NO_FRONT:
            _later(ctx, name, error.message)
    except OperatorError as error:
        _later(ctx, name, error.message)
    except RequestError as error:
        _later(ctx, name, f"the machine's certificate request is not signed: {error}")


async def _renew(
    front: FrontApi, authority: Authority, *, name: str, hosts: tuple[str, ...], now: datetime
) -> CertificateState:
    request = await front.request()
    return await front.install(sign_request(request, authority, name=name, hosts=hosts, now=now))


def _later(ctx: Context, name: str, why: str) -> None:
    ctx.world.certificates[name] = ctx.clock() + _AGAIN_SECONDS
    log.warning("certificate_not_renewed", node=name, error=why[:300])


def _tell_clock(name: str, shown: CertificateState, *, now: datetime) -> None:
    if shown.clock is not None and abs(ahead := (shown.clock - now).total_seconds()) > _MOST_SKEW:
        log.warning("clock_differs", node=name, seconds_ahead=round(ahead))
