"""./hack/up: from a bare machine to an answered question, each step as soon as what it needs is there."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hearth_hack import binaries as builds
from hearth_hack import quickstart
from hearth_hack.baseimage import ensure_base
from hearth_hack.binaries import Binaries
from hearth_hack.cluster import connect, prepare_site, start_cluster
from hearth_hack.envfile import link_commands, write_environment
from hearth_hack.golang import find_go
from hearth_hack.images import DEFAULT_IMAGES, Image, build_image, import_images
from hearth_hack.machine import read_machine
from hearth_hack.network import cluster_network
from hearth_hack.node import Site
from hearth_hack.packages import install_packages
from hearth_hack.paths import Paths, default_paths
from hearth_hack.processes import end_running
from hearth_hack.progress import show
from hearth_hack.quickstart import Answer
from hearth_hack.release import NAMESPACE, HelmTarget, gateway_url, install_release, local_values
from hearth_hack.sample import copy_sample
from hearth_hack.steps import Say, Step, StepFailedError, run_steps
from hearth_hack.tools import TOOLS
from hearth_hack.upcontext import ContextRun, context_steps, print_context
from hearth_hack.volumes import make_folder
from hearth_hack.waiting import Target, missing_deployments, wait_for

WORKLOADS = ("hearth-operator", "hearth-gateway", "hearth-knowledge")
NETWORK_REMEDY = "Is there a network? Run ./hack/up again: it goes on where it stopped."
RETRY_REMEDY = "Read the log, then run ./hack/up again: it goes on where it stopped."
CLUSTER_REMEDY = "Run ./hack/down, then ./hack/up again; images and data are kept."


@dataclass(slots=True)
class Run:
    """What the steps of one run hand to each other."""

    paths: Paths
    environ: Mapping[str, str]
    base: str = ""
    site: Site | None = None
    images: dict[str, Image] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    api_key: str = ""
    answers: list[Answer] = field(default_factory=list)
    ask: bool = False
    changed: bool = False

    @property
    def url(self) -> str:
        """Return where the host reaches the gateway."""
        return gateway_url(cluster_network(self.environ).node)

    @property
    def binaries(self) -> Binaries:
        """Return the programs that are built so far."""
        return builds.link_tools(self.paths)

    def running(self) -> Site:
        """The started cluster; steps that ask for it need the step `cluster`."""
        if self.site is None:
            raise RuntimeError("the cluster has not been started")
        return self.site

    def packages(self, say: Say) -> None:
        """Install Debian packages."""
        if installed := install_packages(paths=self.paths):
            say(f"installed {', '.join(installed)}")

    def sources(self, say: Say) -> None:
        """Download the sources of what is not built."""
        missing = [tool for tool in TOOLS if not builds.is_built(tool, paths=self.paths)]
        if missing:
            say(f"Go: {find_go(self.paths.cache)}")
        for tool in missing:
            say(f"sources of {tool.module}")
            builds.download_modules(tool, paths=self.paths)

    def kubernetes(self, say: Say) -> None:
        """Build Kubernetes."""
        say("compiling")
        builds.ensure_binaries(["kubernetes"], paths=self.paths)

    def tools(self, say: Say) -> None:
        """Build everything else."""
        for tool in TOOLS:
            if tool.module != "kubernetes":
                say(tool.module)
                builds.ensure_binaries([tool.module], paths=self.paths)

    def base_image(self, say: Say) -> None:
        """Make or name the images' base."""
        say("debootstrap")
        self.base = ensure_base(paths=self.paths, environ=self.environ)

    def build_images(self, say: Say) -> None:
        """Build the images."""
        for name in DEFAULT_IMAGES:
            say(name)
            self.images[name] = build_image(name, base=self.base, paths=self.paths)

    def cluster(self, say: Say) -> None:
        """Start Kubernetes."""
        builds.drop_module_cache(self.paths)
        found = read_machine(self.paths.record)
        before = found.alive() if found else ()
        self.site = start_cluster(paths=self.paths, binaries=self.binaries, environ=self.environ, say=say)
        after = read_machine(self.paths.record)
        self.changed = after is None or set(after.daemons) != set(before)
        link_commands(paths=self.paths, binaries=self.binaries)

    def import_images(self, say: Say) -> None:
        """Hand the images to containerd."""
        say("handing over to containerd")
        import_images(list(self.images.values()), binaries=self.binaries, paths=self.paths)

    def data(self, say: Say) -> None:
        """Put the sample into HEARTH_DATA."""
        if copy_sample(self.paths):
            say(f"copied the sample to {self.paths.data}")

    def release(self, say: Say) -> None:
        """Install the chart and wait for the operator."""
        say("helm")
        kube = connect(self.running())
        network = cluster_network(self.environ)
        values = local_values(
            list(self.images.values()),
            url=self.url,
            name_server=network.node,
            denied=(str(network.pods), str(network.services)),
        )
        target = HelmTarget(
            helm=self.binaries.path("helm"),
            chart=self.paths.repo / "charts" / "hearth",
            kubeconfig=self.paths.kubeconfig,
            folder=self.paths.config,
            log=self.paths.logs / "helm.log",
        )
        if install_release(kube, values=values, target=target):
            self.changed = True
        wait_for(lambda: missing_deployments(kube, namespace=NAMESPACE, names=WORKLOADS[:1]), seconds=180, say=say)

    def resources(self, say: Say) -> None:
        """Apply the quickstart and wait for its models."""
        kube = connect(self.running())
        self.targets = quickstart.apply_quickstart(kube, paths=self.paths)
        wait_for(lambda: missing_deployments(kube, namespace=NAMESPACE, names=WORKLOADS), seconds=240, say=say)
        self.api_key = quickstart.read_api_key(kube, file=self.paths.local / "hearth.env")
        write_environment(paths=self.paths, url=self.url, api_key=self.api_key)
        kinds = ("InferenceNode", "ModelDeployment", "KnowledgeBase")
        quickstart.wait_ready(kube, self.targets, kinds=kinds, say=say)

    def ingestion(self, say: Say) -> None:
        """Wait for the sources' reports and the index."""
        kube = connect(self.running())
        quickstart.wait_ingested(kube, self.targets, say=say)
        quickstart.wait_ready(kube, self.targets, kinds=("IngestionSource", "KnowledgeBase"), say=say)
        if self.changed:
            wait_for(self.unanswered, seconds=180, say=say)

    def unanswered(self) -> list[str]:
        """Return why a question cannot be asked yet, if so."""
        reason = quickstart.describe_service(url=self.url, api_key=self.api_key)
        return [reason] if reason else []

    def questions(self, say: Say) -> None:
        """Ask."""
        if not self.changed and not self.ask:
            return
        for question in quickstart.sample_questions(self.paths):
            say(question)
            self.answers.append(quickstart.ask(question, url=self.url, api_key=self.api_key))


