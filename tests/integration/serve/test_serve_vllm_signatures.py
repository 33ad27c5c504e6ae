"""What engine VLLM asks of vLLM exists in the version that uv.lock names: every import, call, argument and field.

vLLM serves on CUDA only and is too large to install for a look. Its own sources are typed, so the type checker that
checks Hearth checks Hearth's calls against them: each name, each keyword, each attribute of what comes back. The
sources are read out of the locked wheel and never run.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hearth_hack.paths import REPO, default_paths
from hearth_hack.wheelsources import fetch_sources, locked_wheel

pytestmark = [pytest.mark.timeout(600)]

ENGINES = REPO / "services/serve/src/hearth_serve/engines"
SETTINGS = """\
[mypy]
python_version = 3.11
follow_imports = silent
ignore_missing_imports = True
explicit_package_bases = True
namespace_packages = True
warn_unused_ignores = False
strict_optional = True
mypy_path = {path}
[mypy-torch.*,transformers.*]
follow_imports = skip
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[str]]:
    """Return what tells a file's disagreements with vLLM."""
    cache = default_paths().cache
    lock = REPO / "uv.lock"
    vllm = fetch_sources(locked_wheel(lock, "vllm", fits="x86_64"), cache)
    # Its parameters are structs of msgspec, whose types say which fields they take.
    msgspec = fetch_sources(locked_wheel(lock, "msgspec", fits=f"cp3{sys.version_info.minor}-manylinux"), cache)
    folder = tmp_path_factory.mktemp("signatures")
    # Two folders under one root: mypy takes neither from an environment.
    sources = [vllm, msgspec, REPO / "services/serve/src", REPO / "crds/src"]
    (folder / "mypy.ini").write_text(SETTINGS.format(path=":".join(str(source) for source in sources)))

    def told(*files: Path) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", folder / "mypy.ini", "--cache-dir", folder / "mypy", *files],
            capture_output=True, text=True, check=False, cwd=folder,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if ": error: " in line]

    return told


def test_vllm_has_all_that_is_asked_of_it(check: Callable[..., list[str]]) -> None:
    assert check(ENGINES / "vllm.py", ENGINES / "vllm_encode.py") == []


WRONG = {
    "AsyncEngineArgs(\n        model=": "AsyncEngineArgs(\n        modell=",
    "detokenize=False": "detokenise=False",
    "StructuredOutputsParams(json=": "StructuredOutputsParams(schema=",
    "part.token_ids": "part.tokens",
    "self._engine.check_health()": "self._engine.is_healthy()",
    "TokensPrompt(prompt_token_ids=": "TokensPrompt(tokens=",
    "RequestOutputKind.DELTA": "RequestOutputKind.PARTS",
    "import VLLMClientError": "import VLLMCallerError",
    "engine.model_config.get_hidden_size()": "engine.model_config.hidden_size()",
    "sampling_parameters(job), name)": "sampling_parameters(job))",
}


def test_the_check_sees_each_kind_of_mistake(check: Callable[..., list[str]], tmp_path: Path) -> None:
    """A checker that finds nothing proves nothing: it is shown one mistake of each kind."""
    text = (ENGINES / "vllm.py").read_text()
    copies = []
    for number, (right, wrong) in enumerate(WRONG.items()):
        assert right in text, right
        copies.append(tmp_path / f"mistake_{number}.py")
        copies[-1].write_text(text.replace(right, wrong))
    seen = {Path(line.partition(":")[0]).name for line in check(*copies)}
    assert seen == {copy.name for copy in copies}
    shutil.rmtree(tmp_path)
