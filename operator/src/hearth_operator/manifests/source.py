"""What an IngestionSource becomes: an account, its run.json, a CronJob, and Jobs for single runs."""

import copy
import json
import posixpath
from typing import Literal

from hearth_api.kinds import IngestionSource
from hearth_api.kinds.source import CalDav, Imap, MailFormat, MailSecurity, SourceType
from hearth_api.quantities import to_bytes
from hearth_api.wire.ingest import (
    CalDavSpec,
    CalendarSettings,
    ImapSpec,
    ProxySpec,
    RunLimits,
    RunSpec,
)
from hearth_operator import names
from hearth_operator.manifests.base import TMP, Manifest, container_security, metadata, owner_reference, pod_security
from hearth_operator.settings import Settings

DATA = "/data"
SPEC_DIR = "/etc/hearth"
TOKEN_DIR = f"{names.TOKEN_MOUNT}/{names.AUDIENCE_KNOWLEDGE}"
EGRESS_TOKEN_DIR = f"{names.TOKEN_MOUNT}/{names.AUDIENCE_EGRESS}"
CREDENTIALS_DIR = f"{names.TOKEN_MOUNT}/account"
_TYPES: dict[SourceType, Literal["email", "documents", "teams", "calendar"]] = {
    SourceType.EMAIL: "email",
    SourceType.DOCUMENTS: "documents",
    SourceType.TEAMS: "teams",
    SourceType.CALENDAR: "calendar",
}
_FORMATS: dict[MailFormat, Literal["auto", "mbox", "maildir", "eml"]] = {
    MailFormat.AUTO: "auto",
    MailFormat.MBOX: "mbox",
    MailFormat.MAILDIR: "maildir",
    MailFormat.EML: "eml",
}
NEVER = "0 0 31 2 *"
"""The 31st of February: a source without a schedule runs only when told to."""
JOB_TTL_SECONDS = 3600


def build_run_spec(source: IngestionSource, *, settings: Settings, at_source: bool = False) -> RunSpec:
    """Return the file run.json of a source. `at_source` is the knowledge base's privacy setting."""
    spec, account = source.spec, source.spec.account
    path = spec.location.path
    return RunSpec(
        source=source.metadata.name,
        knowledge_base=spec.knowledge_base_ref.name,
        type=_TYPES[spec.type],
        path=posixpath.normpath(f"{DATA}/{path}") if path is not None else None,
        format=_FORMATS[spec.email.format] if spec.email is not None else "auto",
        imap=_imap(account) if isinstance(account, Imap) else None,
        caldav=_caldav(account) if isinstance(account, CalDav) else None,
        credentials_path=CREDENTIALS_DIR if account is not None else None,
        calendar=_calendar(source),
        proxy=_proxy(settings) if account is not None else None,
        include=spec.include,
        exclude=spec.exclude,
        trust=spec.trust,
        limits=_limits(source),
        at_source=at_source,
        knowledge_url=settings.knowledge_url,
        token_path=f"{TOKEN_DIR}/token",
    )


def _imap(account: Imap) -> ImapSpec:
    return ImapSpec(
        host=account.host,
        port=account.port,
        security="tls" if account.security is MailSecurity.TLS else "starttls",
        include=account.include,
        exclude=account.exclude,
    )


def _caldav(account: CalDav) -> CalDavSpec:
    return CalDavSpec(url=account.url, include=account.include, exclude=account.exclude)


def _calendar(source: IngestionSource) -> CalendarSettings:
    block = source.spec.calendar
    if block is None:
        return CalendarSettings()
    return CalendarSettings(
        past_days=block.window.past_days, future_days=block.window.future_days, time_zone=source.spec.time_zone
    )


def _proxy(settings: Settings) -> ProxySpec | None:
    if settings.egress_url is None:
        return None
    return ProxySpec(url=settings.egress_url, token_path=f"{EGRESS_TOKEN_DIR}/token")


def _limits(source: IngestionSource) -> RunLimits:
    limits = source.spec.limits
    return RunLimits(
        item_bytes=to_bytes(limits.item_bytes),
        attachment_depth=limits.attachment_depth,
        pages=limits.pages,
        seconds_per_item=limits.seconds_per_item,
        entries=limits.entries,
        expanded_bytes=to_bytes(limits.expanded_bytes),
        ratio=limits.ratio,
    )


def build_source(
    source: IngestionSource, *, settings: Settings, at_source: bool = False, paused: bool = False
) -> tuple[Manifest, Manifest, Manifest]:
    """Return ServiceAccount, ConfigMap and CronJob, in the order of applying. `paused` holds the schedule back."""
    name = source.metadata.name
    owner = owner_reference(names.SOURCE, name, uid=source.metadata.uid or "")
    labels = names.labels(names.SOURCE, name, component="ingest")
    account: Manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(names.ingest_name(name), namespace=settings.namespace, labels=labels, owner=owner),
        "automountServiceAccountToken": False,
    }
    run_spec = build_run_spec(source, settings=settings, at_source=at_source).to_json_object()
    config: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(names.ingest_name(name), namespace=settings.namespace, labels=labels, owner=owner),
        "data": {"run.json": json.dumps(run_spec, indent=2, sort_keys=True) + "\n"},
    }
    cron: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(names.ingest_name(name), namespace=settings.namespace, labels=labels, owner=owner),
        "spec": _cron_spec(source, labels, settings=settings, paused=paused),
    }
    return account, config, cron


