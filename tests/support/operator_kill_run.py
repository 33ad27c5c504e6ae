"""One run of kills under changes, up to the verdict: for the short one in CI and the long one in soak."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

from hearth_operator import names
from hearth_operator.settings import Intervals
from support.operator_changes import PLURALS, Changes
from support.operator_kills import check_end, check_jobs, check_observed, check_puts, check_restarts
from support.operator_mortal import Mortal, open_mortal
from support.operator_told import check_events, check_rollbacks, rolled_back


async def run_kills(stage: Any, *, seed: int, kills: int, seconds: float, intervals: Intervals, folder: Path) -> str:
    """Kill `kills` times, or for `seconds`; return what was done. Raises AssertionError with all that is wrong."""
    began = time.monotonic()
    async with open_mortal(stage, random.Random(f"{seed}-kills"), intervals, folder) as mortal:
        changes = Changes(mortal, random.Random(f"{seed}-changes"))
        await changes.build()
        over = asyncio.Event()
        driving = [asyncio.create_task(_repeat(act, over, pause)) for act, pause in
                   ((changes.change, 0.1), (changes.end_jobs, 0.3))]  # fmt: skip
        try:
            while sum(mortal.kills.values()) < kills and time.monotonic() - began < seconds:
                await mortal.live_and_die()
                for task in driving:
                    if task.done():
                        task.result()
            await mortal.begin()
        finally:
            over.set()
            await asyncio.gather(*driving)
        await _rest(changes)
        wrong = await _judge(changes)
    done = sum(mortal.kills.values())
    said = (
        f"seed {seed}: {done} kills ({', '.join(f'{n} {moment}' for moment, n in mortal.kills.items())}), "
        f"{changes.made} changes, {len(mortal.history.puts)} PUTs, {len(mortal.history.observed)} statuses seen, "
        f"{len(mortal.history.told)} Events, {rolled_back(mortal.history.puts, changes.bad)} of {len(changes.bad)} bad "
        "revisions taken back, "
        f"{time.monotonic() - began:.0f} s"
    )
    assert not wrong, f"{said}\n" + "\n".join(wrong)
    return said


async def _repeat(act: Any, over: asyncio.Event, pause: float) -> None:
    while not over.is_set():
        await act()
        await asyncio.sleep(pause)


async def _rest(changes: Changes) -> None:
    """Wait until everything that was asked is said to be done, and nothing changes any more."""
    last: list[object] = [None, 0.0]
    unsaid: list[str] = []

    async def still() -> bool:
        await changes.end_jobs()
        unsaid[:] = await _unsettled(changes)
        now = (len(changes.mortal.history.puts), len(changes.mortal.history.written), tuple(unsaid))
        if now != last[0] or unsaid:
            last[:] = [now, time.monotonic()]
        await asyncio.sleep(0.3)
        return time.monotonic() - float(str(last[1])) > 5

    try:
        await changes.mortal.stage.until(still, seconds=180)
    except BaseException as error:
        error.add_note(f"not settled: {unsaid}")
        raise


async def _unsettled(changes: Changes) -> list[str]:
    kube = changes.mortal.stage.kube
    found = []
    for kind in names.KINDS:
        for obj in await kube.list_all(kind):
            name, status = obj["metadata"]["name"], obj.get("status") or {}
            conditions = {c["type"]: c for c in status.get("conditions") or ()}
            ready = conditions.get("Ready", {})
            model = changes.models.get(name)
            wanted = ("False", "Suspended") if model is not None and model.suspend else ("True", ready.get("reason"))
            if name in changes.gone.get(kind, ()):
                found.append(f"{kind} {name} is still there")
            elif status.get("observedGeneration") != obj["metadata"]["generation"]:
                found.append(f"{kind} {name} is not observed")
            elif (ready.get("status"), ready.get("reason")) != wanted:
                found.append(f"{kind} {name}: Ready={ready.get('status')} {ready.get('reason')} {ready.get('message')}")
            elif model is not None and model.good and conditions.get("Degraded", {}).get("reason") != "RolledBack":
                found.append(f"{kind} {name} was not taken back: {conditions.get('Degraded')}")
            elif kind == names.SOURCE and status.get("activeJob"):
                found.append(f"{kind} {name} runs")
    return found


async def _judge(changes: Changes) -> list[str]:
    mortal: Mortal = changes.mortal
    history, kube = mortal.history, mortal.stage.kube
    wrong = [
        *check_puts(history.puts, bad={(b.app, b.count): b.before for b in changes.bad}),
        *check_rollbacks(history.puts, changes.bad),
        *check_events(history.written, history.told, killed=mortal.killed),
        *check_restarts(history.puts, changes.restarts),
        *check_observed(history.observed),
        *check_jobs(history.jobs, changes.runs),
        *check_end(changes.wanted(), {str(n): fake.apps.values() for n, fake in enumerate(mortal.fakes)}),
    ]
    knowledge = mortal.fakes[0]
    if set(knowledge.configs) != changes.bases:
        wrong.append(f"the knowledge service has {sorted(knowledge.configs)}, not {sorted(changes.bases)}")
    for base in sorted(changes.bases & set(knowledge.configs)):
        spec = (await kube.get(names.KNOWLEDGE_BASE, base))["spec"]
        has, asked = knowledge.configs[base]["chunking"]["overlapTokens"], spec["chunking"]["overlapTokens"]
        if has != asked:
            wrong.append(f"{base} cuts with an overlap of {has}, not {asked}")
    for source in sorted(changes.gone[names.SOURCE] - set(knowledge.erased)):
        wrong.append(f"the documents of {source} were not erased")
    left = {"CronJob", "ConfigMap", "ServiceAccount"}
    everything = set().union(*changes.gone.values())
    for kind in sorted(left):
        for obj in await kube.list_all(kind):
            if (obj["metadata"].get("labels") or {}).get(names.LABEL_NAME) in everything:
                wrong.append(f"{kind} {obj['metadata']['name']} of a deleted resource is still there")
    assert PLURALS.keys() == changes.gone.keys()
    return wrong
