"""The writer of a Ray endpoint: after any history it comes to rest and serves what it can."""

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hearth_operator.errors import UnreachableError
from support.operator_gen import managed_node
from support.operator_writer import Stage

SOURCES = ("package://s0", "package://s1", "package://s2")
ACTIONS = st.one_of(
    st.tuples(
        st.just("change"), st.sampled_from(["a", "b"]), st.sampled_from(SOURCES), st.sampled_from(["0.1", "0.9"])
    ),
    st.tuples(st.sampled_from(["fail", "heal", "stick", "refuse"]), st.sampled_from(SOURCES)),
    st.tuples(st.sampled_from(["operator dies", "ray forgets", "api away", "api back", "ray away", "ray back"])),
)


def act(stage: Stage, action: tuple[str, ...]) -> None:
    ray = stage.ray
    match action:
        case ("change", name, source, temperature):
            stage.apply(name=name, source=source, sampling={"temperature": temperature}, progressDeadlineSeconds=60)
            stage.state.dirty = True
        case ("fail", source):
            ray.failing[source] = "no"
        case ("heal", source):
            ray.failing.pop(source, None)
            ray.stuck.discard(source)
            ray.refusing.discard(source)
        case ("stick", source):
            ray.stuck.add(source)
        case ("refuse", source):
            ray.refusing.add(source)
        case ("operator dies",):
            stage.restart()
        case ("ray forgets",):
            ray.apps, ray.old = {}, {}
        case ("api away",) | ("api back",):
            stage.kube.down = action[0] == "api away"
        case _:
            ray.error = UnreachableError("Unreachable", "gone") if action[0] == "ray away" else None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 5)), max_size=14))
async def test_after_any_history_it_comes_to_rest_and_serves_what_it_can(history) -> None:
    with capture_logs():  # thousands of lines otherwise
        await _live_through(history)


async def _live_through(history) -> None:
    stage = Stage(managed_node("home", memory="6Gi", cpu="4"))
    for action, beats in history:
        act(stage, action)
        await stage.beat(beats)
    stage.kube.down, stage.ray.error, stage.state.dirty = False, None, True
    await stage.beat(60)
    stage.state.failed.clear()  # tries of what failed go on for good: end one that has begun, begin none
    await stage.beat(2, seconds=0.5)
    puts = stage.ray.puts[:]
    stage.kube.writes.clear()
    stage.state.failed.clear()
    await stage.beat(20, seconds=0.5)
    assert (stage.ray.puts, stage.kube.writes) == (puts, []), "at rest"
    for (kind, name), raw in stage.kube.objects.items():
        if kind == "ModelDeployment":
            _check(stage, f"{name}.cpu", raw["spec"]["variants"][0]["model"]["source"])


def _check(stage: Stage, app: str, wanted: str) -> None:
    sick = {*stage.ray.failing, *stage.ray.stuck, *stage.ray.refusing}
    there = stage.ray.apps.get(app)
    if there is None:
        assert app in stage.state.refused, "Ray said no to it, and is not asked twice"
        return
    source = there["args"]["model"]["source"]
    record = stage.state.records[app]
    if wanted not in sick:
        assert source == wanted or record.bad or app in stage.state.refused, "what could serve is there, or failed once"
    if record.good is not None and source != wanted:
        assert app in stage.state.setbacks, "and says why it is not the wanted one"
    if record.good is not None and record.good["args"]["model"]["source"] not in sick:
        assert source not in sick or app not in stage.state.setbacks, "what served once serves"
