"""What engines share that give tokens: text, stop sequences, calls, templates, kept contexts, one batch for all."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from hearth_serve.engines.chunks import Stops
from hearth_serve.engines.tokens.batcher import FAILURES, HUNG_SECONDS, Batcher
from hearth_serve.engines.tokens.calls import CallParser, Tools, read_tools
from hearth_serve.engines.tokens.constraints import ANY_OBJECT, read_schema
from hearth_serve.engines.tokens.contexts import KeptContexts
from hearth_serve.engines.tokens.detokenize import Detokenizer
from hearth_serve.engines.tokens.job import Job, Sampling, Token, read_sampling
from hearth_serve.engines.tokens.templates import ChatTemplate
from hearth_serve.engines.tokens.vocabulary import well_formed
from hearth_serve.engines.tokens.writer import Writer, new_head
from hearth_serve.errors import ApiError, EngineFailedError, StartError
from hearth_serve.fold import fold

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
TOOLS = Tools(given=(WEATHER,))


# Text


def decode(ids: list[int]) -> str:
    return bytes(ids).decode(errors="replace")


@pytest.mark.parametrize("text", ["plain", "naïve – 日本語 🦔", "🦔", "a\ufffdb"])
def test_text_comes_in_whole_characters(text: str) -> None:
    made = Detokenizer(decode, prompt=list(b"prompt \xc3\xa9"), skip=frozenset())
    pieces = [made.push(byte) for byte in text.encode()]
    assert "".join([*pieces, made.flush()]) == text
    if "\ufffd" not in text:
        assert all("\ufffd" not in piece for piece in pieces)


def test_half_a_character_at_the_end_is_told_as_what_it_is() -> None:
    made = Detokenizer(decode, prompt=(), skip=frozenset({7}))
    assert [made.push(token) for token in (*b"ok", 7, 0xE6)] == ["o", "k", "", ""]
    assert made.flush() == "\ufffd"
    assert made.flush() == ""


def test_sampling_is_read_from_the_body() -> None:
    read = read_sampling({"seed": -1, "logprobs": True, "top_logprobs": 2, "logit_bias": {"3": -100}}, vocabulary=4)
    assert (read.logprobs, read.logit_bias, read.penalizes) == (2, ((3, -100.0),), False)
    assert read.seed == 2**63 - 1
    assert read_sampling({"logprobs": False}, vocabulary=4).logprobs is None
    assert read_sampling({"logit_bias": {"0": 1e308}}, vocabulary=4).logit_bias == ((0, 100.0),)
    for wrong in ({"4": 1}, {"a": 1}, {"1": float("nan")}, {"1": float("-inf")}):
        with pytest.raises(ApiError, match="logit_bias"):
            read_sampling({"logit_bias": wrong}, vocabulary=4)


def test_halves_of_characters_do_not_reach_a_tokenizer() -> None:
    assert well_formed("a\ud800b 🦔") == "a\ufffdb 🦔"


# Calls


def parse(text: str, *, size: int, tools: Tools = TOOLS) -> tuple[str, list[tuple[str, str]]]:
    parser = CallParser(tools)
    said, calls = "", []
    for at in range(0, len(text), size):
        more, made = parser.push(text[at : at + size])
        said, calls = said + more, [*calls, *made]
    more, made = parser.flush()
    return said + more, [(call.name, call.arguments) for call in [*calls, *made]]


CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'
MADE = ("weather", '{"city": "Rome"}')


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        pytest.param("Just text with < and {.", "Just text with < and {.", [], id="no call"),
        pytest.param(f"<tool_call>\n{CALL}\n</tool_call>", "", [MADE], id="the common form"),
        pytest.param(f"Let me see. <tool_call>{CALL}</tool_call>", "Let me see. ", [MADE], id="after some words"),
        pytest.param(f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", "", [MADE, MADE], id="two calls"),
        pytest.param(f"<tool_call>{CALL}", "", [MADE], id="never closed"),
        pytest.param(f"[TOOL_CALLS][{CALL}]", "", [MADE], id="a list"),
        pytest.param('[TOOL_CALLS]weather[ARGS]{"city": "Rome"}', "", [MADE], id="name and arguments apart"),
        pytest.param('<|python_tag|>{"name": "weather", "parameters": {"city": "Rome"}}', "", [MADE], id="parameters"),
        pytest.param(CALL, "", [MADE], id="bare JSON"),
        pytest.param('{"answer": 42}', '{"answer": 42}', [], id="JSON that calls nothing"),
        pytest.param(
            '<tool_call>{"name": "other"}</tool_call> x', '<tool_call>{"name": "other"}</tool_call> x', [], id="unknown"
        ),
        pytest.param("<tool_call>{nonsense</tool_call>", "<tool_call>{nonsense</tool_call>", [], id="no JSON"),
        pytest.param("<tool_", "<tool_", [], id="the beginning of a mark"),
        pytest.param("  \n", "  \n", [], id="only blanks"),
    ],
)
def test_calls_are_found_in_text(text: str, said: str, calls: list[tuple[str, str]], size: int) -> None:
    assert parse(text, size=size) == (said, calls)


def test_a_demanded_call_is_told_whole() -> None:
    assert parse(CALL, size=4, tools=Tools(given=(WEATHER,), forced=True)) == ("", [MADE])


def test_tools_are_checked() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    assert read_tools([WEATHER, other], None).names == {"weather", "other"}
    assert read_tools([WEATHER], "none").given == ()
    named = read_tools([WEATHER, other], {"type": "function", "function": {"name": "other"}})
    assert (named.names, named.forced) == ({"other"}, True)
    assert named.schema()["properties"]["name"] == {"const": "other"}
    assert len(read_tools([WEATHER, other], "required").schema()["anyOf"]) == 2
    for tools, choice in (
        ([{}], None),
        ([{"function": {"name": "a b"}}], None),
        (["x"], None),
        ([WEATHER], "sometimes"),
        ([], "required"),
        ([WEATHER], {"function": {"name": "gone"}}),
    ):
        with pytest.raises(ApiError) as refused:
            read_tools(tools, choice)
        assert refused.value.status == 400


def test_formats_become_schemas() -> None:
    assert read_schema({}) is None
    assert read_schema({"type": "json_object"}) == ANY_OBJECT
    assert read_schema({"type": "json_schema", "json_schema": {"schema": {"type": "null"}}}) == '{"type": "null"}'
    assert read_schema({"type": "json_schema", "json_schema": {"schema": True}}) == "{}"
    for wrong in ({"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"schema": 3}}):
        with pytest.raises(ApiError, match="response_format"):
            read_schema(wrong)


# Chunks


def write(text: str, *, stops: tuple[str, ...] = (), tools: Tools | None = None, logprobs: bool = False) -> Any:
    head = new_head("chat.completion.chunk", model="m")
    writer = Writer(
        head=head,
        index=0,
        text=Detokenizer(decode, prompt=(), skip=frozenset()),
        stops=Stops(stops),
        tools=tools or Tools(),
        spell=(lambda token: decode([token])) if logprobs else None,
    )
    chunks = [writer.first()]
    for byte in text.encode():
        chunks += writer.push(Token(id=byte, logprob=-0.5, top=((byte, -0.5), (65, -float("inf")))))
        if writer.stopped:
            break
    return fold([*chunks, *writer.end("stop")])["choices"][0]


def test_a_writer_makes_what_clients_expect() -> None:
    assert write("Hello.")["message"] == {"role": "assistant", "content": "Hello."}
    assert write("One, two, three", stops=("two", "x"))["message"]["content"] == "One, "
    called = write(CALL, tools=TOOLS)
    assert called["finish_reason"] == "tool_calls"
    assert called["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    told = write("é!", logprobs=True)["logprobs"]["content"]
    assert len(told) == 3
    assert told[2]["bytes"] == [33]
    assert told[0]["top_logprobs"][1] == {"token": "A", "logprob": -9999.0, "bytes": [65]}


# Templates


@pytest.fixture
def template() -> Iterator[Any]:
    made: list[ChatTemplate] = []

    def make(text: str, **options: Any) -> ChatTemplate:
        made.append(ChatTemplate(text, special={"bos_token": "<s>"}, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


PLAIN = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"


def test_a_template_renders_and_goes_on_in_a_message(template: Any) -> None:
    made = template(PLAIN)
    made.check()
    assert made.render([{"role": "user", "content": " Hi "}]) == "<s>[user]Hi[assistant]"
    begun = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day, "}]
    assert made.render(begun, go_on=True) == "<s>[user]Hi[assistant]Good day, "
    assert (
        template("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}").render(
            [{"role": "user", "content": "x"}]
        )
        == "x"
    )
    assert (
        template("{{ tools | tojson }}{{ strftime_now('%Y') | length }}").render([], tools=[{"a": "ü"}])
        == '[{"a": "ü"}]4'
    )


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        pytest.param("{{ raise_exception('roles must alternate') }}", "roles must alternate", id="it refuses"),
        pytest.param("{{ messages[7].content }}", "no element 7", id="it fails"),
        pytest.param("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe", id="it reaches for Python"),
        pytest.param("{{ messages.append(1) }}", "not safe|unsafe", id="it changes what it was given"),
        pytest.param("{{ 'x' * 3000000000 }}", "memory", id="it fills the memory"),
        pytest.param("{{ 'x' * 30000000 }}", "longer than", id="it is too long"),
    ],
)
def test_a_template_that_misbehaves_is_the_requests_error(template: Any, text: str, pattern: str) -> None:
    made = template(text)
    with pytest.raises(ApiError, match=pattern) as refused:
        made.render([{"role": "user", "content": "x"}])
    assert (refused.value.status, refused.value.param) == (400, "messages")


def test_a_template_that_never_ends_is_stopped_and_the_next_one_is_served(template: Any) -> None:
    endless = "{% if messages[0].content == 'loop' %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}ok"
    made = template(endless, seconds=0.4)
    with pytest.raises(ApiError, match=r"ran longer than 0\.4 s"):
        made.render([{"role": "user", "content": "loop"}])
    assert made.render([{"role": "user", "content": "x"}]) == "ok"


def test_a_template_that_cannot_be_read_stops_the_start(template: Any) -> None:
    with pytest.raises(StartError, match="chat template cannot be used"):
        template("{% for %}").check()


# Contexts


def test_the_context_that_shares_most_is_taken_and_the_slots_bound_them_all() -> None:
    cuts: list[tuple[str, int]] = []

    def cut(context: str, surplus: int) -> bool:
        cuts.append((context, surplus))
        return context != "stiff" or not surplus

    kept = KeptContexts(3, cut=cut)
    kept.put(tuple(range(20)), "short", running=0)
    kept.put(tuple(range(40)), "long", running=0)
    kept.put((9, *range(40)), "other", running=0)
    assert len(kept) == 3
    found = kept.take([*range(30), 99], running=0)
    assert found is not None
    assert (found.tokens, found.context, cuts) == (tuple(range(30)), "long", [("long", 10)])
    assert len(kept) == 2
    again = kept.take(list(range(20)), running=1)  # its last token must be read anew
    assert again is not None
    assert (len(again.tokens), cuts[-1]) == (19, ("short", 1))
    kept.put(tuple(range(50)), "stiff", running=2)
    assert len(kept) == 1
    assert kept.take(list(range(49)), running=2) is None
    assert len(kept) == 0
    assert kept.take(list(range(49)), running=2) is None


# One batch


class Counting:
    """Gives each answer its prompt's first token again and again."""

    def __init__(self) -> None:
        self.running: dict[int, Job] = {}
        self.most = 0
        self.fails = False

    def start(self, key: int, job: Job) -> None:
        if job.prompt[0] == 13:
            raise ApiError(400, "unlucky")
        self.running[key] = job
        self.most = max(self.most, len(self.running))

    def step(self) -> list[tuple[int, Token]]:
        if self.fails:
            self.fails = False
            raise RuntimeError("out of memory")
        return [(key, Token(id=job.prompt[0])) for key, job in self.running.items()]

    def stop(self, key: int) -> None:
        del self.running[key]

    def reset(self) -> None:
        self.running.clear()

    def close(self) -> None:
        self.running.clear()


