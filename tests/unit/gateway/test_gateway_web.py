"""The page's files: open, strict, small, packed, and the same in every package."""

import gzip
import re

import pytest

from hearth_gateway.app import build_app, route_label
from hearth_gateway.web.files import build_file, load_site
from support.gateway import Harness

MAX_PACKED_BYTES = 40_000
EVERY = ["/", "/favicon.ico", *(f"/assets/{load_site().version}/{name}" for name in load_site().assets)]


@pytest.mark.parametrize("path", EVERY)
async def test_every_file_is_open_and_carries_the_strict_headers(path):
    reply = await Harness().get(path, key=None)
    assert reply.status == 200
    policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cross-origin-opener-policy"] == reply.headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in reply.headers["permissions-policy"]


async def test_the_page_needs_no_catalog_no_knowledge_and_no_model():
    gateway = Harness()
    gateway.source.synced = False
    assert (await gateway.get("/", key=None)).status == 200
    bare = Harness()
    bare.app = build_app(lambda gateway: None)  # the parts are not there yet
    assert (await bare.get("/", key=None)).status == 200


async def test_a_browser_that_takes_gzip_gets_the_same_bytes_in_less():
    gateway = Harness()
    for path in EVERY:
        plain = await gateway.get(path, key=None)
        packed = await gateway.get(path, key=None, headers={"accept-encoding": "gzip, br"})
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        assert packed.headers["vary"] == "Accept-Encoding"
        assert int(packed.headers["content-length"]) == len(packed.body)


async def test_assets_are_kept_for_ever_and_the_page_is_asked_for_again():
    gateway = Harness()
    page = await gateway.get("/", key=None)
    assert page.headers["cache-control"] == "no-cache"
    again = await gateway.get("/", key=None, headers={"if-none-match": page.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    version = load_site().version
    asset = await gateway.get(f"/assets/{version}/app.js", key=None)
    assert "immutable" in asset.headers["cache-control"]
    head = await gateway.call("HEAD", f"/assets/{version}/app.js", key=None)
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", asset.headers["etag"])


@pytest.mark.parametrize(
    "path",
    [
        "/assets/0000/app.js",
        "/assets/{}/index.html",
        "/assets/{}/..",
        "/assets/{}/%2e%2e%2fapp.py",
        "/assets/{}/nope.js",
    ],
)
async def test_only_files_of_this_version_exist(path):
    assert (await Harness().get(path.format(load_site().version), key=None)).status == 404


def test_the_page_names_no_other_place_and_only_files_that_exist():
    site = load_site()
    assert b"{{" not in site.index.body
    named = set(re.findall(rb"/assets/%s/([\w.]+)" % site.version.encode(), site.index.body))
    assert {name.decode() for name in named} == set(site.assets)
    for file in (site.index, *site.assets.values()):
        addresses = set(re.findall(rb"https?://[\w.]+", file.body)) - {b"http://www.w3.org"}  # SVG's namespace
        assert not addresses
    script = b"".join(file.body for name, file in site.assets.items() if name.endswith(".js"))
    for word in (
        b"innerHTML",
        b"outerHTML",
        b"insertAdjacentHTML",
        b"document.write",
        b"eval(",
        b"new Function",
        b"srcdoc",
    ):
        assert word not in script
    for name, file in site.assets.items():
        for imported in re.findall(rb'from "\./([\w.]+)"', file.body):
            assert imported.decode() in site.assets, name


def test_the_whole_page_is_small_and_its_packed_form_does_not_depend_on_the_time():
    site = load_site()
    assert sum(len(file.packed) for file in (site.index, *site.assets.values())) < MAX_PACKED_BYTES
    assert build_file("a.js", body=b"x" * 999) == build_file("a.js", body=b"x" * 999)


def test_figures_call_it_all_the_page():
    assert {route_label(path) for path in EVERY} == {"page"}
