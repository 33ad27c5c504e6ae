"""Random changes of a small house, and what must be there once an operator has done all that they ask.

A change that would take away an earlier one before anybody saw it (a second restart, a second run asked for) waits
until the first was acted upon: the API promises nothing of values that nobody could have seen.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hearth_operator import names
from support.operator_kills import count_of
from support.operator_mortal import MACHINES, Mortal, external, model, resource
from support.operator_outside import finish_job
from support.operator_told import Bad

REPORT = {
    "outcome": "Succeeded",
    "counts": {"added": 1, "updated": 0, "deleted": 0, "unchanged": 0, "quarantined": 0, "failed": 0},
    "bytes": 1,
}
MODELS, BASES, SOURCES = 5, 2, 3
RESTART, RUN_NOW = names.ANNOTATION_RESTART, names.ANNOTATION_RUN_NOW
PLURALS = {names.MODEL: "mdep", names.KNOWLEDGE_BASE: "kb", names.SOURCE: "isrc"}


@dataclass
class Model:
    """A model as it was written last."""

    node: int
    count: int = 1
    context: int = 256
    suspend: bool = False
    good: int = 0
    """The counter of what served when a bad revision was asked for; 0: this one is good."""

    @property
    def serves(self) -> int:
        """The counter of what is to serve in the end."""
        return self.good or self.count


@dataclass
class Changes:
    """Changes resources, and remembers what was asked."""

    mortal: Mortal
    chance: random.Random
    models: dict[str, Model] = field(default_factory=dict)
    bases: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    restarts: dict[str, int] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    gone: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in PLURALS})
    bad: list[Bad] = field(default_factory=list)
    made: int = 0
    _number: int = 0
    _finished: set[str] = field(default_factory=set)

    async def build(self) -> None:
        """Create the house."""
        stage = self.mortal.stage
        await self._kubectl("create", "secret", "generic", "machine", "--from-literal=token=s")
        nodes = [external(number, url) for number, url in enumerate(self.mortal.urls)]
        embed = model("embed", node=0, count=0, context=256)
        await asyncio.to_thread(stage.apply, *nodes, embed)
        for _ in range(MODELS):
            await self._new_model()
        for _ in range(BASES):
            await self._new_base()
        for _ in range(SOURCES):
            await self._new_source()

    async def change(self) -> None:
        """Make one change."""
        acts = (self._change_model, self._spoil, self._restart, self._change_base, self._run_now, self._replace)
        act = self.chance.choices(acts, weights=(8, 4, 2, 2, 3, 2))[0]
        if await act():
            self.made += 1

    async def end_jobs(self) -> None:
        """Play kubelet: end what runs, and remember every Job that there ever was."""
        kube = self.mortal.stage.kube
        for job in await kube.list_all("Job"):
            name, owner = job["metadata"]["name"], job["metadata"]["labels"].get(names.LABEL_NAME, "")
            self.mortal.history.jobs.setdefault(owner, set()).add(job["metadata"]["uid"])
            if name in self._finished or job["metadata"].get("deletionTimestamp"):
                continue
            if await kube.list_all("Pod", labels={"batch.kubernetes.io/job-name": name}):
                self._finished.add(name)
                now = datetime.now(UTC).isoformat()
                report = {**REPORT, "started": now, "finished": now}
                await finish_job(kube, name, namespace=self.mortal.stage.namespace, report=report, seconds=60)

    def wanted(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Return what each machine is to have: (counter, context tokens) by application."""
        found: dict[str, dict[str, tuple[int, int]]] = {str(number): {} for number in range(MACHINES)}
        found["0"]["embed.only"] = (0, 256)
        for name, one in self.models.items():
            if not one.suspend:
                found[str(one.node)][f"{name}.only"] = (one.serves, one.context)
        return found

    async def _new_model(self) -> None:
        name = self._name("model")
        self.models[name] = Model(node=self.chance.randrange(MACHINES))
        self.restarts[name] = 0
        await self._write(name)

    async def _new_base(self) -> None:
        name = self._name("base")
        self.bases.add(name)
        spec = {"embedding": {"model": "embed"}, "deletionPolicy": "Delete"}
        await asyncio.to_thread(self.mortal.stage.apply, resource(names.KNOWLEDGE_BASE, name, spec))

    async def _new_source(self) -> None:
        name = self._name("source")
        self.sources.add(name)
        self.runs[name] = 1  # a source that never ran starts by itself
        spec = {
            "knowledgeBaseRef": {"name": min(self.bases)},
            "type": "Email",
            "email": {"path": f"{name}.mbox"},
            "deletionPolicy": "Delete",
        }
        await asyncio.to_thread(self.mortal.stage.apply, resource(names.SOURCE, name, spec))

    async def _change_model(self) -> bool:
        name = self.chance.choice(sorted(self.models))
        one = self.models[name]
        match self.chance.choice(("in place", "in place", "reload", "move", "suspend")):
            case "reload":
                one.context += 16
            case "move":
                one.node = (one.node + 1) % MACHINES
            case "suspend":
                one.suspend = not one.suspend
        one.count += 1
        one.good = 0
        await self._write(name)
        return True

    async def _spoil(self) -> bool:
        """Ask for a revision that fails, of a model whose present one serves and is kept as good."""
        name = self.chance.choice(sorted(self.models))
        one = self.models[name]
        if one.suspend or one.good:
            return False
        live = self.mortal.fakes[one.node].apps.get(f"{name}.only")
        kept = await self.mortal.stage.kube.get("ConfigMap", f"hearth-rollout-{name}")
        good = json.loads(kept["data"].get("only") or "{}").get("good") if kept else None
        if live is None or good is None or count_of(live) != one.count or count_of(good) != one.count:
            return False
        if good["args"] != live["args"] or live["args"]["contextTokens"] != one.context:
            return False
        one.good, one.count = one.count, one.count + 1
        self.bad.append(Bad(app=f"{name}.only", count=one.count, before=one.good, good=good["args"]))
        await self._write(name)
        return True

    async def _write(self, name: str) -> None:
        one = self.models[name]
        wish = model(name, node=one.node, count=one.count, context=one.context, suspend=one.suspend, bad=bool(one.good))
        await asyncio.to_thread(self.mortal.stage.apply, wish)

    async def _restart(self) -> bool:
        name = self.chance.choice(sorted(self.models))
        seen = await self._seen(names.MODEL, name)
        asked = seen["metadata"].get("annotations", {}).get(RESTART)
        if self.models[name].suspend or self.models[name].good or asked != seen["status"].get("lastRestart"):
            return False
        self.restarts[name] += 1
        await self._annotate("mdep", name, RESTART, str(self.restarts[name]))
        # A suspension before it was seen would take it back.
        await self.mortal.stage.until(lambda: self._acted(names.MODEL, name, "lastRestart"), seconds=120)
        return True

    async def _change_base(self) -> bool:
        name, self._number = self.chance.choice(sorted(self.bases)), self._number + 1
        patch = json.dumps({"spec": {"chunking": {"overlapTokens": self._number % 60}}})
        await self._kubectl("patch", "kb", name, "--type=merge", "-p", patch)
        return True

    async def _run_now(self) -> bool:
        name = self.chance.choice(sorted(self.sources))
        if not await self._idle(name):
            return False
        self.runs[name] += 1
        await self._annotate("isrc", name, RUN_NOW, str(self.runs[name]))
        return True

    async def _idle(self, source: str) -> bool:
        """Whether all runs that a source was asked for came to their end, and are known to."""
        seen = await self._seen(names.SOURCE, source)
        status = seen["status"]
        asked = seen["metadata"].get("annotations", {}).get(RUN_NOW, "first")
        jobs = self.mortal.history.jobs.get(source, ())
        return (
            status.get("lastRunNow") == asked and not status.get("activeJob") and len(jobs) == self.runs[source]
            and bool(status.get("lastRun"))
        )  # fmt: skip

    async def _replace(self) -> bool:
        """Delete something for good, and make another of its kind."""
        kind = self.chance.choice(sorted(PLURALS))
        if kind == names.MODEL:
            name = self.chance.choice(sorted(self.models))
            del self.models[name]
            again = self._new_model
        elif kind == names.SOURCE:
            name = self.chance.choice(sorted(self.sources))
            if not await self._idle(name):
                return False
            self.sources.discard(name)
            again = self._new_source
        else:
            name = max(self.bases)  # the first one has the sources
            self.bases.discard(name)
            again = self._new_base
        self.gone[kind].add(name)
        await self._kubectl("delete", PLURALS[kind], name, "--wait=false")
        await again()
        return True

    def _name(self, what: str) -> str:
        self._number += 1
        return f"{what}-{self._number:04d}"

    async def _annotate(self, plural: str, name: str, key: str, value: str) -> None:
        await self._kubectl("annotate", plural, name, f"{key}={value}", "--overwrite")

    async def _acted(self, kind: str, name: str, field_: str) -> bool:
        seen = await self._seen(kind, name)
        return bool(seen["status"].get(field_) == seen["metadata"]["annotations"][RESTART])

    async def _seen(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.mortal.stage.kube.get(kind, name)
        return found

    async def _kubectl(self, *arguments: str) -> None:
        await asyncio.to_thread(self.mortal.stage.kubectl, *arguments)
