"""Certificates of joined machines: signed for the hosts of the resource, renewed in time, and only where they are ours."""

import base64
import ssl
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from hearth_api.kinds import InferenceNode
from hearth_node.tls import CertificateError, check_certificate, make_key, make_request, read_certificate, read_facts
from hearth_operator.clients.certificates import RequestError, make_authority, sign_request
from hearth_operator.clients.front import CertificateState
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.clients.http import _say as say
from hearth_operator.errors import UnreachableError
from hearth_operator.reconcile.release import ensure_authority
from hearth_operator.reconcile.renewal import hosts_of, is_due, renew_certificate
from hearth_operator.reconcile.world import World

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUTHORITY = make_authority(now=NOW)
URL = "https://10.10.12.5:8265"


def test_a_signed_request_serves_the_resources_hosts_whatever_it_asks_for():
    request = make_request(make_key(), name="studio", hosts=["hearth-gateway", "10.0.0.1"])
    made = read_certificate(
        sign_request(request, AUTHORITY, name="studio", hosts=["10.10.12.5", "studio.lan"], now=NOW)
    )
    ca = read_certificate(AUTHORITY.certificate)
    check_certificate(made, authority=ca, hosts=["10.10.12.5", "studio.lan"], now=NOW)
    assert set(read_facts(made).hosts) == {"10.10.12.5", "studio.lan"}
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    for wrong, when in (
        ({"10.0.0.1"}, NOW),
        ({"studio.lan"}, NOW + timedelta(days=91)),
        ({"studio.lan"}, NOW - timedelta(days=1)),
    ):
        with pytest.raises(CertificateError):
            check_certificate(made, authority=ca, hosts=wrong, now=when)


def test_rubbish_and_weak_keys_are_not_signed():
    weak = rsa.generate_private_key(65537, 1024)
    for request in (b"", b"rubbish", AUTHORITY.certificate, make_request(weak, name="x", hosts=["x"])):
        with pytest.raises(RequestError):
            sign_request(request, AUTHORITY, name="x", hosts=["x"], now=NOW)


def state(*, began: int, days: int = 90, invited: bool = False) -> CertificateState:
    begin = NOW - timedelta(days=began)
    return CertificateState(not_before=begin, not_after=begin + timedelta(days=days), invited=invited)


@pytest.mark.parametrize(
    ("shown", "due"),
    [
        (state(began=0), False),
        (state(began=59), False),
        (state(began=61), True),
        (state(began=100), True),
        (state(began=0, invited=True), True),
        (state(began=0, days=3650), False),
    ],
)
def test_a_third_before_the_end_it_is_due(shown, due):
    assert is_due(shown, now=NOW) is due


def test_each_host_of_the_urls_counts_once():
    assert hosts_of([URL, "https://10.10.12.5:8000"]) == ("10.10.12.5",)
    assert hosts_of(["https://studio.lan:1", "https://[fd00::5]:8000"]) == ("studio.lan", "fd00::5")


class Machine:
    """A front that keeps what it is given."""

    def __init__(self, shown, *, refuses=None):
        self.shown, self.refuses, self.asked, self.installed = shown, refuses, 0, []

    async def certificate(self, now):
        self.asked += 1
        if self.refuses is not None:
            raise self.refuses
        return self.shown

    async def request(self):
        return make_request(make_key(), name="studio", hosts=["x"])

    async def install(self, certificate):
        self.installed.append(read_certificate(certificate))
        return self.shown


class Kube:
    def __init__(self, **secrets):
        self.secrets = secrets
        self.created = []

    async def get(self, kind, name):
        entries = self.secrets.get(name.replace("-", "_"))
        return entries and {"data": {key: base64.b64encode(value).decode() for key, value in entries.items()}}

    async def create(self, manifest):
        self.created.append(manifest)
        return True


