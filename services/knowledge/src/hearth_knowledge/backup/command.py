"""`hearth-knowledge restore` and `verify-backup`, and the restore at a start."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import structlog

from hearth_knowledge.backup.errors import BackupError
from hearth_knowledge.backup.manifest import Manifest, list_manifests
from hearth_knowledge.backup.restore import LATEST, choose_backup, is_empty, restore, verify_backup
from hearth_knowledge.crypto import Keyring
from hearth_knowledge.settings import Settings

log = structlog.get_logger()


def build_parser() -> argparse.ArgumentParser:
    """Return the command line. Without a command the service is served."""
    parser = argparse.ArgumentParser(prog="hearth-knowledge", description="The knowledge service.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve (the default)")
    for name, text in (
        ("restore", "put a backup into the empty folder HEARTH_KNOWLEDGE_DATA"),
        ("verify-backup", "read a backup to its end and check all that a restore would"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--from", dest="place", type=Path, required=True, help="a backup, or a folder with some")
        command.add_argument("--latest", action="store_true", help="the newest of the folder (the default)")
    return parser


def run_command(arguments: Sequence[str], settings: Settings) -> bool:
    """Do what the command line says and print it. False when that is to serve."""
    asked = build_parser().parse_args(arguments)
    if asked.command in {None, "serve"}:
        return False
    keyring = Keyring(settings.kek_dir)
    backup = choose_backup(asked.place)
    if asked.command == "restore":
        made = restore(backup, data=settings.data, keyring=keyring)
    else:
        settings.data.mkdir(parents=True, exist_ok=True)
        made = verify_backup(backup, keyring=keyring, work=settings.data)
    print(json.dumps({"done": asked.command, **view_manifest(made)}))
    return True


def restore_at_start(settings: Settings) -> Manifest | None:
    """Restore what HEARTH_RESTORE names if the data folder is empty. A first start, without any backup, is no error."""
    name = settings.backup.restore
    if not name or not is_empty(settings.data):
        return None
    if settings.backup.folder is None:
        raise BackupError("HEARTH_RESTORE needs HEARTH_BACKUP_DIR")
    if name == LATEST and not list_manifests(settings.backup.folder):
        log.info("nothing to restore", folder=str(settings.backup.folder))
        return None
    return restore(choose_backup(settings.backup.folder, name), data=settings.data, keyring=Keyring(settings.kek_dir))


def view_manifest(manifest: Manifest) -> dict[str, object]:
    """Return what callers see of a backup: no keys."""
    return {name: value for name, value in asdict(manifest).items() if name not in {"key", "seal"}}
