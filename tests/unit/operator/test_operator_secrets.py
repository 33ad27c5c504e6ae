"""What a node's Secret must hold for its replicas to be asked."""

import base64

import pytest

from hearth_operator.clients.certificates import issue
from hearth_operator.errors import NotYetError
from hearth_operator.reconcile.secrets import secret_refs, serve_access
from support.operator_gen import managed_node
from support.operator_still import NOW, StillKube, still_context


def secret(name: str, **entries: str | bytes) -> dict:
    data = {
        key: base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
        for key, value in entries.items()
    }
    return {"kind": "Secret", "metadata": {"name": name}, "data": data}


async def test_an_authority_is_optional_but_must_be_one() -> None:
    node = managed_node("home")
    name = secret_refs(node)[1]
    ca = issue("home", namespace="hearth", now=NOW).ca.decode().strip()
    ca = ca.decode() if isinstance(ca, bytes) else ca
    for entries in ({"token": "t"}, {"token": "t", "ca.crt": ca}):
        access = await serve_access(still_context(StillKube([secret(name, **entries)]), clock=float), node)
        assert (access.token, access.ca) == ("t", entries.get("ca.crt"))
    for wrong in ("secret", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "ä", b"\x30\x82\xff"):
        with pytest.raises(NotYetError, match=rf"{name}: its entry ca\.crt holds no certificate"):
            await serve_access(
                still_context(StillKube([secret(name, token="t", **{"ca.crt": wrong})]), clock=float), node
            )