def cluster_steps(run: Run) -> list[Step]:
    """What a plain Kubernetes needs."""
    return [
        Step("packages", "Debian packages", run.packages, remedy=NETWORK_REMEDY),
        Step("sources", "Go sources", run.sources, remedy=NETWORK_REMEDY),
        Step("kubernetes", "Build Kubernetes", run.kubernetes, needs=("sources",), heavy=True, remedy=RETRY_REMEDY),
        Step("tools", "Build etcd, containerd, ...", run.tools, needs=("sources",), heavy=True, remedy=RETRY_REMEDY),
        Step(
            "cluster",
            "Kubernetes",
            run.cluster,
            needs=("packages", "kubernetes", "tools"),
            remedy=CLUSTER_REMEDY,
        ),
    ]


def hearth_steps(run: Run, *, ask: bool) -> list[Step]:
    """Hearth on top of it."""
    logs = (
        "kubectl get pods,hearth shows the state and kubectl logs deploy/hearth-operator what the operator says"
        " (after: . .local/hearth.env)."
    )
    steps = [
        Step("base", "Base image", run.base_image, needs=("packages",), remedy=NETWORK_REMEDY),
        # Mostly downloads and copies: beside the two compilers they cost little, after them they would cost minutes.
        Step("images", "Build images", run.build_images, needs=("base",), remedy=RETRY_REMEDY),
        Step("import", "Import images", run.import_images, needs=("cluster", "images"), remedy=CLUSTER_REMEDY),
        Step("data", "Sample data", run.data, remedy=RETRY_REMEDY),
        Step("release", "Helm release", run.release, needs=("import", "data"), remedy=logs),
        Step("resources", "Models and knowledge base", run.resources, needs=("release",), remedy=logs),
        Step("ingestion", "Mail and documents", run.ingestion, needs=("resources",), remedy=logs),
    ]
    if ask:
        steps.append(Step("questions", "Three questions", run.questions, needs=("ingestion",), remedy=logs))
    return steps


def print_times(steps: Sequence[Step], *, times: Mapping[str, float], total: float) -> None:
    """Print each step's time."""
    print()
    for step in steps:
        print(f"  {step.title:<28} {times[step.name]:7.1f} s")
    print(f"  {'total (steps overlap)':<28} {total:7.1f} s")


def print_answers(answers: Sequence[Answer], *, asked: bool) -> None:
    """Print questions, answers and citations."""
    if asked and not answers:
        print("\nEverything was up already. ./hack/up --ask asks the three questions again.")
    for answer in answers:
        print(f"\nQ: {answer.question}")
        text = "\n   ".join(line for line in answer.text.splitlines() if line.strip())
        print(f"A: {text}    ({answer.seconds:.1f} s)")
        for number, (title, url) in enumerate(answer.citations, start=1):
            print(f"   [{number}] {title}  {url}")


