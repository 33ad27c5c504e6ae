"""The authority of joined machines: made once, and never again."""

import structlog

from hearth_operator import names
from hearth_operator.clients.certificates import make_authority
from hearth_operator.manifests.secrets import build_secret
from hearth_operator.reconcile.context import Context

log = structlog.get_logger(__name__)


async def ensure_authority(ctx: Context) -> None:
    """Make the authority of joined machines once. A new one would lock them all out until they join again."""
    if await ctx.kube.get("Secret", names.SECRET_CA) is not None:
        return
    made = make_authority(now=ctx.now())
    entries: dict[str, str | bytes] = {"ca.crt": made.certificate, "ca.key": made.key}
    if await ctx.kube.create(
        build_secret(names.SECRET_CA, entries, namespace=ctx.settings.namespace, component="operator")
    ):
        log.info("made_authority", secret=names.SECRET_CA)
