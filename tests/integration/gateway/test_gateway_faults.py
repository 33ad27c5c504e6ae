"""Real sockets, real faults: lost nodes, silent models, impatient clients, full queues, revoked keys."""

import asyncio
import socket
import time

import aiohttp
import pytest

from support.gateway import api_key, catalog, deployment, key_record, until, variant

CHAT = "/v1/chat/completions"
HELLO = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}


async def _post(http, body=HELLO, **options):
    async with http.post(CHAT, json=body, **options) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_nothing_of_the_client_travels_upstream_but_the_body(http, house):
    await _post(http, headers={"x-request-timeout-seconds": "1", "cookie": "a=b", "x-forwarded-for": "1.2.3.4"})
    headers = {name.lower() for name in house.first.headers[0]}
    assert headers == {
        "host",
        "content-type",
        "content-length",
        "authorization",
        "x-request-id",
        "accept",
        "accept-encoding",
    }
    assert house.key not in str(house.first.headers)


async def test_a_node_that_refuses_connections_is_passed_over(http, house):
    variants = house.variants()
    variants[0]["url"] = "http://127.0.0.1:9/m"
    house.source.set_catalog(catalog(deployment(variants=variants)))
    status, _, headers = await _post(http)
    assert (status, headers["x-hearth-variant"], headers["x-hearth-degraded"]) == (200, "cpu", "true")


async def test_a_machine_that_sleeps_is_passed_over(http, house):
    """Its kernel still takes connections, but nobody shakes hands any more."""
    with socket.create_server(("127.0.0.1", 0)) as asleep:
        variants = house.variants()
        variants[0]["url"] = f"https://127.0.0.1:{asleep.getsockname()[1]}/m"
        house.source.set_catalog(catalog(deployment(variants=variants)))
        began = time.monotonic()
        status, _, headers = await _post(http)
    assert (status, headers["x-hearth-variant"]) == (200, "cpu")
    assert time.monotonic() - began < 3, "one second to connect, then the other"


@pytest.mark.parametrize("status", [502, 503, 404])
async def test_a_node_without_the_application_is_passed_over(http, house, status):
    house.first.status = status
    found, _, headers = await _post(http)
    assert (found, headers["x-hearth-variant"]) == (200, "cpu")


async def test_an_engine_that_fails_on_a_request_is_tried_elsewhere_and_not_punished(http, house):
    house.first.status = 500
    for _ in range(3):
        assert (await _post(http))[0] == 200
    assert len(house.first.seen) == 3


async def test_an_engine_with_a_full_queue_is_passed_over_and_not_punished(http, house):
    house.first.status, house.first.words = 503, '{"error": {"message": "full"}}'
    for _ in range(3):
        assert (await _post(http))[2]["x-hearth-variant"] == "cpu"
    assert len(house.first.seen) == 3
    house.second.status, house.second.words = 503, house.first.words
    status, body, headers = await _post(http)
    assert (status, body["error"]["message"], headers["Retry-After"]) == (503, "The model is busy.", "7")


async def test_a_request_that_the_model_refuses_keeps_its_status(http, house):
    house.first.status = 422
    status, body, _ = await _post(http)
    assert (status, body["error"]["type"]) == (422, "invalid_request_error")
    assert house.second.seen == []


async def test_without_any_node_the_answer_is_503_then_fails_fast(http, house):
    house.source.set_catalog(catalog(deployment(variants=[variant(url="http://127.0.0.1:9/m")])))
    for _ in range(3):
        status, body, headers = await _post(http)
        assert status == 503
        assert int(headers["Retry-After"]) >= 1
    assert "tried again shortly" in body["error"]["message"]


async def test_the_first_variant_serves_again_after_it_came_back(http, house):
    house.first.status = 503
    for _ in range(3):
        await _post(http)
    house.first.status = 200
    deadline = time.monotonic() + 5
    while (await _post(http))[2]["x-hearth-variant"] != "gpu":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_renewed_serve_token_is_fetched_after_a_401(http, house):
    assert (await _post(http))[0] == 200
    house.first.token = house.second.token = "renewed"
    house.source.secrets["hearth-serve-home"] = {"token": b"renewed"}
    await asyncio.sleep(1.1)  # Secrets read within the last second are not read again
    assert (await _post(http))[0] == 200
    assert house.source.secret_reads == 2


