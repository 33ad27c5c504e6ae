"""The `run` command: reads the RunSpec, runs, and says how it went on standard output and to the kubelet."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from hearth_api.wire.ingest import RunReport, RunSpec
from hearth_common.logs import configure_logging
from hearth_common.tokens import ProjectedToken
from hearth_ingest.calendars.source import make_frame, today_of
from hearth_ingest.client import KnowledgeClient
from hearth_ingest.context import ParseContext, build_context
from hearth_ingest.errors import KnowledgeError, SourceError
from hearth_ingest.item import Listing, Source
from hearth_ingest.live.source import Remembering, closing, open_account
from hearth_ingest.parsing import build_source
from hearth_ingest.run import Runner, Tally, make_plan

TERMINATION_LOG = Path("/dev/termination-log")
_log = structlog.get_logger(__name__)


def run_command(spec_path: Path, *, dry_run: bool, offline: bool, termination_log: Path | None) -> int:
    """Run once and return the exit status: 0 also when single items failed, 1 when the run did."""
    configure_logging("hearth-ingest", stream=sys.stderr)
    try:
        spec = RunSpec.model_validate_json(spec_path.read_bytes())
    except OSError as error:
        print(f"hearth-ingest: {spec_path} cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        print(f"hearth-ingest: {spec_path}: {field}: {problem['msg']}", file=sys.stderr)
        return 1
    if dry_run:
        return asyncio.run(_dry_run(spec, offline=offline))
    report = asyncio.run(run_once(spec))
    message = report.to_termination_message()
    print(message)
    write_termination_message(message, termination_log)
    return 1 if report.outcome == "Failed" else 0


def write_termination_message(message: str, path: Path | None) -> None:
    """Write to the given file, or to the kubelet's where there is one."""
    if path is None and not TERMINATION_LOG.exists():
        return
    target = path or TERMINATION_LOG
    try:
        target.write_text(message, encoding="utf-8")
    except OSError as error:
        _log.warning("termination_message_unwritten", path=str(target), reason=error.strerror)


def open_client(spec: RunSpec) -> KnowledgeClient:
    """Return the client for a spec."""
    token = ProjectedToken(spec.token_path)
    return KnowledgeClient(spec.knowledge_url, kb=spec.knowledge_base, source=spec.source, token=token)


async def run_once(
    spec: RunSpec,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    client: Callable[[RunSpec], KnowledgeClient] = open_client,
) -> RunReport:
    """Run and return the report. A failure of the source or of the service is in the report, too."""
    started = now()
    tally = Tally()
    fatal: str | None = None
    try:
        await _run(spec, tally=tally, client=client, now=started)
    except (SourceError, KnowledgeError) as error:
        fatal = error.sentence
    report = tally.report(started=started, finished=now(), fatal=fatal)
    _log.info("run_done", source=spec.source, outcome=report.outcome, **report.counts.model_dump())
    return report


async def _run(spec: RunSpec, *, tally: Tally, client: Callable[[RunSpec], KnowledgeClient], now: datetime) -> None:
    # The source is looked at before the service is asked: a missing mount fails the run whatever the service says.
    context, source = _open_source(spec, now=now)
    # Only a source that need not fetch what is known already waits for the service's answer.
    listing = None if isinstance(source, Remembering) else _observe(source, tally)
    async with closing(source), client(spec) as knowledge:
        source.use(replace(context, key=await knowledge.fetch_key()))
        manifest = await knowledge.fetch_manifest()
        cursor = await knowledge.fetch_cursor()
        if isinstance(source, Remembering):
            source.remember(manifest)
        listing = listing or _observe(source, tally)
        plan = make_plan(source, listing, manifest, pipeline=context.pipeline, cursor=cursor)
        _log.info(
            "planned", source=spec.source, skipped=len(listing.skipped), copies=listing.copies, sum=plan.summary()
        )
        runner = Runner(source, knowledge, tally=tally, keep_originals=not spec.at_source)
        await runner.carry_out(plan, cursor=cursor)


def _observe(source: Source, tally: Tally) -> Listing:
    listing = source.observe()
    for refusal in listing.refusals:
        tally.fail(refusal.uri, quarantined=refusal.quarantined, problem=f"{refusal.code}: {refusal.detail}")
    return listing


def _open_source(spec: RunSpec, *, now: datetime) -> tuple[ParseContext, Source]:
    context = build_context(spec.source, kind=spec.type, trust=spec.trust, limits=spec.limits, at_source=spec.at_source)
    frame = None
    if spec.type == "calendar":
        frame = make_frame(spec.calendar, today=today_of(spec.calendar, now), whole_months=True)
    if spec.path is None:
        return context, open_account(spec, context=context, frame=frame)
    root = Path(spec.path)
    if ".." in root.parts or root.resolve() != root.absolute():
        raise SourceError(f"{root} leads elsewhere: neither '..' nor a symbolic link is followed")
    source = build_source(
        spec.type,
        (root,),
        context=context,
        form=spec.format,
        include=spec.include,
        exclude=spec.exclude,
        frame=frame,
    )
    return context, source


async def _dry_run(spec: RunSpec, *, offline: bool) -> int:
    try:
        context, source = _open_source(spec, now=datetime.now(UTC))
        listing = source.observe()
        async with closing(source):
            if offline:
                plan = make_plan(source, listing, (), pipeline=context.pipeline, cursor=None)
            else:
                async with open_client(spec) as knowledge:
                    manifest, cursor = await knowledge.fetch_manifest(), await knowledge.fetch_cursor()
                plan = make_plan(source, listing, manifest, pipeline=context.pipeline, cursor=cursor)
    except (SourceError, KnowledgeError) as error:
        print(f"hearth-ingest: {error.sentence}", file=sys.stderr)
        return 1
    for refusal in (*listing.refusals, *listing.skipped):
        print(f"refused   {refusal.uri}  ({refusal.code}: {refusal.detail})")
    for line in plan.lines():
        print(line)
    return 0
