"""`hearth-operator run` and `hearth-operator plan FILE...`."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from hearth_api.kinds import AnyResource, InferenceNode, IngestionSource
from hearth_api.parse import ParseError, parse_file
from hearth_common.logs import configure_logging
from hearth_operator.handlers.run import run_operator
from hearth_operator.manifests.node import build_node
from hearth_operator.manifests.source import build_source
from hearth_operator.plan.offline import explain, summarize
from hearth_operator.settings import Settings, SettingsError, from_environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="hearth-operator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="watch the namespace in HEARTH_NAMESPACE and reconcile until stopped")
    plan = commands.add_parser("plan", help="print what files would lead to, without a cluster")
    plan.add_argument("files", nargs="+", type=Path, metavar="FILE", help="YAML files or folders of them")
    plan.add_argument("--mirror", action="store_true", help="as in a release with a mirror of weights")
    chosen = parser.parse_args(arguments)
    if chosen.command == "run":
        return _run()
    return plan_files(chosen.files, mirror=chosen.mirror, out=sys.stdout, err=sys.stderr)


def _run() -> int:
    # The account of a restricted pod has no name, and kopf asks for one.
    os.environ.setdefault("LOGNAME", "hearth-operator")
    configure_logging("hearth-operator", level=os.environ.get("HEARTH_LOG_LEVEL", "INFO"))
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # signals are ours
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        print(f"hearth-operator: {error}", file=sys.stderr)
        return 2
    asyncio.run(_until_signal(settings))
    return 0


async def _until_signal(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_operator(settings, kubeconfig=os.environ.get("KUBECONFIG"), stop=stop)


def plan_files(files: Sequence[Path], *, out: TextIO, err: TextIO, mirror: bool = False) -> int:
    """Print the plan of all files together; return 1 and name the fields when one cannot be read."""
    resources: list[AnyResource] = []
    failed = False
    for file in _expand(files):
        try:
            resources.extend(parse_file(file))
        except ParseError as error:
            failed = True
            for problem in error.problems:
                print(f"{file}: {problem}", file=err)
        except OSError as error:
            failed = True
            print(f"{file}: {error.strerror}", file=err)
    if failed:
        return 1
    for sentence in explain(resources, mirror=mirror):
        print(sentence, file=out)
    settings = Settings(namespace="hearth", control_image="control", serve_image="serve")
    manifests = [
        manifest
        for resource in resources
        for manifest in (
            build_node(resource, settings=settings).all()
            if isinstance(resource, InferenceNode) and resource.spec.managed is not None
            else build_source(resource, settings=settings)
            if isinstance(resource, IngestionSource)
            else ()
        )
    ]
    if manifests:
        print("Objects:", file=out)
    for line in summarize(manifests):
        print(line, file=out)
    return 0


def _expand(files: Sequence[Path]) -> list[Path]:
    return [f for file in files for f in (sorted(file.glob("*.y*ml")) if file.is_dir() else [file])]


if __name__ == "__main__":
    sys.exit(main())
