"""A stage for the writer of a Ray endpoint: one node, its Ray and the API server in memory, and the heartbeat."""

import json
from types import SimpleNamespace

from hearth_operator.facts import ServingFacts
from hearth_operator.reconcile.endpoint import reconcile_endpoint
from hearth_operator.reconcile.glance import Glance
from hearth_operator.reconcile.world import EndpointState, ServingState, World
from hearth_operator.settings import Settings
from support.fake_kube import FakeKube, FakeRay
from support.operator_gen import managed_node, model, variant

URL = "http://ray"
GOOD, BAD = "package://good", "package://bad"


class Stage:
    """One endpoint with one node, driven heartbeat by heartbeat."""

    def __init__(self, node=None) -> None:
        self.kube, self.ray, self.now = FakeKube(), FakeRay(), 0.0
        self.node = node or managed_node("home", memory="6Gi", cpu="4")
        self.kube.put(self.node)
        self.proves = True
        self.restart()

    def restart(self) -> None:
        """The operator starts anew: only what is outside it is left."""
        self.world = World()
        self.state = EndpointState(nodes={self.node.metadata.name}, serve_url="https://x:8000")
        self.world.endpoints[URL] = self.state
        self.ctx = SimpleNamespace(
            settings=Settings(namespace="n", control_image="c", serve_image="s"),
            kube=self.kube,
            ray=lambda _url, _token: self.ray,
            clock=lambda: self.now,
            random_bytes=lambda n: b"\x07" * n,
            world=self.world,
            wake=lambda _key, delay=0.0: None,
            wake_fleet=lambda: None,
            glance=Glance(),
        )

    async def beat(self, times: int = 1, *, seconds: float = 4.0) -> None:
        for _ in range(times):
            self.now += seconds
            await reconcile_endpoint(self.ctx, URL)
            for name, app in self.state.facts.apps.items():
                if self.proves and app.replicas:
                    proven = ServingState(facts=ServingFacts(alive=True), replicas=app.replicas)
                    self.world.serving[name] = proven
                else:
                    self.world.serving.pop(name, None)

    def source(self, app: str = "chat.cpu") -> str:
        return self.ray.apps[app]["args"]["model"]["source"]

    async def serve(self, *variants, name: str = "chat", source: str = GOOD, **spec) -> None:
        """Apply a model; it has been looked at before, so what is kept of it is read."""
        self.apply(*variants, name=name, source=source, **spec)
        await self.beat(4)

    async def change(self, *variants, beats: int, **more) -> None:
        """Apply a change that is seen, and let some heartbeats pass."""
        self.apply(*variants, **more)
        self.state.dirty = True
        await self.beat(beats)

    async def fail(self) -> None:
        """A good revision, then a bad one."""
        await self.serve()
        self.ray.failing[BAD] = "no"
        await self.change(source=BAD, beats=4)

    def apply(self, *variants, name: str = "chat", source: str = GOOD, **spec) -> None:
        condition = {"type": "Ready", "status": "True", "reason": "Ready", "message": ""}
        status = {"conditions": [condition | {"lastTransitionTime": "2026-10-01T00:00:00Z"}]}
        chosen = variants or (variant(model={"source": source}),)
        self.kube.put(model(name, *chosen, status=status, **spec))


def kept(stage: Stage, name: str = "chat") -> dict:
    data = stage.kube.objects["ConfigMap", f"hearth-rollout-{name}"]["data"]
    return {key: json.loads(value) for key, value in data.items()}
