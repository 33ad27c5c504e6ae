"""What the examples say of packaged models is true of the packages that are locked."""

import hashlib
from importlib import metadata
from pathlib import Path

import pytest

from hearth_api.kinds import ModelDeployment
from hearth_api.parse import parse_file

EXAMPLES = Path(__file__).resolve().parents[3] / "crds/examples"
PACKAGED = [
    pytest.param(variant.model, id=f"{path.relative_to(EXAMPLES).as_posix()} {variant.name}")
    for path in sorted(EXAMPLES.rglob("*.yaml"))
    for resource in parse_file(path)
    if isinstance(resource, ModelDeployment)
    for variant in resource.spec.variants
    if variant.model.source.startswith("package://")
]


@pytest.mark.parametrize("model", PACKAGED)
def test_packaged_model_has_one_file_and_the_declared_digest(model) -> None:
    name, _, path = model.source.removeprefix("package://").partition("/")
    files = metadata.distribution(name).files or []
    found = [file for file in files if str(file) == path or (not path and file.suffix in {".gguf", ".onnx"})]
    assert len(found) == 1
    if model.sha256 is not None:
        with Path(str(found[0].locate())).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == model.sha256
