"""Who may go where, and which addresses nobody reaches."""

import ipaddress
from typing import Any

import pytest

from hearth_common.errors import KubeStatusError, KubeUnreachableError
from hearth_common.review import Identity
from hearth_egress.address import make_guard
from hearth_egress.errors import RefusedError, SettingsError
from hearth_egress.head import Target
from hearth_egress.policy import Policy, allowed_target, name_source
from hearth_egress.settings import Settings

SECRET = {"secretRef": {"name": "account"}}


def source(**spec: Any) -> dict[str, Any]:
    base = {"knowledgeBaseRef": {"name": "work"}, "type": "Email"}
    return {
        "apiVersion": "hearth.banjonet.com/v1alpha1",
        "kind": "IngestionSource",
        "metadata": {"name": "inbox", "namespace": "hearth"},
        "spec": {**base, **spec},
    }


def mail(host: str = "imap.home.example", **extra: Any) -> dict[str, Any]:
    return source(email={"imap": {"host": host, **SECRET, **extra}})


def calendar(url: str) -> dict[str, Any]:
    return source(type="Calendar", calendar={"caldav": {"url": url, **SECRET}})


class Objects:
    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer
        self.paths: list[str] = []

    async def get(self, path: str) -> dict[str, Any]:
        self.paths.append(path)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("body", "host", "port"),
    [
        (mail(), "imap.home.example", 993),
        (mail("IMAP.Home.Example", port=1993), "imap.home.example", 1993),
        (mail("FD00::1"), "fd00::1", 993),
        (calendar("https://Cal.Home.Example/dav/"), "cal.home.example", 443),
        (calendar("https://cal.home.example:5232"), "cal.home.example", 5232),
        (calendar("https://[fd00::2]:8443/"), "fd00::2", 8443),
    ],
)
def test_the_one_target(body: dict[str, Any], host: str, port: int) -> None:
    assert allowed_target(body, source="inbox") == Target(host=host, port=port)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (source(email={"path": "."}), "no-account"),
        (source(email={"path": "."}, suspend=True), "suspended"),
        (source(suspend=True, email={"imap": {"host": "a.example", **SECRET}}), "suspended"),
        (calendar("https://cal.example:99999/"), "no-account"),
        ({}, "no-account"),
        ({"spec": "nothing"}, "no-account"),
    ],
)
def test_no_target(body: dict[str, Any], verdict: str) -> None:
    with pytest.raises(RefusedError) as refused:
        allowed_target(body, source="inbox")
    assert (refused.value.status, refused.value.verdict) == (403, verdict)
    assert "inbox" in refused.value.sentence


@pytest.mark.parametrize(
    ("namespace", "account"),
    [
        ("hearth", "hearth-gateway"),
        ("other", "hearth-ingest-inbox"),
        ("hearth", "hearth-ingest-"),
        ("hearth", "hearth-ingest-../x"),
    ],
)
def test_other_accounts(namespace: str, account: str) -> None:
    with pytest.raises(RefusedError) as refused:
        name_source(Identity("", namespace, account), namespace="hearth")
    assert refused.value.status == 403


async def test_policy_asks_again_after_two_seconds() -> None:
    now = [0.0]
    objects = Objects(mail())
    policy = Policy(objects, namespace="hearth", monotonic=lambda: now[0])
    await policy.check("inbox", Target(host="imap.home.example", port=993))
    objects.answer = mail("other.example")
    now[0] = 1.9
    await policy.check("inbox", Target(host="imap.home.example", port=993))
    now[0] = 2.1
    with pytest.raises(
        RefusedError, match=r"inbox may reach other\.example:993 and not imap\.home\.example:993"
    ) as refused:
        await policy.check("inbox", Target(host="imap.home.example", port=993))
    assert refused.value.status == 403
    assert objects.paths == ["/apis/hearth.banjonet.com/v1alpha1/namespaces/hearth/ingestionsources/inbox"] * 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KubeStatusError(path="/", status=404, message=""), 403),
        (KubeStatusError(path="/", status=403, message=""), 503),
        (KubeUnreachableError(path="/", reason=""), 503),
    ],
)
async def test_policy_without_an_answer(error: Exception, status: int) -> None:
    with pytest.raises(RefusedError) as refused:
        await Policy(Objects(error), namespace="hearth").check("inbox", Target(host="a", port=1))
    assert refused.value.status == status


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "::",
        "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::",
        "::127.0.0.1", "10.43.0.1", "::ffff:10.43.0.1", "fd43::1",
    ],
)  # fmt: skip
def test_guard_refuses(address: str) -> None:
    guard = make_guard((ipaddress.ip_network("10.43.0.1"), ipaddress.ip_network("fd43::/16")))
    assert not guard(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["10.10.12.5", "192.168.1.2", "93.184.216.34", "2606:2800::1", "fd00::5"])
def test_guard_allows(address: str) -> None:
    assert make_guard((ipaddress.ip_network("10.43.0.1"),))(ipaddress.ip_address(address))


def test_settings() -> None:
    settings = Settings.from_environment(
        {"HEARTH_NAMESPACE": "hearth", "HEARTH_DENIED_NETWORKS": "10.43.0.0/16, fd43::/16", "HEARTH_IDLE_SECONDS": "5"}
    )
    assert (settings.port, settings.web_port, settings.limits.idle_seconds) == (3128, 8080, 5)
    assert len(settings.denied) == 2
    for name, value in {"HEARTH_PROXY_PORT": "x", "HEARTH_DENIED_NETWORKS": "all", "HEARTH_CONNECTIONS": "0"}.items():
        with pytest.raises(SettingsError, match=name):
            Settings.from_environment({"HEARTH_NAMESPACE": "hearth", name: value})
