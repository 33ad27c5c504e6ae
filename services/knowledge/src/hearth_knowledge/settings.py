"""Settings from the environment. Every name begins with HEARTH_ and stands in the README."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hearth_knowledge.backup.manifest import NAME
from hearth_knowledge.backup.schedule import Schedule
from hearth_knowledge.errors import InvalidRequestError
from hearth_knowledge.index.fusion import Fusion, FusionMethod

MOST_SECONDS = 15
"""Of one step of a search: the gateway waits 30 s for all of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    batch_bytes: int = 64 << 20
    line_bytes: int = 16 << 20
    batch_lines: int = 1000
    original_bytes: int = 256 << 20
    search_concurrency: int = 4
    search_wait_seconds: float = 10.0
    query_embed_seconds: float = 5.0
    document_embed_seconds: float = 120.0
    rerank_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """Where backups go, when, how many stay, and which is restored into an empty data folder."""

    folder: Path | None = None
    schedule: Schedule | None = None
    keep: int = 7
    restore: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the service is told at its start."""

    data: Path
    kek_dir: Path
    stores_dir: Path
    milvus_uri: str
    gateway_url: str
    gateway_token: Path
    namespace: str
    host: str
    port: int
    log_level: str
    fusion: Fusion
    limits: Limits
    backup: BackupSettings = BackupSettings()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the environment. InvalidRequestError names a variable that has no sense."""
        get = environment.get
        limits = Limits(
            batch_bytes=_number(environment, "HEARTH_BATCH_LIMIT_BYTES", default=64 << 20),
            line_bytes=_number(environment, "HEARTH_LINE_LIMIT_BYTES", default=16 << 20),
            original_bytes=_number(environment, "HEARTH_ORIGINAL_LIMIT_BYTES", default=256 << 20),
            search_concurrency=_number(environment, "HEARTH_SEARCH_CONCURRENCY", default=4),
            rerank_seconds=_seconds(environment, "HEARTH_RERANK_SECONDS", default=2.0),
        )
        method = get("HEARTH_FUSION", FusionMethod.WEIGHTED.value)
        if method not in set(FusionMethod):
            raise InvalidRequestError("HEARTH_FUSION", f"must be one of {', '.join(FusionMethod)}")
        return cls(
            data=Path(get("HEARTH_KNOWLEDGE_DATA", "/var/lib/hearth/knowledge")),
            kek_dir=Path(get("HEARTH_KEK_DIR", "/var/run/secrets/hearth/kek")),
            stores_dir=Path(get("HEARTH_STORES_DIR", "/var/run/secrets/hearth/stores")),
            milvus_uri=get("HEARTH_MILVUS_URI", "http://127.0.0.1:19530"),
            gateway_url=get("HEARTH_GATEWAY_URL", "http://hearth-gateway").rstrip("/"),
            gateway_token=Path(get("HEARTH_GATEWAY_TOKEN_PATH", "/var/run/secrets/hearth/hearth-gateway/token")),
            namespace=get("HEARTH_NAMESPACE", "hearth"),
            host=get("HEARTH_HOST", "0.0.0.0"),  # noqa: S104 (a pod's port)
            port=_number(environment, "HEARTH_PORT", default=8080),
            log_level=get("HEARTH_LOG_LEVEL", "INFO"),
            fusion=Fusion(method=FusionMethod(method), dense_weight=_fraction(environment, "HEARTH_DENSE_WEIGHT")),
            limits=limits,
            backup=_backup(environment),
        )


def _backup(environment: Mapping[str, str]) -> BackupSettings:
    get = environment.get
    restore = get("HEARTH_RESTORE", "")
    if restore and restore != "latest" and not NAME.fullmatch(restore):
        raise InvalidRequestError("HEARTH_RESTORE", 'must be "latest" or the name of a backup')
    return BackupSettings(
        folder=Path(get("HEARTH_BACKUP_DIR", "")) if get("HEARTH_BACKUP_DIR") else None,
        schedule=Schedule.parse(get("HEARTH_BACKUP_SCHEDULE", "")),
        keep=_number(environment, "HEARTH_BACKUP_KEEP", default=7),
        restore=restore,
    )


def _number(environment: Mapping[str, str], name: str, *, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit() or int(text) < 1:
        raise InvalidRequestError(name, "must be a whole number above 0")
    return int(text)


def _seconds(environment: Mapping[str, str], name: str, *, default: float) -> float:
    try:
        value = float(environment.get(name, str(default)))
    except ValueError:
        value = -1.0
    if not 0 < value <= MOST_SECONDS:
        raise InvalidRequestError(name, f"must be a number of seconds above 0, at most {MOST_SECONDS}")
    return value


def _fraction(environment: Mapping[str, str], name: str, *, default: float = 0.6) -> float:
    try:
        value = float(environment.get(name, str(default)))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InvalidRequestError(name, "must be a number from 0 to 1")
    return value
