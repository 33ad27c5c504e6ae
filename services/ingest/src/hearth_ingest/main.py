"""The command line: `hearth-ingest parse | run | redact`."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import ValidationError

from hearth_api.wire.documents import Trust
from hearth_api.wire.ingest import CalendarSettings
from hearth_ingest.calendars.build import Frame
from hearth_ingest.calendars.source import make_frame, today_of
from hearth_ingest.context import build_context
from hearth_ingest.errors import SourceError
from hearth_ingest.parsing import build_source, document_kind, parse_lines
from hearth_ingest.redacting import redact_lines, redact_text
from hearth_ingest.running import run_command

TYPES = ("email", "documents", "teams", "calendar")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong use."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except SourceError as error:
        print(f"hearth-ingest: {error.sentence}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output went away ("| head"): nothing is left to say.
        sys.stderr.close()
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hearth-ingest", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    parse = commands.add_parser("parse", help="print the documents of files as lines of JSON")
    parse.add_argument("--type", required=True, choices=TYPES)
    parse.add_argument("--source", default="local", help="the source's name in ids (default: local)")
    parse.add_argument("--format", default="auto", choices=("auto", "mbox", "maildir", "eml"))
    parse.add_argument("--trust", default=Trust.EXTERNAL.value, choices=[trust.value for trust in Trust])
    parse.add_argument("--include", action="append", default=[], metavar="GLOB")
    parse.add_argument("--exclude", action="append", default=[], metavar="GLOB")
    defaults = CalendarSettings()
    parse.add_argument("--past-days", type=int, default=defaults.past_days, metavar="DAYS", help="of recurring events")
    parse.add_argument("--future-days", type=int, default=defaults.future_days, metavar="DAYS")
    parse.add_argument("--time-zone", default=defaults.time_zone, metavar="NAME", help="of floating times and of days")
    parse.add_argument("--today", type=date.fromisoformat, metavar="YYYY-MM-DD", help="the middle of the window")
    parse.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parse.set_defaults(command=_parse)
    run = commands.add_parser("run", help="bring a knowledge base up to date with a source")
    run.add_argument("--spec", required=True, type=Path, help="file with the RunSpec as JSON")
    run.add_argument("--dry-run", action="store_true", help="print what would be done, and why, and change nothing")
    run.add_argument("--offline", action="store_true", help="with --dry-run: compare with an empty knowledge base")
    run.add_argument("--termination-log", type=Path, metavar="FILE")
    run.set_defaults(command=_run)
    redact = commands.add_parser("redact", help="find and mask personal and secret data")
    redact.add_argument("--type", choices=("text",), default="text")
    redact.add_argument("--ndjson", action="store_true", help='read {"id", "text"} lines; FILE may be -')
    redact.add_argument("file", metavar="FILE", help="a file, or - for standard input")
    redact.set_defaults(command=_redact)
    return parser


def _parse(arguments: argparse.Namespace) -> int:
    context = build_context(arguments.source, kind=arguments.type, trust=Trust(arguments.trust))
    frame = _frame(arguments) if arguments.type == "calendar" else None
    source = build_source(
        arguments.type,
        tuple(arguments.paths),
        context=context,
        form=arguments.format,
        include=tuple(arguments.include),
        exclude=tuple(arguments.exclude),
        frame=frame,
    )
    for line in parse_lines(source, kind=document_kind(arguments.type), context=context):
        print(line)
    return 0


def _frame(arguments: argparse.Namespace) -> Frame:
    try:
        settings = CalendarSettings(
            past_days=arguments.past_days, future_days=arguments.future_days, time_zone=arguments.time_zone
        )
    except ValidationError as error:
        raise SourceError("--past-days and --future-days are numbers from 0 to 3660") from error
    today = arguments.today or today_of(settings, datetime.now(UTC))
    return make_frame(settings, today=today, whole_months=False)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.offline and not arguments.dry_run:
        print("hearth-ingest: --offline goes with --dry-run only", file=sys.stderr)
        return 2
    return run_command(
        arguments.spec, dry_run=arguments.dry_run, offline=arguments.offline, termination_log=arguments.termination_log
    )


def _redact(arguments: argparse.Namespace) -> int:
    try:
        data = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
    except OSError as error:
        print(f"hearth-ingest: {arguments.file} cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    if not arguments.ndjson:
        print(json.dumps(redact_text(data), ensure_ascii=False))
        return 0
    try:
        for answer in redact_lines(data.decode("utf-8", "replace").split("\n")):
            print(json.dumps(answer, ensure_ascii=False))
    except ValueError as error:
        print(f"hearth-ingest: {error}", file=sys.stderr)
        return 1
    return 0
