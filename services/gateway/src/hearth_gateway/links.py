"""Where users reach this gateway, for the links in citations."""

import re

from hearth_gateway.asgi import Scope, header

HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


def base_of(scope: Scope, *, configured: str) -> str:
    """Return the configured base URL, or the address that this request used, or "" (paths only)."""
    if configured:
        return configured.rstrip("/")
    host = header(scope, b"host")
    if host is None or not HOST.fullmatch(host):
        return ""
    scheme = "https" if scope.get("scheme") == "https" or header(scope, b"x-forwarded-proto") == b"https" else "http"
    return f"{scheme}://{host.decode('ascii')}"
