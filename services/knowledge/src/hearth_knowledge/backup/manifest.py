"""What lies beside an archive in clear: when, how much, which keys it needs; no names, no content."""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hearth_knowledge.backup.errors import BackupError
from hearth_knowledge.crypto import KEY_BYTES, Keyring, RandomBytes, derive
from hearth_knowledge.errors import KeyMissingError, SealBrokenError

FORMAT = 1
ARCHIVE = "archive"
MANIFEST = "manifest.json"
NAME = re.compile(r"backup-\d{8}T\d{6}Z(-\d+)?")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One backup. `key` is its data key, wrapped; `seal` authenticates everything else with that key."""

    format: int
    name: str
    created: str
    kek_version: int
    kek_versions: tuple[int, ...]
    """every version that this backup needs: for its data key and for the keys of knowledge bases"""
    knowledge_bases: int
    documents: int
    versions: int
    files: int
    missing: int
    """bodies that were gone before the backup was made; not 0 means that the volume is damaged"""
    plain_bytes: int
    archive_bytes: int
    sha256: str
    key: str
    seal: str = ""

    def encode(self) -> bytes:
        """Return JSON."""
        return json.dumps(asdict(self), indent=2, sort_keys=True).encode() + b"\n"

    def sealed(self, key: bytes) -> "Manifest":
        """Return it with its seal."""
        return replace(self, seal=self._mac(key))

    def check(self, key: bytes) -> None:
        """Raise BackupError where something in it was changed."""
        if not hmac.compare_digest(self.seal, self._mac(key)):
            raise BackupError(f"the manifest of {self.name} was changed")

    def _mac(self, key: bytes) -> str:
        body = replace(self, seal="").encode()
        return hmac.new(derive(key, "backup-manifest"), body, hashlib.sha256).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest. BackupError where it is none of ours."""
    try:
        body = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if body.get("format") != FORMAT:
            raise BackupError(f"{folder.name} has format {body.get('format')}; this version reads {FORMAT}")
        manifest = Manifest(**{**body, "kek_versions": tuple(body["kek_versions"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError(f"{folder.name} has no readable manifest ({type(error).__name__})") from error
    if manifest.name != folder.name:
        raise BackupError(f"{folder.name} says that it is {manifest.name}: it was renamed or changed")
    return manifest


def list_manifests(folder: Path) -> list[Manifest]:
    """Return the finished backups of a folder, newest first; what is unreadable is left out."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if NAME.fullmatch(path.name):
            try:
                found.append(read_manifest(path))
            except BackupError:
                continue
    return sorted(found, key=lambda one: (one.created, one.name), reverse=True)


def choose_name(folder: Path, millis: int) -> str:
    """Return a name that is free."""
    base = datetime.fromtimestamp(millis / 1000, tz=UTC).strftime("backup-%Y%m%dT%H%M%SZ")
    number, name = 1, base
    while (folder / name).exists():
        number, name = number + 1, f"{base}-{number + 1}"
    return name


def new_key(keyring: Keyring, name: str, *, random: RandomBytes) -> tuple[bytes, str, int]:
    """Return a data key, the same wrapped (base64), and the version that wraps it."""
    version, key = keyring.current(), random(KEY_BYTES)
    wrapped = keyring.wrap(key, place=f"backup|{name}|key", version=version, random=random)
    return key, base64.b64encode(wrapped).decode(), version


def open_key(keyring: Keyring, manifest: Manifest) -> bytes:
    """Return the data key. BackupError says which key-encryption key is wanted."""
    version = manifest.kek_version
    try:
        return keyring.unwrap(base64.b64decode(manifest.key), place=f"backup|{manifest.name}|key", version=version)
    except KeyMissingError as error:
        raise BackupError(
            f"{manifest.name} needs v{version} of the Secret hearth-kek, and that is not mounted; "
            "bring back the copy of the Secret that you saved"
        ) from error
    except (SealBrokenError, ValueError) as error:
        raise BackupError(
            f"{manifest.name} does not open with the mounted v{version} of the Secret hearth-kek: "
            "it is another key than the one that the backup was made with"
        ) from error
