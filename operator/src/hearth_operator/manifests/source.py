"""What an IngestionSource becomes: an account, its run.json, a CronJob, and Jobs for single runs."""

import copy
import json
import posixpath

from hearth_api.kinds import IngestionSource
from hearth_api.quantities import to_bytes
from hearth_api.wire.ingest import RunLimits, RunSpec
from hearth_operator import names
from hearth_operator.manifests.base import TMP, Manifest, container_security, metadata, owner_reference, pod_security
from hearth_operator.settings import Settings

DATA = "/data"
SPEC_DIR = "/etc/hearth"
TOKEN_DIR = f"{names.TOKEN_MOUNT}/{names.AUDIENCE_KNOWLEDGE}"
NEVER = "0 0 31 2 *"
"""The 31st of February: a source without a schedule runs only when told to."""
JOB_TTL_SECONDS = 3600


def build_run_spec(source: IngestionSource, *, settings: Settings) -> RunSpec:
    """Return the file run.json of a source."""
    spec = source.spec
    chosen = spec.email.format.value.lower() if spec.email is not None else "auto"
    limits = spec.limits
    return RunSpec.model_validate(
        {
            "source": source.metadata.name,
            "knowledge_base": spec.knowledge_base_ref.name,
            "type": spec.type.value.lower(),
            "path": posixpath.normpath(f"{DATA}/{spec.location.path}"),
            "format": chosen,
            "include": spec.include,
            "exclude": spec.exclude,
            "trust": spec.trust,
            "limits": RunLimits(
                item_bytes=to_bytes(limits.item_bytes),
                attachment_depth=limits.attachment_depth,
                pages=limits.pages,
                seconds_per_item=limits.seconds_per_item,
            ),
            "knowledge_url": settings.knowledge_url,
            "token_path": f"{TOKEN_DIR}/token",
        }
    )


def build_source(source: IngestionSource, *, settings: Settings) -> tuple[Manifest, Manifest, Manifest]:
    """Return ServiceAccount, ConfigMap and CronJob, in the order of applying."""
    name = source.metadata.name
    owner = owner_reference(names.SOURCE, name, uid=source.metadata.uid or "")
    labels = names.labels(names.SOURCE, name, component="ingest")
    account: Manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(names.ingest_name(name), namespace=settings.namespace, labels=labels, owner=owner),
        "automountServiceAccountToken": False,
    }
    run_spec = build_run_spec(source, settings=settings).to_json_object()
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
        "spec": _cron_spec(source, labels, settings=settings),
    }
    return account, config, cron


def _cron_spec(source: IngestionSource, labels: dict[str, str], *, settings: Settings) -> Manifest:
    spec = source.spec
    result: Manifest = {
        "schedule": spec.schedule or NEVER,
        "suspend": spec.suspend or not spec.schedule,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 300,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
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
        "template": {"metadata": {"labels": labels}, "spec": _pod(source, settings=settings)},
    }


def _pod(source: IngestionSource, *, settings: Settings) -> Manifest:
    spec = source.spec
    name = source.metadata.name
    token = {"audience": names.AUDIENCE_KNOWLEDGE, "expirationSeconds": 3600, "path": "token"}
    return {
        "serviceAccountName": names.ingest_name(name),
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
                "volumeMounts": [
                    {"name": "data", "mountPath": DATA, "readOnly": True},
                    {"name": "run", "mountPath": SPEC_DIR, "readOnly": True},
                    {"name": "token", "mountPath": TOKEN_DIR, "readOnly": True},
                    {"name": "tmp", "mountPath": TMP},
                ],
            }
        ],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": spec.location.volume.claim_name, "readOnly": True}},
            {"name": "run", "configMap": {"name": names.ingest_name(name)}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


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