def job(first: int, limit: int = 3, **fields: Any) -> Job:
    return Job(prompt=(first,), limit=limit, ends=frozenset({2}), sampling=Sampling(), **fields)


async def collect(batcher: Batcher, wanted: Job) -> list[int]:
    async with aclosing(batcher.generate(wanted)) as tokens:
        return [token.id async for token in tokens]


async def test_all_are_answered_and_no_more_run_than_there_are_slots() -> None:
    stepper = Counting()
    batcher = Batcher(lambda: stepper, slots=2, name="test")
    found = await asyncio.gather(*(collect(batcher, job(n)) for n in range(3, 9)), collect(batcher, job(2)))
    assert found == [[n] * 3 for n in range(3, 9)] + [[2]]
    assert stepper.most == 2
    with pytest.raises(ApiError, match="unlucky"):
        await collect(batcher, job(13))
    await batcher.close()


async def test_a_closed_answer_frees_its_slot_and_a_failed_step_fails_only_those_that_ran() -> None:
    stepper = Counting()
    batcher = Batcher(lambda: stepper, slots=1, name="test")
    async with aclosing(batcher.generate(job(5, limit=10**9))) as endless:
        async for _ in endless:
            break
    assert await collect(batcher, job(6)) == [6, 6, 6]
    stepper.fails = True
    with pytest.raises(ApiError) as failed:
        await collect(batcher, job(7))
    assert failed.value.status == 500
    assert "memory" not in failed.value.message
    assert await collect(batcher, job(8)) == [8, 8, 8]
    assert not stepper.running
    batcher.check()
    await batcher.close()


