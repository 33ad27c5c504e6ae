"""Settings, credentials, links, redaction of what is logged."""

import pytest
from pydantic import ValidationError

from hearth_gateway.credentials import NodeCredentials
from hearth_gateway.errors import UnavailableError
from hearth_gateway.links import base_of
from hearth_gateway.settings import Settings
from hearth_gateway.upstream import has_error_object
from support.gateway import MemoryCatalog, catalog, deployment, variant


class Clock:
    def __init__(self):
        self.value = 0.0

    def __call__(self):
        return self.value


SECURED = variant(
    url="https://node:8000/m",
    tokenSecretRef={"name": "s", "key": "token"},
    caSecretRef={"name": "s", "key": "ca.crt"},
)


def _variant(entry=SECURED):
    return catalog(deployment(variants=[entry])).models["chat"].variants[0]


def test_the_environment_sets_everything():
    settings = Settings.from_environment(
        {
            "HEARTH_NAMESPACE": "home",
            "HEARTH_LISTEN_PORT": "9000",
            "HEARTH_KNOWLEDGE_URL": "http://k",
            "HEARTH_PUBLIC_URL": "https://hearth.home",
            "HEARTH_TIMEOUT_TOTAL": "30",
            "HEARTH_LIMIT_QUEUE_PER_MODEL": "3",
            "HEARTH_KNOWLEDGE_TOKEN_PATH": "",
        }
    )
    assert (settings.namespace, settings.listen_port, settings.knowledge_url) == ("home", 9000, "http://k")
    assert (settings.timeouts.total, settings.limits.queue_per_model) == (30, 3)
    assert settings.public_url == "https://hearth.home"
    assert settings.knowledge_token_path == "/var/run/secrets/hearth/hearth-knowledge/token"


def test_a_wrong_variable_is_named():
    with pytest.raises(ValidationError, match="listen_port"):
        Settings.from_environment({"HEARTH_LISTEN_PORT": "many"})


async def test_secrets_are_read_once_and_again_after_a_refusal():
    source, clock = MemoryCatalog(), Clock()
    source.secrets["s"] = {"token": b"one\n"}
    credentials = NodeCredentials(source, monotonic=clock)
    assert await credentials.header(_variant()) == "Bearer one"
    source.secrets["s"] = {"token": b"two"}
    assert not credentials.forget(_variant()), "it was read a moment ago"
    clock.value = 2
    assert credentials.forget(_variant())
    assert await credentials.header(_variant()) == "Bearer two"
    assert source.secret_reads == 2


async def test_an_old_secret_serves_on_while_the_api_server_is_away():
    source, clock = MemoryCatalog(), Clock()
    source.secrets["s"] = {"token": b"one"}
    credentials = NodeCredentials(source, monotonic=clock)
    await credentials.header(_variant())
    source.secrets.clear()
    clock.value = 1000
    assert await credentials.header(_variant()) == "Bearer one"


@pytest.mark.parametrize(
    "secret", [None, {}, {"token": b"\xff", "ca.crt": b"no certificate"}], ids=["absent", "empty", "broken"]
)
async def test_a_secret_that_cannot_be_used_is_named(secret):
    source = MemoryCatalog()
    if secret is not None:
        source.secrets["s"] = secret
    credentials = NodeCredentials(source)
    with pytest.raises(UnavailableError, match=r"Secret s "):
        await credentials.header(_variant())
    with pytest.raises(UnavailableError, match=r"Secret s "):
        await credentials.context(_variant())


async def test_a_variant_without_secrets_needs_none():
    credentials = NodeCredentials(MemoryCatalog())
    assert await credentials.header(_variant(variant())) is None
    assert await credentials.context(_variant(variant())) is None


@pytest.mark.parametrize(
    ("host", "configured", "base"),
    [
        (b"hearth.home:8080", "", "http://hearth.home:8080"),
        (b"[::1]:80", "", "http://[::1]:80"),
        (b"evil/path", "", ""),
        (b"a b", "", ""),
        (b"hearth.home", "https://real/", "https://real"),
    ],
)
def test_links_use_the_configured_address_or_a_harmless_host(host, configured, base):
    assert base_of({"headers": [(b"host", host)], "scheme": "http"}, configured=configured) == base


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (b'{"error": {"message": "x"}}', True),
        (b'{"error": "x"}', False),
        (b"Internal Server Error", False),
        (b"[" * 100_000, False),
        (b"[]", False),
    ],
)
def test_only_openais_shape_passes_as_an_explanation(body, known):
    assert has_error_object(body) is known
