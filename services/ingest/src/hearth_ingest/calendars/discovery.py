"""From the address of an account to its calendars and their objects (RFC 4791, 5397, 6764)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from hearth_ingest.calendars.dav import DavClient, DavError, parse_answer
from hearth_ingest.errors import ItemError, RefusedError, SourceError

_DAV = "{DAV:}"
_CAL = "{urn:ietf:params:xml:ns:caldav}"
_FIND = (
    '<d:propfind xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><d:resourcetype/><d:displayname/>'
    "<d:current-user-principal/><c:calendar-home-set/></d:prop></d:propfind>"
)
_LIST = '<d:propfind xmlns:d="DAV:"><d:prop><d:getetag/><d:resourcetype/></d:prop></d:propfind>'
_GET = (
    '<c:calendar-multiget xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><d:getetag/><c:calendar-data/>'
    "</d:prop>{hrefs}</c:calendar-multiget>"
)
_MAX_CALENDARS = 1000
_NOT_HERE = frozenset((403, 404, 405, 501))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """One calendar of the account."""

    path: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resource:
    path: str
    types: frozenset[str]
    name: str
    principal: str
    homes: tuple[str, ...]
    etag: str
    data: str | None
    broken: bool = False


def discover(client: DavClient) -> list[Calendar]:
    """Return the account's calendars, whatever its url is: of a server, principal, home or calendar.

    Raises SourceError, which says what to do.
    """
    bare = client.path.rstrip("/") == ""
    starts = ["/.well-known/caldav", client.path] if bare else [client.path]
    for number, start in enumerate(starts):
        try:
            calendars = _calendars_from(client, start)
        except DavError as error:
            if number + 1 < len(starts) and error.status in _NOT_HERE:
                continue
            raise
        if calendars:
            return calendars
    raise SourceError(
        f"{client.place} shows no calendar to this account: give the url of a calendar, or share one with it"
    )


def _calendars_from(client: DavClient, start: str) -> list[Calendar]:
    resource = _look(client, start)
    if resource is None:
        return []
    if f"{_CAL}calendar" in resource.types:
        return [_calendar(resource)]
    homes = resource.homes
    if not homes and resource.principal and resource.principal != resource.path:
        principal = _look(client, resource.principal)
        homes = principal.homes if principal else ()
    found: dict[str, Calendar] = {}
    for home in homes or (resource.path,):
        for child in _resources(client, "PROPFIND", home, body=_FIND, depth="1"):
            if f"{_CAL}calendar" in child.types and len(found) < _MAX_CALENDARS:
                found.setdefault(child.path, _calendar(child))
    return list(found.values())


def _look(client: DavClient, path: str) -> _Resource | None:
    return next(iter(_resources(client, "PROPFIND", path, body=_FIND, depth="0")), None)


def _calendar(resource: _Resource) -> Calendar:
    return Calendar(path=resource.path, name=resource.name or unquote(resource.path.rstrip("/").rpartition("/")[2]))


def list_objects(client: DavClient, calendar: Calendar) -> list[tuple[str, str]]:
    """Return (path, etag) of each object of a calendar, without its content. Raises SourceError."""
    found: dict[str, str] = {}
    for resource in _resources(client, "PROPFIND", calendar.path, body=_LIST, depth="1"):
        if f"{_DAV}collection" in resource.types or resource.path.rstrip("/") == calendar.path.rstrip("/"):
            continue
        if resource.broken or not resource.etag:
            raise DavError(f"{client.place} lists {calendar.name!r} without etags: it cannot be compared", status=207)
        found[resource.path] = resource.etag
    return sorted(found.items())


def multiget(client: DavClient, paths: list[str], *, limit: int) -> dict[str, bytes]:
    """Return path -> content of the objects that a server gives together; others are to be asked for one by one."""
    if len(paths) < 2:
        return {}
    folder = paths[0].rpartition("/")[0] + "/"
    same = [path for path in paths if path.startswith(folder)]
    hrefs = "".join(f"<d:href>{escape(path)}</d:href>" for path in same)
    try:
        resources = list(_resources(client, "REPORT", folder, body=_GET.format(hrefs=hrefs), depth="1"))
    except DavError as error:
        if error.status == 401:
            raise
        return {}
    wanted = set(same)
    bodies = {r.path: r.data.encode() for r in resources if r.data and r.path in wanted}
    return {path: body for path, body in bodies.items() if len(body) <= limit}


def fetch_object(client: DavClient, path: str, *, limit: int) -> bytes:
    """Return the content of one object. Raises ItemError for this one, SourceError for the server."""
    try:
        return client.ask("GET", path, limit=limit).body
    except DavError as error:
        if error.status == 413:
            raise RefusedError("too-large", f"more than {limit} bytes") from error
        if error.status == 401 or error.status >= 500:
            raise
        raise ItemError("calendar-unreadable", f"the server answered {error.status}") from error


def _resources(client: DavClient, method: str, path: str, *, body: str, depth: str) -> Iterator[_Resource]:
    answer = client.ask(method, path, body='<?xml version="1.0" encoding="utf-8"?>' + body, depth=depth)
    if answer.status != 207:
        raise DavError(f"{client.place} answered {answer.status} without a listing: is it a CalDAV server?", status=405)
    root = parse_answer(answer.body, place=client.place)
    for response in root.iter(f"{_DAV}response"):
        href = response.findtext(f"{_DAV}href")
        if href:
            yield _resource(client, response, client.resolve(href, base=answer.path), base=answer.path)


def _resource(client: DavClient, response: Any, path: str, *, base: str) -> _Resource:
    props: dict[str, Any] = {}
    status = response.findtext(f"{_DAV}status") or ""
    for propstat in response.findall(f"{_DAV}propstat"):
        if " 200" in (propstat.findtext(f"{_DAV}status") or " 200"):
            for prop in propstat.findall(f"{_DAV}prop"):
                props.update({child.tag: child for child in prop if isinstance(child.tag, str)})
    types = props.get(f"{_DAV}resourcetype")
    data = props.get(f"{_CAL}calendar-data")
    principals = _hrefs(client, props.get(f"{_DAV}current-user-principal"), base=base)
    return _Resource(
        path=path,
        types=frozenset(str(child.tag) for child in types) if types is not None else frozenset(),
        name=" ".join((_text(props.get(f"{_DAV}displayname"))).split())[:200],
        principal=principals[0] if principals else "",
        homes=_hrefs(client, props.get(f"{_CAL}calendar-home-set"), base=base),
        etag=_text(props.get(f"{_DAV}getetag")).strip(),
        data=_text(data) if data is not None else None,
        broken=bool(status) and " 2" not in status,
    )


def _hrefs(client: DavClient, element: Any, *, base: str) -> tuple[str, ...]:
    if element is None:
        return ()
    return tuple(client.resolve(href.text, base=base) for href in element.iter(f"{_DAV}href") if href.text)


def _text(element: Any) -> str:
    return (element.text or "") if element is not None else ""