async def test_an_engine_that_computes_no_more_says_so() -> None:
    stepper, now = Counting(), [0.0]
    batcher = Batcher(lambda: stepper, slots=1, name="test", clock=lambda: now[0])
    for _ in range(FAILURES):
        batcher.check()
        stepper.fails = True
        with pytest.raises(ApiError):
            await collect(batcher, job(7))
    with pytest.raises(EngineFailedError, match="last 3 steps"):
        batcher.check()
    await collect(batcher, job(7))
    batcher.check()

    entered, leave = threading.Event(), threading.Event()

    def hang() -> list[tuple[int, Token]]:
        entered.set()
        leave.wait()
        return []

    stepper.step = hang  # type: ignore[method-assign]
    task = asyncio.create_task(collect(batcher, job(7)))
    await asyncio.to_thread(entered.wait)
    batcher.check()
    now[0] = HUNG_SECONDS + 1
    with pytest.raises(EngineFailedError, match="more than 600 s"):
        batcher.check()
    task.cancel()
    leave.set()
    await batcher.close()
    with pytest.raises(EngineFailedError, match="has ended"):
        batcher.check()


async def test_closing_tells_those_that_run_and_a_stepper_that_cannot_start_is_told_at_once() -> None:
    batcher = Batcher(Counting, slots=1, name="test")
    running = asyncio.create_task(collect(batcher, job(5, limit=10**9)))
    await asyncio.sleep(0)
    await batcher.close()
    with pytest.raises(ApiError, match="taken away"):
        await running

    def broken() -> Counting:
        raise StartError("no room")

    with pytest.raises(StartError, match="no room"):
        Batcher(broken, slots=1, name="test")