def print_summary(run: Run, *, only_cluster: bool) -> None:
    """Print where everything is."""
    local = run.paths.local.relative_to(run.paths.repo)
    print()
    if not only_cluster:
        print(f"HEARTH_URL   {run.url}   (OpenAI base URL: {run.url}/v1, model {quickstart.MODEL})")
        print("API key      in .local/hearth.env and, until you delete it, in Secret hearth-admin-key")
        print(f"HEARTH_DATA  {run.paths.data}   (drop an export here and name it in an IngestionSource)")
        print(f"kubectl      . {local}/hearth.env && kubectl get hearth")
    else:
        print(f"kubectl      export KUBECONFIG={run.paths.kubeconfig} PATH={run.paths.bin}:$PATH")
    print("stop         ./hack/down")


def is_up(run: Run) -> bool:
    """Whether this checkout's daemons all live and its gateway answers."""
    machine = read_machine(run.paths.record)
    if machine is None or machine.checkout != str(run.paths.repo) or not machine.daemons:
        return False
    if len(machine.alive()) < len(machine.daemons) or not (run.paths.local / "hearth.env").exists():
        return False
    network = cluster_network(run.environ)
    kube = connect(prepare_site(paths=run.paths, binaries=run.binaries, network=network))
    return not missing_deployments(kube, namespace=NAMESPACE, names=WORKLOADS)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="hack/up", description="Start Hearth on a cluster of its own on this machine."
    )
    parser.add_argument("--cluster-only", action="store_true", help="only Kubernetes, without images and Hearth")
    parser.add_argument("--no-ask", action="store_true", help="do not ask the three questions")
    parser.add_argument("--ask", action="store_true", help="ask them although everything was up already")
    parser.add_argument(
        "--status", action="store_true", help="exit 0 when everything is up, 1 otherwise; change nothing"
    )
    foreign = parser.add_argument_group("a cluster that exists already")
    foreign.add_argument("--context", metavar="NAME", help="install there: a context of your kubeconfig")
    foreign.add_argument("--registry", metavar="HOST/PATH", help="push the images there; the nodes pull from it")
    foreign.add_argument("--plain-http", action="store_true", help="the registry has no TLS")
    foreign.add_argument("--images-loaded", action="store_true", help="the nodes have the images already")
    foreign.add_argument("--values", metavar="FILE", type=Path, action="append", help="more chart values")
    arguments = parser.parse_args(argv)
    alone = {"--registry": arguments.registry, "--images-loaded": arguments.images_loaded, "--values": arguments.values}
    for flag, given in alone.items():
        if given and not arguments.context:
            parser.error(f"{flag} goes with --context")
    return arguments


def main(argv: Sequence[str]) -> int:
    """The command line."""
    arguments = parse_arguments(argv)
    run = Run(paths=default_paths(), environ=os.environ, ask=arguments.ask)
    if arguments.status:
        up = is_up(run)
        print("up" if up else "not up")
        return 0 if up else 1
    run.paths.logs.mkdir(parents=True, exist_ok=True)
    make_folder(run.paths.data)
    if arguments.context:
        return up_context(ContextRun(paths=run.paths, environ=run.environ, arguments=arguments))
    steps = cluster_steps(run)
    if not arguments.cluster_only:
        steps += hearth_steps(run, ask=not arguments.no_ask)
    began = time.monotonic()
    times = carry_out(steps, logs=run.paths.logs)
    print_times(steps, times=times, total=time.monotonic() - began)
    print_answers(run.answers, asked=not arguments.cluster_only and not arguments.no_ask)
    print_summary(run, only_cluster=arguments.cluster_only)
    return 0


def up_context(run: ContextRun) -> int:
    """The same on a cluster that exists already."""
    steps = context_steps(run)
    began = time.monotonic()
    try:
        times = carry_out(steps, logs=run.paths.logs, always=run.close)
    finally:
        run.close()
    print_times(steps, times=times, total=time.monotonic() - began)
    print_answers(run.answers, asked=not run.arguments.no_ask)
    print_context(run)
    return 0


def carry_out(steps: Sequence[Step], *, logs: Path, always: Callable[[], None] = lambda: None) -> Mapping[str, float]:
    """Run the steps and return their times. After a failure the process ends here, having called `always`."""
    # Told to end, up also ends the builds that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with show(steps) as reporter:
            return run_steps(steps, reporter=reporter)
    except StepFailedError as failure:
        end_running()
        always()
        print(f"\nhack/up: {failure}\n\nLogs: {logs}\n{failure.step.remedy}", file=sys.stderr, flush=True)
        os._exit(1)  # threads of other steps may still wait for programs that were ended
    except KeyboardInterrupt:
        end_running()
        always()
        print("\nhack/up: interrupted; run it again to go on.", file=sys.stderr, flush=True)
        os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
