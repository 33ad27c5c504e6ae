"""The mirror's Secret: a certificate that is renewed in time, orders that follow the wants, and nothing written twice."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from hearth_api.wire.mirror import MirrorOrders, reader_mark, reader_token
from hearth_api.wire.weights import WantedWeights
from hearth_operator import names
from hearth_operator.clients.certificates import Authority, certificate_is_due, issue_signed, make_authority
from hearth_operator.manifests.secrets import secret_entries
from hearth_operator.plan.revisions import dress
from hearth_operator.plan.serve_document import pin_labels
from hearth_operator.plan.serve_schema import check_application
from hearth_operator.plan.weights import build_weights_application
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.mirror import build_orders, keep_mirror, mirror_access, mirror_hosts, mirror_of
from hearth_operator.reconcile.world import WeightsWatch
from hearth_operator.settings import Settings, from_environment
from support.fake_kube import as_stored
from support.operator_gen import external_node, managed_node
from support.operator_still import NOW, StillKube, still_context

SETTINGS = Settings(namespace="house", control_image="c", serve_image="s", mirror_url="https://t40.lan:30843")
FILE = WantedWeights(source="hf://owner/model@main/m.gguf")
OTHER = WantedWeights(source="https://h/o.gguf", sha256="a" * 64)
TOKEN = "a-token-of-the-studio-0000"


def serve_secret(name: str, token: str) -> dict[str, Any]:
    return {"kind": "Secret", "metadata": {"name": name}, "data": {"token": base64.b64encode(token.encode()).decode()}}


def house(settings: Settings = SETTINGS, *, external: bool = True) -> tuple[StillKube, Context]:
    node = external_node() if external else managed_node("home")
    kube = StillKube([as_stored(node)])
    if node.spec.external is not None:
        name = node.spec.external.serve_secret_ref.name
        kube.objects[("Secret", name)] = serve_secret(name, TOKEN)
    ctx = still_context(kube, clock=float, settings=settings)
    ctx.world.weights["studio"] = WeightsWatch(url="u", wanted=frozenset({FILE}))
    return kube, ctx


def orders_of(kube: StillKube) -> MirrorOrders:
    entries = secret_entries(kube.objects[("Secret", names.SECRET_MIRROR)])
    return MirrorOrders.model_validate_json(entries["orders.json"])


async def test_the_secret_holds_certificate_and_orders_and_is_written_once() -> None:
    kube, ctx = house()
    await keep_mirror(ctx)
    entries = secret_entries(kube.objects[("Secret", names.SECRET_MIRROR)])
    held = x509.load_pem_x509_certificate(entries["tls.crt"])
    authority = secret_entries(kube.objects[("Secret", names.SECRET_CA)])
    held.verify_directly_issued_by(x509.load_pem_x509_certificate(authority["ca.crt"]))
    hosts = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(hosts.get_values_for_type(x509.DNSName)) == {"t40.lan", "hearth-mirror", "hearth-mirror.house.svc"}
    assert orders_of(kube) == MirrorOrders(wanted=(FILE,), readers=(reader_mark(reader_token(TOKEN)),))
    assert TOKEN.encode() not in b"".join(entries.values())
    assert reader_token(TOKEN).encode() not in entries["orders.json"], "only what proves it"
    written = len(kube.writes)
    await keep_mirror(ctx)
    assert len(kube.writes) == written, "nothing changed"


async def test_orders_follow_what_is_wanted_and_who_may_read() -> None:
    kube, ctx = house()
    await keep_mirror(ctx)
    before = secret_entries(kube.objects[("Secret", names.SECRET_MIRROR)])
    ctx.world.weights["box"] = WeightsWatch(url="u", wanted=frozenset({OTHER, FILE}))
    await keep_mirror(ctx)
    assert orders_of(kube).wanted == (FILE, OTHER)
    (secret,) = [key for key in kube.objects if key[0] == "Secret" and key[1] not in {"hearth-ca", "hearth-mirror"}]
    kube.objects[secret] = serve_secret(secret[1], "another-token-0000000000000")
    await keep_mirror(ctx)
    assert orders_of(kube).readers == (reader_mark(reader_token("another-token-0000000000000")),)
    del kube.objects[secret]
    await keep_mirror(ctx)
    assert orders_of(kube).readers == (), "whose token is gone reads nothing"
    after = secret_entries(kube.objects[("Secret", names.SECRET_MIRROR)])
    assert (after["tls.crt"], after["tls.key"]) == (before["tls.crt"], before["tls.key"])


async def test_nodes_in_the_cluster_read_too_and_ask_its_service() -> None:
    kube, ctx = house(external=False)
    await keep_mirror(ctx)
    assert orders_of(kube).readers == (), "its Secret is not made yet"
    kube.objects[("Secret", names.serve_secret_name("home"))] = serve_secret("x", TOKEN)
    await keep_mirror(ctx)
    assert orders_of(kube).readers == (reader_mark(reader_token(TOKEN)),)
    outside = await mirror_access(ctx)
    assert outside is not None
    assert mirror_of(ctx, external_node(), outside) == outside
    inside = mirror_of(ctx, managed_node("home"), outside)
    assert inside is not None
    assert (inside.url, inside.authority) == ("https://hearth-mirror.house.svc:8443", outside.authority)
    assert urlsplit(inside.url).hostname in mirror_hosts(outside.url, namespace="house"), "its certificate says so"
    assert mirror_of(ctx, managed_node("home"), None) is None


async def test_without_a_mirror_nothing_is_made() -> None:
    kube, ctx = house(replace(SETTINGS, mirror_url=None))
    await keep_mirror(ctx)
    assert kube.writes == []
    assert await mirror_access(ctx) is None


async def test_a_certificate_is_renewed_when_a_third_is_left_or_the_address_changed() -> None:
    kube, ctx = house()
    await keep_mirror(ctx)
    first = secret_entries(kube.objects[("Secret", names.SECRET_MIRROR)])["tls.crt"]
    for days, same in ((59, True), (61, False)):
        later = replace(ctx, now=lambda days=days: NOW + timedelta(days=days))
        await keep_mirror(later)
        now = secret_entries(kube.objects[("Secret", names.SECRET_MIRROR)])["tls.crt"]
        assert (now == first) is same
    moved = replace(ctx, settings=replace(SETTINGS, mirror_url="https://10.10.12.9:30843"))
    await keep_mirror(moved)
    assert secret_entries(kube.objects[("Secret", names.SECRET_MIRROR)])["tls.crt"] != now


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_replaced(pem: bytes) -> None:
    assert certificate_is_due(pem, make_authority(now=NOW), hosts=("a",), now=NOW)


def test_another_authoritys_certificate_is_replaced() -> None:
    ours, theirs = make_authority(now=NOW), make_authority(now=NOW)
    made = issue_signed(theirs, name="mirror", hosts=("a",), now=NOW)
    assert certificate_is_due(made.certificate, ours, hosts=("a",), now=NOW)
    assert not certificate_is_due(made.certificate, theirs, hosts=("a",), now=NOW)
    assert certificate_is_due(made.certificate, theirs, hosts=("a", "192.0.2.1"), now=NOW)


async def test_machines_are_told_where_it_is_and_whom_to_trust() -> None:
    kube, ctx = house()
    access = await mirror_access(ctx)
    assert access is not None
    assert access.url == "https://t40.lan:30843"
    assert access.authority.encode() == secret_entries(kube.objects[("Secret", names.SECRET_CA)])["ca.crt"]
    node = external_node()
    app = dress(build_weights_application(node, [FILE], pin=pin_labels(node), mirror=access), owner="us", surge=None)
    assert check_application(app) == ()
    assert "PRIVATE KEY" not in json.dumps(app)
    assert app["args"]["weights"]["mirror"] == access.to_json_object()


def test_the_same_wants_in_any_order_give_the_same_bytes() -> None:
    assert build_orders([FILE, OTHER, FILE], ["b", "a"]) == build_orders([OTHER, FILE], ["a", "b", "b"])


def test_the_address_comes_from_the_environment() -> None:
    environ = {"HEARTH_NAMESPACE": "n", "HEARTH_CONTROL_IMAGE": "c", "HEARTH_SERVE_IMAGE": "s"}
    assert from_environment(environ).mirror_url is None
    assert from_environment({**environ, "HEARTH_MIRROR_URL": "https://t40.lan:1/"}).mirror_url == "https://t40.lan:1"


def test_an_authority_without_its_key_is_no_authority() -> None:
    made = make_authority(now=NOW)
    with pytest.raises((ValueError, TypeError)):
        issue_signed(Authority(certificate=made.certificate, key=b""), name="mirror", hosts=("a",), now=NOW)
