"""./hack/up --context NAME: the release, the quickstart and the three questions on a cluster that exists already."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from hearth_hack import binaries as builds
from hearth_hack import foreign, quickstart
from hearth_hack.certs import write_private
from hearth_hack.envfile import environment_text
from hearth_hack.foreign import Context, ContextError
from hearth_hack.images import DEFAULT_IMAGES, REGISTRY, Image, build_all, push_image, write_archive
from hearth_hack.kube import Kube
from hearth_hack.packages import install_packages
from hearth_hack.paths import Paths
from hearth_hack.processes import ProcessRecord, run_logged, stop_process
from hearth_hack.quickstart import Answer
from hearth_hack.release import NAMESPACE, HelmTarget, install_release
from hearth_hack.steps import Say, Step
from hearth_hack.waiting import Target, missing_deployments, wait_for

WORKLOADS = ("hearth-operator", "hearth-gateway", "hearth-knowledge")
NO_WAY = (
    "nobody here knows how to bring images to the nodes of context {name}: give --registry HOST/PATH to push to, or"
    " write archives with ./hack/images save, import them on the nodes (k3s ctr images import FILE) and add"
    " --images-loaded"
)


@dataclass(slots=True)
class ContextRun:
    """What the steps of one run hand to each other."""

    paths: Paths
    environ: Mapping[str, str]
    arguments: argparse.Namespace
    context: Context | None = None
    proxy: ProcessRecord | None = None
    images: list[Image] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    url: str = ""
    api_key: str = ""
    answers: list[Answer] = field(default_factory=list)

    @property
    def opened(self) -> Context:
        """Return the context; steps that ask for it need the step `context`."""
        if self.context is None:
            raise RuntimeError("the context has not been opened")
        return self.context

    @property
    def registry(self) -> str:
        """Return where the nodes find the images."""
        return str(self.arguments.registry or REGISTRY)

    def kube(self) -> Kube:
        """Return a client through the proxy."""
        return Kube(f"unix://{self.opened.socket}")

    def open(self, say: Say) -> None:
        """Look at the cluster before anything is built."""
        self.context = foreign.open_context(self.arguments.context, paths=self.paths, environ=self.environ)
        say(f"Kubernetes {foreign.check_reach(self.context)}")
        ways = self.arguments.registry or self.arguments.images_loaded or foreign.find_loader(self.context)
        if not ways:
            raise ContextError(NO_WAY.format(name=self.context.name))
        self.proxy = foreign.start_proxy(self.context)

    def tools(self, say: Say) -> None:
        """Build Helm."""
        say("helm")
        builds.ensure_binaries(["helm"], paths=self.paths)

    def build(self, say: Say) -> None:
        """Build the images."""
        install_packages(paths=self.paths)
        say("images")
        self.images = build_all(DEFAULT_IMAGES, paths=self.paths)

    def deliver(self, say: Say) -> None:
        """Push or load them."""
        if self.arguments.registry:
            for image in self.images:
                say(f"pushing {image.name}")
                push_image(image, registry=self.registry, plain_http=self.arguments.plain_http, paths=self.paths)
            return
        loader = foreign.find_loader(self.opened)
        if self.arguments.images_loaded or loader is None:
            return
        with tempfile.TemporaryDirectory(dir=self.opened.folder) as scratch:
            for image in self.images:
                say(f"loading {image.name}")
                archive = Path(scratch) / f"{image.name}.tar"
                write_archive(image, file=archive, paths=self.paths)
                foreign.load_archives([archive], loader=loader, context=self.opened)
                archive.unlink()

    def release(self, say: Say) -> None:
        """Install the chart."""
        say("helm")
        target = HelmTarget(
            helm=builds.ensure_binaries(["helm"], paths=self.paths).path("helm"),
            chart=self.paths.repo / "charts" / "hearth",
            kubeconfig=self.opened.kubeconfig,
            folder=self.opened.folder,
            log=self.opened.folder / "helm.log",
            files=tuple(self.arguments.values or ()),
        )
        values = foreign.context_values(self.images, registry=self.registry)
        install_release(self.kube(), values=values, target=target)
        operator = WORKLOADS[:1]
        wait_for(lambda: missing_deployments(self.kube(), namespace=NAMESPACE, names=operator), seconds=300, say=say)

    def sample(self, say: Say) -> None:
        """Copy the sample."""
        say("copying the sample onto the claim hearth-data")
        control = next(image for image in self.images if image.name == "control")
        foreign.copy_sample(self.opened, image=f"{self.registry}/hearth-control:{control.tag}")

    def resources(self, say: Say) -> None:
        """Apply the quickstart, wait for it, open the way to the gateway."""
        kube = self.kube()
        self.targets = quickstart.apply_quickstart(kube, paths=self.paths)
        wait_for(lambda: missing_deployments(kube, namespace=NAMESPACE, names=WORKLOADS), seconds=300, say=say)
        self.api_key = quickstart.read_api_key(kube, file=self.opened.environment)
        self.url = self._public_url() or foreign.start_forward(self.opened)
        text = environment_text(
            url=self.url,
            api_key=self.api_key,
            kubeconfig=self.opened.kubeconfig,
            data=None,
            bin_folder=self.paths.repo / ".venv/bin",
        )
        write_private(self.opened.environment, content=text.encode())
        kinds = ("InferenceNode", "ModelDeployment", "KnowledgeBase")
        quickstart.wait_ready(kube, self.targets, kinds=kinds, say=say)

    def _public_url(self) -> str:
        """Return gateway.publicURL of the owner's values."""
        for file in reversed(self.arguments.values or ()):
            values = yaml.safe_load(file.read_text()) or {}
            if url := values.get("gateway", {}).get("publicURL"):
                return str(url)
        return ""

    def ingestion(self, say: Say) -> None:
        """Wait for the sources."""
        kube = self.kube()
        quickstart.wait_ingested(kube, self.targets, say=say)
        quickstart.wait_ready(kube, self.targets, kinds=("IngestionSource", "KnowledgeBase"), say=say)

    def questions(self, say: Say) -> None:
        """Ask."""
        for question in quickstart.sample_questions(self.paths):
            say(question)
            self.answers.append(quickstart.ask(question, url=self.url, api_key=self.api_key))

    def close(self) -> None:
        """End the proxy; the port-forward stays for the user."""
        if self.proxy is not None:
            stop_process(self.proxy)