def _cron_spec(source: IngestionSource, labels: dict[str, str], *, settings: Settings, paused: bool) -> Manifest:
    spec = source.spec
    result: Manifest = {
        "schedule": spec.schedule or NEVER,
        "suspend": spec.suspend or not spec.schedule or paused or source.metadata.deleting,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": spec.starting_deadline_seconds,
        "successfulJobsHistoryLimit": spec.successful_runs_history_limit,
        "failedJobsHistoryLimit": spec.failed_runs_history_limit,
        "jobTemplate": {"metadata": {"labels": labels}, "spec": _job_spec(source, labels, settings=settings)},
    }
    if spec.schedule:
        result["timeZone"] = spec.time_zone
    return result


def _job_spec(source: IngestionSource, labels: dict[str, str], *, settings: Settings) -> Manifest:
    return {
        # A pod that was killed is Failed, not restarted: the Job replaces it.
        "backoffLimit": 3,
        "activeDeadlineSeconds": source.spec.deadline_seconds,
        "template": {
            "metadata": {"labels": _pod_labels(source, labels, settings=settings)},
            "spec": _pod(source, settings=settings),
        },
    }


def _pod_labels(source: IngestionSource, labels: dict[str, str], *, settings: Settings) -> dict[str, str]:
    proxied = source.spec.account is not None and settings.egress_url is not None
    return {**labels, names.EGRESS_LABEL: "proxy"} if proxied else labels


def _pod(source: IngestionSource, *, settings: Settings) -> Manifest:
    mounts, volumes = _volumes(source, settings=settings)
    return {
        "serviceAccountName": names.ingest_name(source.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "containers": [
            {
                "name": "ingest",
                "image": settings.control_image,
                "imagePullPolicy": settings.image_pull_policy,
                "command": ["hearth-ingest", "run", "--spec", f"{SPEC_DIR}/run.json"],
                "env": [{"name": "HOME", "value": TMP}, {"name": "TMPDIR", "value": TMP}],
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
                "securityContext": container_security(),
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _volumes(source: IngestionSource, *, settings: Settings) -> tuple[list[Manifest], list[Manifest]]:
    """Return mounts and volumes: the files or the account's Secret, run.json, tokens, scratch space."""
    account = source.spec.account
    origin: list[tuple[str, str, Manifest]] = []
    if account is None:
        claim = source.spec.location.volume.claim_name
        origin.append(("data", DATA, {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}))
    else:
        secret = {"secretName": account.secret_ref.name, "defaultMode": 0o440}
        origin.append(("account", CREDENTIALS_DIR, {"secret": secret}))
    tokens = [("token", TOKEN_DIR, _token(names.AUDIENCE_KNOWLEDGE))]
    if account is not None and settings.egress_url is not None:
        tokens.append(("token-egress", EGRESS_TOKEN_DIR, _token(names.AUDIENCE_EGRESS)))
    run = ("run", SPEC_DIR, {"configMap": {"name": names.ingest_name(source.metadata.name)}})
    read_only = [*origin, run, *tokens]
    mounts = [{"name": name, "mountPath": path, "readOnly": True} for name, path, _ in read_only]
    volumes = [{"name": name, **volume} for name, _, volume in read_only]
    return [*mounts, {"name": "tmp", "mountPath": TMP}], [*volumes, {"name": "tmp", "emptyDir": {}}]


def _token(audience: str) -> Manifest:
    token = {"audience": audience, "expirationSeconds": 3600, "path": "token"}
    return {"projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}}


def build_run(source: IngestionSource, *, run: str, settings: Settings) -> Manifest:
    """Return a Job for one run, from the CronJob's own template. The same `run` always gives the same name.

    The IngestionSource owns it, not the CronJob: a Job that a CronJob did not make itself is reported by the
    cluster as unexpected.
    """
    name = source.metadata.name
    cron = build_source(source, settings=settings)[2]
    template = copy.deepcopy(cron["spec"]["jobTemplate"])
    labels = {**template["metadata"]["labels"], names.RUN_LABEL: names.short_hash(run)}
    job_name = f"{names.ingest_name(name)}-{names.short_hash(run)}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(
            job_name,
            namespace=settings.namespace,
            labels=labels,
            owner=owner_reference(names.SOURCE, name, uid=source.metadata.uid or ""),
        ),
        "spec": {**template["spec"], "ttlSecondsAfterFinished": JOB_TTL_SECONDS},
    }
