"""Bringing many resources to rest on a real API server, for the tests of rest in CI and in soak."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from hearth_hack.controlplane import free_ports
from hearth_operator import names
from support.audit import read_audit
from support.operator_idle import REPORT, TROUBLED, House, build_household
from support.operator_outside import finish_job

QUIET_SECONDS = 15.0


def ready_reason(obj: dict[str, Any]) -> str:
    """Return the reason of Ready, or nothing where the status is not of this generation."""
    status = obj.get("status") or {}
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        return ""
    return next((c["reason"] for c in status.get("conditions") or () if c["type"] == "Ready"), "")


async def settle(stage: Any, house: House, count: int, *, quiet: float = QUIET_SECONDS) -> Counter[str]:
    """Create the household, end every first run, wait until all is said; return how many there are of each kind."""
    secret = ("generic", "machine", "--from-literal=token=secret")
    stage.kubectl("create", "secret", *secret)
    resources = build_household(house, count, dead_url=f"http://127.0.0.1:{free_ports(1)[0]}")
    await asyncio.to_thread(stage.apply, *resources)
    now = datetime.now(UTC).isoformat()
    report = {**REPORT, "started": now, "finished": now}
    # The controller manager asks 20 times a second at most: a hundred Jobs take it a minute.
    ended: set[str] = set()
    unsaid: list[str] = []

    async def all_is_said() -> bool:
        for source in await stage.kube.list_all(names.SOURCE):
            job = (source.get("status") or {}).get("activeJob")
            if job and job not in ended:
                await finish_job(stage.kube, job, namespace=stage.namespace, report=report, seconds=60)
                ended.add(job)
        await asyncio.sleep(1)  # nothing hangs on it: 200 resources are not to be listed ten times a second
        unsaid[:] = [
            f"{kind} {obj['metadata']['name']} {reason}"
            for kind in names.KINDS
            for obj in await stage.kube.list_all(kind)
            if (reason := ready_reason(obj)) in {"", "NotObserved"}
            or (reason == "Ready") == (obj["metadata"]["name"] in TROUBLED)
        ]
        return not unsaid

    try:
        await asyncio.wait_for(stage.until(all_is_said, seconds=900), timeout=400)
    except TimeoutError:
        raise AssertionError(f"{len(unsaid)} not settled: {unsaid[:20]}") from None

    def last_write() -> float:
        calls = read_audit(stage.plane.audit_log, namespace=stage.namespace)
        return max(call.at.timestamp() for call in calls if call.writes)

    async def still() -> bool:
        await asyncio.sleep(1)
        return time.time() - await asyncio.to_thread(last_write) > quiet

    await stage.until(still, seconds=300, why=f"nothing written for {quiet} s")
    return Counter(resource["kind"] for resource in resources)
