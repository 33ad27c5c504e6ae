"""The catalog as a value, and the pure fold from resources to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from hearth_gateway.catalog.beside import Node, Source, read_conditions, read_node, read_source
from hearth_gateway.catalog.fields import read_list, read_part, read_ready, read_text

AVAILABLE = "Available"
UNREACHABLE = "Unreachable"
CHAT = "Chat"
EMBED = "Embed"
RERANK = "Rerank"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """One entry of a Secret."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One build of a model on one node. `slots` requests at a time."""

    name: str
    node: str
    engine: str
    url: str
    state: str
    reason: str
    slots: int
    context_tokens: int
    digest: str
    memory_bytes: int
    token: SecretRef | None
    ca: SecretRef | None

    @property
    def usable(self) -> bool:
        """Whether requests may be sent there."""
        return self.state == AVAILABLE and bool(self.url)


@dataclass(frozen=True, slots=True)
class Model:
    """One logical model. `ready`, `message` and `since` (RFC 3339) are its Ready condition's."""

    name: str
    task: str
    aliases: tuple[str, ...]
    variants: tuple[Variant, ...]
    created: int
    ready: bool
    message: str
    dimensions: int | None
    suspended: bool
    since: str | None = None

    @property
    def candidates(self) -> tuple[Variant, ...]:
        """Variants that can be asked, most preferred first."""
        return () if self.suspended else tuple(variant for variant in self.variants if variant.usable)

    def degraded(self, variant: str) -> bool:
        """Whether an answer of this variant is not what the owner prefers."""
        return bool(self.variants) and self.variants[0].name != variant


@dataclass(frozen=True, slots=True)
class KnowledgeBase:
    """One knowledge base and what its status says."""

    name: str
    ready: bool
    message: str
    documents: int
    chunks: int
    pending: int
    embedding_model: str
    rerank_model: str | None
    """That it names, whether it answers or not."""
    sources: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything at one moment. `names` maps names and accepted aliases to models."""

    models: Mapping[str, Model] = field(default_factory=lambda: MappingProxyType({}))
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    knowledge_bases: Mapping[str, KnowledgeBase] = field(default_factory=lambda: MappingProxyType({}))
    nodes: Mapping[str, Node] = field(default_factory=lambda: MappingProxyType({}))
    sources: Mapping[str, Source] = field(default_factory=lambda: MappingProxyType({}))

    def find(self, name: str) -> Model | None:
        """Return the model with this name or alias."""
        target = self.names.get(name)
        return None if target is None else self.models[target]


def fold(
    deployments: Iterable[Mapping[str, Any]],
    knowledge_bases: Iterable[Mapping[str, Any]],
    *,
    nodes: Iterable[Mapping[str, Any]] = (),
    sources: Iterable[Mapping[str, Any]] = (),
) -> Catalog:
    """Build the catalog. A resource that cannot be read is left out; it never spoils another."""
    machines = {node.name: node for item in nodes if (node := read_node(item)) is not None}
    origins = {source.name: source for item in sources if (source := read_source(item)) is not None}
    models = {model.name: model for item in deployments if (model := read_model(item)) is not None}
    bases = {base.name: base for item in knowledge_bases if (base := read_knowledge_base(item)) is not None}
    names = {name: name for name in models}
    # The older resource keeps a contested alias, as the operator decides it; a name always wins over an alias.
    for model in sorted(models.values(), key=lambda item: (item.created, item.name)):
        for alias in model.aliases:
            names.setdefault(alias, model.name)
    return Catalog(
        models=MappingProxyType(dict(sorted(models.items()))),
        names=MappingProxyType(dict(sorted(names.items()))),
        knowledge_bases=MappingProxyType(dict(sorted(bases.items()))),
        nodes=MappingProxyType(dict(sorted(machines.items()))),
        sources=MappingProxyType(dict(sorted(origins.items()))),
    )


def read_model(item: Mapping[str, Any]) -> Model | None:
    """Read a ModelDeployment as the API server gives it; None where it has no name."""
    metadata, spec, status = read_part(item, "metadata"), read_part(item, "spec"), read_part(item, "status")
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        return None
    ready, message = read_ready(status)
    return Model(
        name=name,
        task=str(spec.get("task") or CHAT),
        aliases=tuple(alias for alias in read_list(spec, "aliases") if isinstance(alias, str)),
        variants=tuple(read_variant(entry) for entry in read_list(status, "variants") if isinstance(entry, Mapping)),
        created=_epoch(metadata.get("creationTimestamp")),
        ready=ready,
        message=message,
        dimensions=_number(status.get("dimensions")) or None,
        suspended=bool(spec.get("suspend", False)),
        since=next((found.since for found in read_conditions(status) if found.type == "Ready"), None),
    )


def read_variant(entry: Mapping[str, Any]) -> Variant:
    """Read one entry of `status.variants` (INTERFACES, "Catalog")."""
    memory = read_part(entry, "memory")
    return Variant(
        name=str(entry.get("name") or ""),
        node=str(entry.get("node") or ""),
        engine=str(entry.get("engine") or ""),
        url=str(entry.get("url") or "").rstrip("/"),
        state=str(entry.get("state") or "Pending"),
        reason=str(entry.get("reason") or ""),
        slots=max(1, _number(entry.get("slots"))),
        context_tokens=_number(entry.get("contextTokens")) or 2048,
        digest=str(entry.get("modelDigest") or ""),
        memory_bytes=parse_quantity(memory.get("estimate")),
        token=_secret_ref(entry.get("tokenSecretRef"), key="token"),
        ca=_secret_ref(entry.get("caSecretRef"), key="ca.crt"),
    )


def read_knowledge_base(item: Mapping[str, Any]) -> KnowledgeBase | None:
    """Read a KnowledgeBase as the API server gives it; None where it has no name."""
    name = read_part(item, "metadata").get("name")
    if not isinstance(name, str) or not name:
        return None
    status = read_part(item, "status")
    ready, message = read_ready(status)
    return KnowledgeBase(
        name=name,
        ready=ready,
        message=message,
        documents=_number(status.get("documents")),
        chunks=_number(status.get("chunks")),
        pending=_number(status.get("pending")),
        embedding_model=str(read_part(status, "embedding").get("model") or ""),
        rerank_model=read_text(read_part(read_part(item, "spec"), "rerank").get("model")),
        sources=tuple(dict(entry) for entry in read_list(status, "sources") if isinstance(entry, Mapping)),
    )


_FACTORS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_quantity(value: object) -> int:
    """Return bytes of a Kubernetes quantity; 0 where it cannot be read (only used to tell small models)."""
    text = str(value or "0").strip()
    for suffix, factor in _FACTORS.items():
        if text.endswith(suffix):
            return int(_decimal(text.removesuffix(suffix)) * factor)
    return int(_decimal(text))


def _decimal(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if 0 <= number < 1e18 else 0.0


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _secret_ref(value: object, *, key: str) -> SecretRef | None:
    if isinstance(value, str) and value:
        return SecretRef(name=value, key=key)
    if isinstance(value, Mapping) and isinstance(value.get("name"), str) and value["name"]:
        return SecretRef(name=value["name"], key=str(value.get("key") or key))
    return None


def _epoch(value: object) -> int:
    if not isinstance(value, str):
        return 0
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
