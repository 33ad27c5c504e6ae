"""Both ports of a joined machine: who is let in, to what, and that bytes pass as they come."""

import asyncio
import json

import aiohttp
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hearth_api.wire.machine import MachineFacts
from support.node_front import NOW, RAY, SERVE, a_front, sign

PROMPT = b'{"messages": [{"role": "user", "content": "a private thought"}]}'
APP = {"name": "chat.a", "import_path": "hearth_serve.app:build", "args": {}, "deployments": [{"name": "Model"}]}


@pytest.mark.parametrize(
    ("port", "token", "status"),
    [
        ("serve", None, 401),
        ("serve", RAY, 403),
        ("serve", SERVE + "x", 403),
        ("serve", "", 401),
        ("ray", None, 401),
        ("ray", SERVE, 403),
        ("ray", "\u00fc" * 43, 403),
    ],
)
async def test_each_token_opens_its_own_port_only(tmp_path, port, token, status):
    async with a_front(tmp_path) as house:
        for path in ("/chat/a/info", "/api/version", "/hearth/machine", "/hearth/state", "/"):
            found, _, body = await house.call("GET", path, token=token, port=port)
            assert found == status
            assert json.loads(body)["error"]["type"] == "authentication_error"
        assert house.upstream.asked == []


async def test_a_second_authorization_or_another_scheme_opens_nothing(tmp_path):
    async with a_front(tmp_path) as house:
        for headers in ({"Authorization": f"Basic {SERVE}"}, {"X-Ray-Authorization": f"Bearer {RAY}"}):
            status, _, _ = await house.call("GET", "/api/version", token=None, port="ray", headers=headers)
            assert status in {401, 403}
        twice = [("Authorization", f"Bearer {RAY}"), ("Authorization", "Bearer no")]
        async with house.ray.get("http://front/api/version", headers=twice) as answer:
            assert answer.status == 403


async def test_a_missing_token_file_closes_the_port(tmp_path):
    async with a_front(tmp_path) as house:
        house.paths.serve_token.unlink()
        status, headers, body = await house.call("GET", "/chat/a/info")
        assert (status, json.loads(body)["error"]["code"]) == (503, "token_unreadable")
        assert headers["Retry-After"]


async def test_requests_pass_whole_and_answers_come_back(tmp_path):
    async with a_front(tmp_path) as house:
        status, headers, body = await house.call(
            "POST", "/chat/a/v1/chat/completions?x=%2Fy", data=PROMPT, headers={"X-Request-Id": "7", "TE": "trailers"}
        )
        assert (status, headers["x-from"], json.loads(body)) == (200, "ray", {"ok": True})
        assert house.upstream.asked == [("POST", "/chat/a/v1/chat/completions?x=%2Fy", PROMPT)]
        assert house.upstream.headers["X-Request-ID"] == "7"
        assert "TE" not in house.upstream.headers
        assert house.front.traffic.computing == 0


async def test_a_stream_is_not_held_back(tmp_path):
    async with a_front(tmp_path) as house:
        headers = {"Authorization": f"Bearer {SERVE}"}
        async with house.serve.post("http://front/chat/a/v1/slow", headers=headers, data=b"{}") as answer:
            assert await answer.content.readany() == b"data: one\n\n"  # the second is not even made yet
            assert house.front.traffic.computing == 1
            house.upstream.go_on.set()
            assert await answer.content.readany() == b"data: two\n\n"


async def test_a_client_that_goes_away_ends_the_work(tmp_path):
    async with a_front(tmp_path) as house:
        headers = {"Authorization": f"Bearer {SERVE}"}
        answer = await house.serve.post("http://front/chat/a/v1/slow", headers=headers, data=b"{}")
        await answer.content.readany()
        answer.close()
        await asyncio.wait_for(house.upstream.cancelled.wait(), 2)
        assert house.front.traffic.computing == 0


async def test_an_answer_that_is_cut_looks_cut(tmp_path):
    async with a_front(tmp_path) as house:
        with pytest.raises(aiohttp.ClientError):
            await house.call("POST", "/chat/a/v1/cut", data=b"{}")


async def test_a_body_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hearth_node.front.MOST_SERVE_BYTES", 1000)
    async with a_front(tmp_path) as house:
        status, _, body = await house.call("POST", "/chat/a/v1/embeddings", data=b"x" * 1001)
        assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")

        async def chunks():
            for _ in range(5):
                yield b"x" * 300

        status, _, _ = await house.call("POST", "/chat/a/v1/embeddings", data=chunks())
        assert status == 413


async def test_no_secret_and_no_prompt_is_logged(tmp_path):
    with structlog.testing.capture_logs() as logs:
        async with a_front(tmp_path) as house:
            await house.call("POST", "/chat/a/v1/chat/completions?q=private", data=PROMPT)
            await house.call("POST", "/chat/a/v1/chat/completions?q=private", token="w" * 43, data=PROMPT)
    text = repr(logs)
    assert "refused" in text
    for secret in ("private", SERVE, RAY, "w" * 43, "completions"):
        assert secret not in text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/jobs/"),
        ("GET", "/api/jobs/"),
        ("DELETE", "/api/serve/applications/"),
        ("GET", "/api/serve/../jobs/"),
        ("GET", "/api/v0/nodes/"),
        ("GET", "/logs"),
        ("GET", "//api/version"),
        ("GET", "/api%2Fversion"),
    ],
)
async def test_rays_other_calls_are_not_offered(tmp_path, method, path):
    async with a_front(tmp_path) as house:
        status, _, _ = await house.call(method, path, token=RAY, port="ray")
        assert status in {403, 404}
        assert house.upstream.asked == []


