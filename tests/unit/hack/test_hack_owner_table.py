"""The owner's table: which figure belongs to which mark, and what was not measured says so."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "hack/bench/serve"))

from asking import Taken
from owner import MARKS, Reached, kept, long_prompt, read_kept, table, total_rate


def reached(**figures: float) -> Reached:
    given = {"first_ms_p50": 80.0, "first_ms_p95": 120.5, "prompt_tokens_s": 4000.0, **figures}
    return Reached(measured_on="2026-11-24", model="llama", clients=64, rounds=3, **given)


def cells(text: str, row: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_4090_is_held_against_all_clients_together_and_the_mac_against_one() -> None:
    found = reached(tokens_s_alone=99.0, tokens_s_together=1840.0)
    text = table({"4090-8b": found, "m3-ultra-8b": found})
    assert cells(text, "4090-8b")[3:6] == ["2,300, all clients", "1,840.0", "80%"]
    assert cells(text, "m3-ultra-8b")[3:6] == ["110, 1 client", "99.0", "90%"]
    assert cells(text, "m3-ultra-8b")[6:] == ["64", "99.0", "1,840.0", "80.0 / 120.5", "4,000.0"]


def test_rows_without_a_figure_say_so_and_have_none() -> None:
    text = table({})
    assert len(text.splitlines()) == 2 + len(MARKS)
    for row in MARKS:
        assert cells(text, row)[4:] == ["not measured"] + [""] * 6
    assert {line.count("|") for line in text.splitlines()} == {12}


def test_an_endpoint_without_a_mark_is_shown_below_and_compared_with_nothing() -> None:
    text = table({"chat": reached(tokens_s_alone=12.0, tokens_s_together=30.0)})
    assert text.splitlines()[-1].startswith("| chat |")
    assert cells(text, "chat")[3:6] == ["no mark", "", ""]


def test_what_is_kept_is_read_back_whole() -> None:
    before = {"4090-8b": reached(tokens_s_alone=99.0, tokens_s_together=1840.0)}
    assert read_kept(kept(before)) == before


def test_the_rate_of_one_answer_begins_with_its_first_token_and_that_of_many_does_not() -> None:
    one = Taken(first=1.0, whole=3.0, tokens=201, prompt_tokens=5)
    assert one.rate == pytest.approx(100)
    assert total_rate([one, one], seconds=4.0) == pytest.approx(100.5)


def test_two_prompts_share_no_beginning() -> None:
    chance = random.Random(1)
    first, second = long_prompt(chance, words=50), long_prompt(chance, words=50)
    assert len(first.split()) == 50
    assert first.split()[0] != second.split()[0]
