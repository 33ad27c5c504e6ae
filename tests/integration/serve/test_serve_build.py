"""Options of the application where the Serve config is silent, and refusals in one sentence."""

from pathlib import Path

import pytest

from hearth_serve.errors import StartError
from support.serve_fakes import serve_args

# Importing Ray Serve warns of its own pydantic fields.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def test_build_pins_and_bounds_even_where_the_config_is_silent(tmp_path: Path) -> None:
    from hearth_serve.app import build

    args = serve_args(tmp_path / "token", concurrency=3, max_waiting=2, num_cpus=0.5)
    deployment = build(args.to_json_object())._bound_deployment
    assert deployment.name == "Model"
    options = deployment.ray_actor_options
    assert options["label_selector"] == {"hearth-node": "home"}
    assert options["num_cpus"] == 0.5
    assert deployment.max_ongoing_requests == args.max_ongoing_requests == 3 + 2 + 16


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"engine": "Nope"}, "ServeArgs field 'engine'"),
        ({"surplus": 1}, "ServeArgs field 'surplus'"),
        ({"concurrency": 0}, "'concurrency'"),
    ],
)
def test_build_refuses_in_one_sentence(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    from hearth_serve.app import build

    with pytest.raises(StartError, match=sentence) as caught:
        build(serve_args(tmp_path / "token").to_json_object() | change)
    assert "\n" not in str(caught.value)
