import threading

import pytest

from hearth_hack.steps import Step, StepFailedError, StepGraphError, check_graph, next_steps, run_steps


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def started(self, step: Step) -> None:
        self.events.append(("started", step.name))

    def said(self, step: Step, text: str) -> None:
        self.events.append((text, step.name))

    def finished(self, step: Step, seconds: float) -> None:
        self.events.append(("finished", step.name))

    def failed(self, step: Step, error: BaseException) -> None:
        self.events.append(("failed", step.name))


def step(name, *needs, action=lambda _say: None, heavy=False):
    return Step(name, name.title(), action, needs=needs, heavy=heavy)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([step("a"), step("a")], "twice"),
        ([step("a", "b"), step("b", "a")], "wait for each other"),
        ([step("a", "nowhere")], "nowhere"),
    ],
)
def test_a_broken_graph_is_refused(steps, words):
    with pytest.raises(StepGraphError, match=words):
        check_graph(steps)


def test_steps_run_after_what_they_need():
    recorder = Recorder()
    steps = [step("last", "left", "right"), step("left", "first"), step("right", "first"), step("first")]
    times = run_steps(steps, reporter=recorder)
    finished = [name for event, name in recorder.events if event == "finished"]
    assert finished[0] == "first"
    assert finished[-1] == "last"
    assert set(times) == {"first", "left", "right", "last"}


def test_independent_steps_overlap():
    meeting = threading.Barrier(2, timeout=10)
    steps = [step(name, action=lambda _say: meeting.wait() and None) for name in ("a", "b")]
    assert set(run_steps(steps, reporter=Recorder())) == {"a", "b"}


def test_heavy_steps_wait_for_a_slot_and_light_ones_do_not():
    steps = [step("a", heavy=True), step("b", heavy=True), step("c", heavy=True), step("light"), step("later", "a")]
    chosen = next_steps(steps, done=set(), heavy_running=1, heavy_slots=2)
    assert [each.name for each in chosen] == ["a", "light"]


def test_the_first_failure_names_its_step_and_nothing_that_needs_it_starts():
    def fail(_say):
        raise OSError("no network")

    recorder = Recorder()
    with pytest.raises(StepFailedError, match="Sources failed: no network") as caught:
        run_steps([step("sources", action=fail), step("build", "sources")], reporter=recorder)
    assert caught.value.step.name == "sources"
    assert isinstance(caught.value.cause, OSError)
    assert ("failed", "sources") in recorder.events
    assert not any(name == "build" for _, name in recorder.events)


def test_a_step_says_what_it_waits_for():
    recorder = Recorder()
    run_steps([step("a", action=lambda say: say("the node"))], reporter=recorder)
    assert recorder.events == [("started", "a"), ("the node", "a"), ("finished", "a")]