def context_steps(run: ContextRun) -> list[Step]:
    """What a cluster that exists needs."""
    logs = "kubectl -n hearth get pods,hearth shows the state. Run the command again: it goes on where it stopped."
    network = "Is there a network? Run the command again: it goes on where it stopped."
    steps = [
        Step("context", "Cluster", run.open, remedy="kubectl config get-contexts lists what there is."),
        Step("tools", "Build helm", run.tools, needs=("context",), heavy=True, remedy=network),
        Step("images", "Build images", run.build, needs=("context",), remedy=network),
        Step("deliver", "Bring images to the cluster", run.deliver, needs=("images",), remedy=network),
        Step("release", "Helm release", run.release, needs=("deliver", "tools"), remedy=logs),
        Step("sample", "Sample data", run.sample, needs=("release",), remedy=logs),
        Step("resources", "Models and knowledge base", run.resources, needs=("sample",), remedy=logs),
        Step("ingestion", "Ingestion", run.ingestion, needs=("resources",), remedy=logs),
    ]
    if not run.arguments.no_ask:
        steps.append(Step("questions", "Three questions", run.questions, needs=("ingestion",), remedy=logs))
    return steps


def print_context(run: ContextRun) -> None:
    """Print where everything is."""
    env = run.opened.environment.relative_to(run.paths.repo)
    print()
    print(f"HEARTH_URL   {run.url}   (OpenAI base URL: {run.url}/v1, model {quickstart.MODEL})")
    print(f"API key      in {env} and, until you delete it, in Secret hearth-admin-key")
    print(f"kubectl      . {env} && kubectl get hearth")
    if run.url.startswith("http://127.0.0.1"):
        print("reached by   kubectl port-forward, which goes on; ./hack/down --context ends it")
    print(f"stop         ./hack/down --context {run.arguments.context}   (claims, CRDs and resources stay)")


def down(name: str, *, paths: Paths, environ: Mapping[str, str]) -> int:
    """Uninstall the release. Data, CRDs and resources stay, as `helm uninstall` leaves them."""
    context = foreign.open_context(name, paths=paths, environ=environ)
    foreign.stop_forward(context)
    helm = builds.link_tools(paths).path("helm")
    run_logged(
        [str(helm), f"--kubeconfig={context.kubeconfig}", "uninstall", "hearth", "--namespace", NAMESPACE],
        log=context.folder / "helm.log",
    )
    shutil.rmtree(context.folder)
    print(
        f"The release is gone from {name}. Claims, CRDs and Hearth's resources stay: kubectl -n hearth get pvc,hearth"
    )
    return 0
