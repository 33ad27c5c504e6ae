"""After a change of one, only who sees something else is looked at again; nobody is forgotten."""

from hearth_operator import names
from hearth_operator.reconcile.fleet import reconcile_fleet
from hearth_operator.reconcile.glance import Glance
from hearth_operator.reconcile.observe import glance_at_fleet, note_change, observe_fleet
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.world import EndpointState
from support.fake_kube import as_stored
from support.operator_gen import managed_node, model, variant
from support.operator_still import StillKube, still_context


class Stage:
    """Two machines, one model on each, one Ray for each machine."""

    def __init__(self) -> None:
        self.now = 100.0
        self.woken: list[Key] = []
        on = {"a": "home", "b": "away"}
        self.models = {n: model(n, variant("cpu", node=node, memory="1Gi")) for n, node in on.items()}
        nodes = [managed_node(n, memory="6Gi", cpu="4") for n in on.values()]
        self.kube = StillKube([as_stored(o) for o in (*nodes, *self.models.values())])
        self.ctx = still_context(self.kube, clock=lambda: self.now, wake=self.wake, glance=Glance(lifetime=10.0))
        for url, node in (("u-home", "home"), ("u-away", "away")):
            self.ctx.world.endpoints[url] = EndpointState(nodes={node})

    def wake(self, key: Key, *, delay: float = 0.0, urgent: bool = False) -> None:
        self.woken.append(key)

    async def look(self, *, seconds: float = 1.0) -> set[Key]:
        """Return who is woken, and make all documents clean again."""
        self.now += seconds
        self.woken = []
        await reconcile_fleet(self.ctx)
        self.dirty = {url for url, state in self.ctx.world.endpoints.items() if state.dirty}
        for state in self.ctx.world.endpoints.values():
            state.dirty = False
        return set(self.woken)


ALL = {
    *(Key(names.MODEL, n) for n in "ab"),
    *(Key(names.NODE, n) for n in ("home", "away")),
    *(Key("Endpoint", u) for u in ("u-home", "u-away")),
}


async def test_at_first_all_are_looked_at_and_then_nobody() -> None:
    stage = Stage()
    assert await stage.look() == ALL
    assert await stage.look() == set()
    assert stage.dirty == set()


async def test_a_change_concerns_its_own_machine_only() -> None:
    stage = Stage()
    await stage.look()
    spec = {**stage.models["a"].metadata.model_dump(), "generation": 2}
    changed = stage.models["a"].model_copy(update={"metadata": stage.models["a"].metadata.model_validate(spec)})
    note_change(stage.ctx, names.MODEL, "a", changed)
    assert await stage.look() == {Key("Endpoint", "u-home")}, "the model itself is woken by its watch"
    assert stage.dirty == {"u-home"}

    note_change(stage.ctx, names.MODEL, "a", None)
    assert await stage.look() == {Key("Endpoint", "u-home"), Key(names.NODE, "home")}

    stage.ctx.world.endpoints["u-away"].version += 1
    assert await stage.look() == {Key(names.MODEL, "b")}


async def test_who_has_no_room_hears_of_everybody_else() -> None:
    stage = Stage()
    large = model("big", variant("cpu", node="home", memory="64Gi"))
    before = await glance_at_fleet(stage.ctx)
    assert {m.metadata.name for m in before.models} == {"a", "b"}
    note_change(stage.ctx, names.MODEL, "big", large)
    await stage.look()
    note_change(stage.ctx, names.MODEL, "b", None)
    assert Key(names.MODEL, "big") in await stage.look(), "what would have to yield may have changed"


async def test_all_documents_are_computed_anew_now_and_then() -> None:
    stage = Stage()
    await stage.look()
    await stage.look(seconds=stage.ctx.settings.intervals.resync - 1)
    assert stage.dirty == set()
    await stage.look(seconds=2)
    assert stage.dirty == {"u-home", "u-away"}


async def test_the_look_of_others_never_reaches_who_writes_to_ray() -> None:
    stage = Stage()
    await glance_at_fleet(stage.ctx)
    note_change(stage.ctx, names.MODEL, "a", None)
    assert [m.metadata.name for m in (await glance_at_fleet(stage.ctx)).models] == ["b"]
    assert [m.metadata.name for m in (await observe_fleet(stage.ctx)).models] == ["a", "b"], "as the API server has it"
