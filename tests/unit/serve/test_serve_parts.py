"""Small parts: folding streams, stop sequences, threads, the source hash."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_serve.engines.batches import MOST_TEXTS, MOST_TOKENS, plan_batches
from hearth_serve.engines.chunks import Stops
from hearth_serve.engines.factory import load_engine
from hearth_serve.engines.llamacpp import _api_error
from hearth_serve.errors import StartError
from hearth_serve.fold import fold
from hearth_serve.machine import choose_threads, memory_info, source_hash
from support.serve_fakes import serve_args


def chunk(**choice: Any) -> bytes:
    return json.dumps({"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}).encode()


def test_fold_joins_tool_calls_by_index() -> None:
    def call(index: int, **fields: Any) -> bytes:
        return chunk(delta={"tool_calls": [{"index": index, **fields}]})

    answer = fold(
        [
            call(0, id="a", function={"name": "look", "arguments": ""}),
            call(0, function={"arguments": '{"x"'}),
            call(1, id="b", function={"name": "go", "arguments": "{}"}),
            call(0, function={"arguments": ":1}"}),
            chunk(delta={}, finish_reason="tool_calls"),
        ]
    )
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]] == [
        ("a", "look", '{"x":1}'),
        ("b", "go", "{}"),
    ]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


def test_fold_keeps_choices_apart_and_joins_logprobs() -> None:
    def of(index: int, text: str) -> bytes:
        entry = {"index": index, "delta": {"content": text}, "logprobs": {"content": [{"token": text}]}}
        return json.dumps({"object": "chat.completion.chunk", "choices": [entry]}).encode()

    choices = fold([of(1, "b"), of(0, "a"), of(1, "c")])["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["a", "bc"]
    assert [len(choice["logprobs"]["content"]) for choice in choices] == [1, 2]


def test_fold_of_an_empty_answer_has_empty_content() -> None:
    assert fold([chunk(delta={"role": "assistant", "content": None})])["choices"][0]["message"]["content"] == ""


@given(
    text=st.text(alphabet="abc", max_size=30),
    stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=3), max_size=3),
    cuts=st.lists(st.integers(1, 4), max_size=30),
)
def test_stop_sequences_cut_at_the_first_wherever_pieces_are_split(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    pieces, rest = [], text
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    watcher, shown = Stops(stops), ""
    for piece in [*pieces, rest]:
        shown += watcher.push(piece)
        if watcher.hit:
            break
    shown += watcher.flush()
    # The end of a stop sequence decides, as it does for a model that writes from left to right.
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    assert watcher.hit == bool(ends)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not ends:
        assert shown == text


@pytest.mark.parametrize(
    ("wanted", "cores", "num_cpus", "threads"),
    [(None, 2, 0, 1), (None, 1, 0, 1), (None, 8, 0, 7), (None, 8, 4, 4), (None, 8, 0.5, 1), (6, 8, 4, 4), (6, 2, 0, 2)],
)
def test_threads(wanted: int | None, cores: int, num_cpus: float, threads: int) -> None:
    assert choose_threads(wanted=wanted, cores=cores, num_cpus=num_cpus) == threads


def test_memory_is_read_from_the_kernel(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t3\n")
    assert memory_info(status_file=status).model_dump() == {"now": 2**20, "peak": 2 * 2**20}
    assert memory_info(status_file=tmp_path / "none").peak > 0


def test_source_hash_tells_code_apart(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = source_hash(root=tmp_path)
    assert first == source_hash(root=tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    assert first != source_hash(root=tmp_path)
    assert len(source_hash()) == 64


@pytest.mark.parametrize(
    ("status", "raw", "expected"),
    [
        (400, {"code": 400, "message": "request (9 tokens) exceeds the available context size (4 tokens)", "type": "exceed_context_size_error"}, (400, "context_length_exceeded", "invalid_request_error")),
        (400, {"code": 400, "message": "bad", "type": "invalid_request_error"}, (400, None, "invalid_request_error")),
        (500, {"code": 500, "message": "image input is not supported - hint", "type": "server_error"}, (400, None, "invalid_request_error")),
        (500, {"code": 500, "message": "broke", "type": "server_error"}, (500, None, "server_error")),
        (502, "nonsense", (502, None, "server_error")),
    ],
)  # fmt: skip
def test_errors_of_llama_cpp_become_openai_shaped(
    status: int, raw: object, expected: tuple[int, str | None, str]
) -> None:
    error = _api_error(status, json.dumps({"error": raw} if raw != "nonsense" else raw).encode())
    assert (error.status, error.code, error.kind) == expected


def test_onnx_does_not_chat(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="OnnxRuntime serves tasks Embed and Rerank only"):
        load_engine(serve_args(tmp_path / "token", engine="OnnxRuntime"))


@given(st.lists(st.integers(1, 512), max_size=60))
def test_batches_hold_each_text_once_within_bounds(lengths: list[int]) -> None:
    batches = plan_batches(lengths)
    assert sorted(n for batch in batches for n in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= MOST_TEXTS
        assert len(batch) == 1 or len(batch) * max(lengths[n] for n in batch) <= MOST_TOKENS