def stage(machine, *, ca=AUTHORITY.certificate, held=True):
    secrets = {"hearth_ray_studio": {"token": b"r" * 43, "ca.crt": ca}}
    if held:
        secrets["hearth_ca"] = {"ca.crt": AUTHORITY.certificate, "ca.key": AUTHORITY.key}
    clock = SimpleNamespace(seconds=0.0)
    ctx = SimpleNamespace(
        front=lambda url, access: machine, clock=lambda: clock.seconds, now=lambda: NOW, world=World(), kube=Kube(**secrets),
        settings=SimpleNamespace(namespace="hearth"),
    )  # fmt: skip
    return ctx, clock


def node(url=URL) -> InferenceNode:
    external = {
        "dashboardURL": url, "serveURL": "https://10.10.12.5:8000",
        "raySecretRef": {"name": "hearth-ray-studio"}, "serveSecretRef": {"name": "hearth-serve-studio"},
    }  # fmt: skip
    spec = {"type": "External", "external": external, "accelerator": {"type": "Metal", "memory": "400Gi"}}
    raw = {
        "apiVersion": "hearth.banjonet.com/v1alpha1",
        "kind": "InferenceNode",
        "metadata": {"name": "studio"},
        "spec": spec,
    }
    return InferenceNode.model_validate(raw)


async def test_what_is_due_is_renewed_and_looked_at_again_in_an_hour():
    machine = Machine(state(began=0, invited=True))
    ctx, clock = stage(machine)
    for seconds, asked in ((0, 1), (3000, 1), (3700, 2)):
        clock.seconds = seconds
        await renew_certificate(ctx, node(), url=URL)
        assert (machine.asked, len(machine.installed)) == (asked, asked)
    assert read_facts(machine.installed[0]).hosts == ("10.10.12.5",)


async def test_what_is_fresh_stays():
    machine = Machine(state(began=1))
    await renew_certificate(stage(machine)[0], node(), url=URL)
    assert (machine.asked, machine.installed) == (1, [])


@pytest.mark.parametrize("given", [{"ca": make_authority(now=NOW).certificate}, {"held": False}])
async def test_another_authoritys_machine_is_not_asked(given):
    machine = Machine(state(began=80))
    await renew_certificate(stage(machine, **given)[0], node(), url=URL)
    assert machine.asked == 0


async def test_ray_without_tls_is_not_asked():
    machine = Machine(state(began=80))
    url = "http://ray-head:8265"
    await renew_certificate(stage(machine)[0], node(url), url=url)
    assert machine.asked == 0


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UnreachableError("Unreachable", "away"), 300),
        (HttpStatusError(method="GET", url=URL, status=500, text=""), 300),
        (HttpStatusError(method="GET", url=URL, status=404, text=""), 3600),
    ],
)
async def test_a_machine_that_cannot_now_is_asked_later(error, again):
    machine = Machine(state(began=80), refuses=error)
    ctx, _ = stage(machine)
    await renew_certificate(ctx, node(), url=URL)
    assert ctx.world.certificates == {"studio": again}


async def test_the_authority_is_made_once():
    ctx, _ = stage(Machine(state(began=0)), held=False)
    await ensure_authority(ctx)
    (made,) = ctx.kube.created
    assert made["metadata"]["name"] == "hearth-ca"
    assert set(made["data"]) == {"ca.crt", "ca.key"}
    assert "ownerReferences" not in made["metadata"]
    ctx, _ = stage(Machine(state(began=0)))
    await ensure_authority(ctx)
    assert ctx.kube.created == []


@pytest.mark.parametrize(
    ("code", "said"),
    [(9, "compare the clocks"), (10, "it has expired"), (20, "another authority"), (64, "another address"), (3, "odd")],
)
def test_certificate_trouble_is_a_sentence(code, said):
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_code, error.verify_message = code, "something odd"
    key = SimpleNamespace(host="10.10.12.5", port=8265, is_ssl=True, ssl=True)
    wrapped = aiohttp.ClientConnectorCertificateError(key, error)
    assert said in say(wrapped)