async def test_a_client_that_leaves_a_stream_stops_the_model(http, house):
    house.first.text = "word " * 500
    house.first.pause = 0.02
    async with http.post(CHAT, json={**HELLO, "stream": True}) as answer:
        await answer.content.readany()
        answer.close()
    await asyncio.wait_for(house.first.cancelled.wait(), 3)
    model = house.source.catalog.models["chat"]
    async with asyncio.timeout(2):
        await until(lambda: not house.state.admission.busy("chat", model.variants[0]))


async def test_a_client_that_leaves_before_the_answer_stops_the_model(http, house):
    house.first.gate.clear()
    with pytest.raises(TimeoutError):
        await _post(http, timeout=aiohttp.ClientTimeout(total=0.3))
    await asyncio.wait_for(house.first.cancelled.wait(), 3)


@pytest.mark.parametrize("between_tokens", [0.5])
async def test_a_model_that_falls_silent_ends_with_an_error_event(http, house):
    house.first.pause = 1.0
    async with http.post(CHAT, json={**HELLO, "stream": True}) as answer:
        text = await answer.text()
    assert "upstream_timeout" in text
    assert "[DONE]" not in text


async def test_slots_bound_what_runs_and_the_second_variant_takes_the_overflow(http, house):
    house.set_slots(1)
    house.first.gate.clear()
    house.second.gate.clear()
    tasks = [asyncio.create_task(_post(http)) for _ in range(5)]
    await asyncio.wait_for(house.second.started.wait(), 3)
    house.first.gate.set()
    house.second.gate.set()
    results = await asyncio.gather(*tasks)
    assert [status for status, *_ in results] == [200] * 5
    assert (house.first.most, house.second.most) == (1, 1)


async def test_the_more_urgent_go_first(http, house):
    house.set_slots(1, variants=1)
    house.first.gate.clear()
    tasks = [asyncio.create_task(_post(http))]
    await house.first.started.wait()
    for number, priority in enumerate(["indexing", "batch", "normal", "interactive"], start=1):
        body = {**HELLO, "user": priority}
        tasks.append(asyncio.create_task(_post(http, body, headers={"x-hearth-priority": priority})))
        async with asyncio.timeout(3):
            await until(lambda: sum(house.state.admission.waiting("chat").values()) >= number)  # noqa: B023
    house.first.gate.set()
    await asyncio.gather(*tasks)
    assert [body.get("user") for body in house.first.seen[1:]] == ["interactive", "normal", "batch", "indexing"]


async def test_a_revoked_key_is_refused_by_the_next_request(http, house):
    assert (await _post(http))[0] == 200
    house.source.keys = {}
    assert (await _post(http))[0] == 401


async def test_a_key_beyond_its_rate_is_told_when_to_come_back(http, house):
    house.source.keys = {"abcdefghij": key_record(house.key, rpm=1)}
    assert (await _post(http))[0] == 200
    status, _, headers = await _post(http)
    assert status == 429
    assert int(headers["Retry-After"]) > 1


async def test_documents_and_originals(http):
    base = "/v1/knowledge-bases/work/documents"
    async with http.get(f"{base}/email-aaaaaaaaaaaaaaaaaaaa?version=2") as answer:
        assert (await answer.json())["version"] == "2"
    async with http.get(f"{base}/email-aaaaaaaaaaaaaaaaaaaa/original") as answer:
        assert len(await answer.read()) == 180000
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    async with http.get(f"{base}/email-bbbbbbbbbbbbbbbbbbbb") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found")
    async with http.get(f"{base}/..%2f..%2fadmin") as answer:
        assert answer.status in (400, 404)


async def test_search_over_http(http):
    async with http.post("/v1/search", json={"query": "pump", "knowledge_bases": ["work"]}) as answer:
        body = await answer.json()
    assert body["results"][0]["knowledge_base"] == "work"
    assert body["took_ms"] >= 0


async def test_without_the_knowledge_service_chat_goes_on(http, house):
    house.state.knowledge._url = "http://127.0.0.1:9"
    status, body, _ = await _post(http, {**HELLO, "model": "chat@work"})
    assert (status, body["error"]["code"]) == (503, "knowledge_unavailable")
    assert (await _post(http))[0] == 200


async def test_another_key_is_not_confused_with_a_longer_one(http):
    async with http.post(CHAT, json=HELLO, headers={"Authorization": f"Bearer {api_key()}x"}) as answer:
        assert answer.status == 401
