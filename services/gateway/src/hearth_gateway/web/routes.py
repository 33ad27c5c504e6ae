"""`/` and its assets: open to everybody, since they hold nothing; whatever the page shows it asks with a key."""

from collections.abc import Mapping
from types import MappingProxyType

from fastapi import APIRouter, Request
from fastapi.responses import Response

from hearth_gateway.errors import NotFoundError
from hearth_gateway.web.files import File, load_site

FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
METHODS = ["GET", "HEAD"]
# By the last two Chromium refuses every assignment of a string to a sink that would parse it, innerHTML first.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Accept-Encoding",
    }
)

router = APIRouter()


@router.api_route("/", methods=METHODS)
async def get_index(request: Request) -> Response:
    """Return the page. It depends on no model, no knowledge base and no API server."""
    return answer(request, file=load_site().index, cache=ASK_AGAIN)


@router.api_route("/favicon.ico", methods=METHODS)
async def get_icon(request: Request) -> Response:
    """Return the icon that browsers ask for without being told of it."""
    return answer(request, file=load_site().assets["icon.svg"], cache=ASK_AGAIN)


@router.api_route("/assets/{version}/{name}", methods=METHODS)
async def get_asset(request: Request, version: str, name: str) -> Response:
    """Return one file of this version; another version's page is told to load itself again by a 404."""
    site = load_site()
    file = site.assets.get(name) if version == site.version else None
    if file is None:
        raise NotFoundError("This path does not exist.")
    return answer(request, file=file, cache=FOR_EVER)


def answer(request: Request, *, file: File, cache: str) -> Response:
    """Return the file, compressed where the browser takes it, or 304."""
    headers = {**HEADERS, "ETag": file.etag, "Cache-Control": cache}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    packed = "gzip" in request.headers.get("accept-encoding", "")
    if packed:
        headers["Content-Encoding"] = "gzip"
    body = file.packed if packed else file.body
    headers["Content-Length"] = str(len(body))
    return Response(b"" if request.method == "HEAD" else body, media_type=file.media_type, headers=headers)
