"""`hearth-node upgrade`: another release beside the one that runs, and back again where it does not answer."""

from collections.abc import Callable

from hearth_node.ask import AskError, wait_ready
from hearth_node.config import NodeConfig, Paths
from hearth_node.errors import NodeError
from hearth_node.join import switch
from hearth_node.service import remove_tree, restart_service

READY_SECONDS = 120.0


def upgrade(
    config: NodeConfig,
    paths: Paths,
    *,
    release: str,
    seconds: float = READY_SECONDS,
    restart: Callable[[NodeConfig, Paths], None] = restart_service,
    tell: Callable[[str], None] = print,
) -> None:
    """Switch to a release that lies in `releases`. Raises NodeError; then the former one runs again."""
    before = paths.release()
    if before is None:
        raise NodeError("no release runs here: run hack/node/join")
    if before == release:
        raise NodeError(f"release {release} runs already")
    if not (paths.releases / release).is_dir():
        raise NodeError(f"there is no release {release} in {paths.releases}")
    tell(f"switch from {before} to {release}")
    try:
        _start(config, paths, release=release, seconds=seconds, restart=restart)
    except (AskError, NodeError) as error:
        tell(f"{release} does not answer ({error}): back to {before}")
        try:
            _start(config, paths, release=before, seconds=seconds, restart=restart)
        except (AskError, NodeError) as second:
            raise NodeError(
                f"neither {release} nor {before} answers ({second}): run hack/node/doctor; the log is "
                f"{paths.var / 'ray.log'}"
            ) from second
        remove_tree(paths.releases / release)
        raise NodeError(f"release {release} did not answer within {seconds:.0f} s, so {before} runs again") from error
    for old in sorted(paths.releases.iterdir()):
        if old.name not in {release, before}:
            tell(f"remove {old}")
            remove_tree(old)


def _start(
    config: NodeConfig, paths: Paths, *, release: str, seconds: float, restart: Callable[[NodeConfig, Paths], None]
) -> None:
    switch(paths, release)
    restart(config, paths)
    wait_ready(config, paths, release=release, seconds=seconds)