async def test_the_operators_calls_reach_ray(tmp_path):
    async with a_front(tmp_path) as house:
        for path in ("/api/version", "/api/v0/nodes?detail=1&limit=1000", "/api/serve/applications/"):
            assert (await house.call("GET", path, token=RAY, port="ray"))[0] == 200
        assert [asked[1] for asked in house.upstream.asked] == [
            "/api/version",
            "/api/v0/nodes?detail=1&limit=1000",
            "/api/serve/applications/",
        ]


async def put(house, document):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    status, _, body = await house.call("PUT", "/api/serve/applications/", token=RAY, port="ray", data=data)
    return status, body


async def test_serve_listens_on_the_loopback_whatever_is_put(tmp_path):
    async with a_front(tmp_path) as house:
        given = {"http_options": {"host": "0.0.0.0", "port": 8000, "ssl_keyfile": "/etc/shadow"}, "applications": [APP]}
        assert (await put(house, {**given, "grpc_options": {"port": 9000}}))[0] == 200
        sent = json.loads(house.upstream.asked[0][2])
        assert sent == {"http_options": {"host": "127.0.0.1", "port": 28000}, "applications": [APP]}


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"[" * 100_000,
        [],
        {"applications": {}},
        {"applications": [3]},
        {"applications": [{**APP, "import_path": "os:system"}]},
        {"applications": [{**APP, "runtime_env": {"pip": ["x"]}}]},
        {"applications": [APP, {**APP, "deployments": [{"ray_actor_options": {"runtime_env": {"env_vars": {}}}}]}]},
    ],
)
async def test_a_document_with_foreign_code_never_reaches_ray(tmp_path, document):
    async with a_front(tmp_path) as house:
        status, body = await put(house, document)
        assert status in {400, 403}
        assert json.loads(body)["error"]["message"]
        assert house.upstream.asked == []


async def test_ray_that_is_away_is_said(tmp_path):
    async with a_front(tmp_path) as house:
        (tmp_path / "up").unlink()
        for port, token, path in (("serve", SERVE, "/chat/a/info"), ("ray", RAY, "/api/version")):
            status, _, body = await house.call("GET", path, token=token, port=port)
            assert (status, json.loads(body)["error"]["code"]) == (503, "starting")


async def test_the_machine_tells_its_facts_to_who_has_the_token(tmp_path):
    async with a_front(tmp_path) as house:
        assert (await house.call("GET", "/hearth/machine", token=RAY))[0] == 403
        status, _, body = await house.call("GET", "/hearth/machine")
        assert status == 200
        facts = MachineFacts.model_validate_json(body)
        assert 0 < facts.memory_available <= facts.memory_total
        assert None not in json.loads(body).values()


async def install(house, pem):
    data = json.dumps({"certificate": pem.decode()}).encode()
    status, _, body = await house.call("PUT", "/hearth/certificate", token=RAY, port="ray", data=data)
    return status, body


async def test_the_certificate_is_renewed_with_a_key_that_stays(tmp_path):
    async with a_front(tmp_path) as house:
        ca_key = serialization.load_pem_private_key((house.paths.prefix / "ca.key").read_bytes(), None)
        ca = x509.load_pem_x509_certificate(house.paths.authority.read_bytes())
        pem = serialization.Encoding.PEM
        call = {"token": RAY, "port": "ray"}
        before = json.loads((await house.call("GET", "/hearth/certificate", **call))[2])
        status, _, raw = await house.call("POST", "/hearth/certificate/request", **call)
        request = x509.load_pem_x509_csr(json.loads(raw)["request"].encode())
        assert (status, request.is_signature_valid) == (200, True)
        wrong = {
            "another machine": sign(request, ca_key, ca, hosts=("10.0.0.1",)),
            "expired": sign(request, ca_key, ca, days=-1 / 48),
            "foreign": sign(
                request,
                *(
                    (k := serialization.load_pem_private_key(house.paths.certificate.read_bytes(), None)),
                    sign(k, k, None),
                ),
            ),
            "other key": sign(ca_key, ca_key, ca),
        }
        for case, certificate in wrong.items():
            status, body = await install(house, certificate.public_bytes(pem))
            assert (case, status) == (case, 409)
            assert "The certificate is not taken: it " in json.loads(body)["error"]["message"]
        assert (await install(house, b"rubbish"))[0] == 409
        assert (await house.call("PUT", "/hearth/certificate", data=b"rubbish", **call))[0] == 400
        good = sign(request, ca_key, ca).public_bytes(pem)
        status, body = await install(house, good)
        assert (status, json.loads(body)["serial"] != before["serial"]) == (200, True)
        assert (await install(house, good))[0] == 409  # used up
        for path in ("/hearth/certificate", "/hearth/certificate/request"):  # never by the Serve token
            assert (await house.call("GET", path))[0] == 404


async def test_the_operators_time_is_kept_for_doctor(tmp_path):
    async with a_front(tmp_path) as house:
        headers = {"Date": "Tue, 24 Nov 2026 12:00:00 GMT"}
        body = (await house.call("GET", "/hearth/certificate", token=RAY, port="ray", headers=headers))[2]
        assert json.loads(body)["clock"] == NOW.isoformat()
        assert json.loads(house.paths.clock.read_text())["ahead"] == -86400
        await house.call("GET", "/hearth/certificate", token=RAY, port="ray", headers={"Date": "soon"})
