"""Tokens and certificates of a managed node: made once, never overwritten, without an owner."""

import base64
import ssl

from hearth_api.kinds import InferenceNode
from hearth_operator import names
from hearth_operator.clients.certificates import issue
from hearth_operator.clients.model import Access
from hearth_operator.errors import NotYetError
from hearth_operator.manifests.secrets import build_secret, node_labels, secret_text
from hearth_operator.reconcile.context import Context

_TOKEN_BYTES = 32


async def ensure_node_secrets(ctx: Context, node: InferenceNode) -> None:
    """Make both Secrets of a managed node where they are missing."""
    name = node.metadata.name
    namespace = ctx.settings.namespace
    ray, serve = names.ray_secret_name(name), names.serve_secret_name(name)
    if await ctx.kube.get("Secret", ray) is None:
        entries: dict[str, str | bytes] = {"token": _token(ctx)}
        await ctx.kube.create(
            build_secret(ray, entries, namespace=namespace, component="node", labels=node_labels(name))
        )
    if await ctx.kube.get("Secret", serve) is None:
        made = issue(names.node_name(name), namespace=namespace, now=ctx.now())
        entries = {
            "token": _token(ctx),
            "ca.crt": made.ca,
            "tls.crt": made.certificate,
            "tls.key": made.key,
        }
        await ctx.kube.create(
            build_secret(serve, entries, namespace=namespace, component="node", labels=node_labels(name))
        )


def _token(ctx: Context) -> str:
    return base64.urlsafe_b64encode(ctx.random_bytes(_TOKEN_BYTES)).decode().rstrip("=")


def secret_refs(node: InferenceNode) -> tuple[str, str]:
    """Return the names of a node's Secrets: Ray's, and the Serve port's."""
    external = node.spec.external
    if external is not None:
        return external.ray_secret_ref.name, external.serve_secret_ref.name
    return names.ray_secret_name(node.metadata.name), names.serve_secret_name(node.metadata.name)


async def ray_access(ctx: Context, node: InferenceNode) -> Access:
    """Return how to reach Ray's API on a node. Raises NotYetError."""
    return await _access(ctx, secret_refs(node)[0])


async def serve_access(ctx: Context, node: InferenceNode) -> Access:
    """Return how to reach the node's Serve port. Raises NotYetError."""
    return await _access(ctx, secret_refs(node)[1])


async def _access(ctx: Context, name: str) -> Access:
    secret = await ctx.kube.get("Secret", name)
    token = secret_text(secret, "token")
    if token is None:
        raise NotYetError("SecretNotFound", f"Secret {name} with the entry token does not exist")
    ca = secret_text(secret, "ca.crt")
    if ca is not None and not _is_certificate(ca):
        raise NotYetError("SecretNotFound", f"Secret {name}: its entry ca.crt holds no certificate in PEM")
    return Access(token=token, ca=ca)


def _is_certificate(text: str) -> bool:
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, TypeError):  # the latter where it is no ASCII
        return False
    return True


def node_urls(node: InferenceNode, *, namespace: str) -> tuple[str, str]:
    """Return dashboard and Serve URL of a node."""
    external = node.spec.external
    if external is not None:
        return external.dashboard_url.rstrip("/"), external.serve_url.rstrip("/")
    host = f"{names.node_name(node.metadata.name)}.{namespace}.svc"
    return f"http://{host}:{names.RAY_PORT}", f"https://{host}:{names.SERVE_PORT}"
