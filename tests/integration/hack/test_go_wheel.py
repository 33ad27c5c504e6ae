"""A machine without Go: the wheel's compiler builds the smallest of the cluster's modules."""

import subprocess
from pathlib import Path

from hearth_hack.golang import go_environment, parse_version, wheel_go
from hearth_hack.paths import REPO


def test_the_wheel_brings_a_go_that_builds_a_tool(tmp_path: Path) -> None:
    go = wheel_go(tmp_path)
    told = subprocess.run([go, "version"], capture_output=True, text=True, check=True, cwd="/").stdout
    assert (parse_version(told) or (0, 0, 0)) >= (1, 27, 0)
    program = tmp_path / "pause"
    subprocess.run(
        [go, "build", "-o", program, "."],
        cwd=REPO / "hack" / "cluster" / "pause",
        env=go_environment(tmp_path, module="pause"),
        check=True,
        timeout=300,
    )
    assert program.stat().st_size > 100_000
