"""CustomResourceDefinitions from the kinds. Pure."""

from typing import Any

from hearth_api.kinds import KINDS, AnyResource, ObjectMeta
from hearth_api.kinds.base import NOTHING_OBSERVED, PrinterColumn
from hearth_api.names import GROUP, VERSION
from hearth_api.schema import Schema, build_schema

CATEGORIES = ("hearth", "all")


def build_crd(kind: type[AnyResource]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind."""
    info = kind.info
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "hearth"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.singular,
                "shortNames": [info.short_name],
                "categories": list(CATEGORIES),
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [_column(column) for column in info.columns],
                    "schema": {"openAPIV3Schema": build_object_schema(kind)},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def build_object_schema(kind: type[AnyResource]) -> Schema:
    """Return the schema of a whole object. Of metadata Kubernetes lets a schema bound only the name."""
    fields = kind.model_fields
    spec = build_schema(_model(fields["spec"].annotation))
    status = build_schema(_model(fields["status"].annotation), defaults=False)
    # Without it whoever follows kstatus (Flux, kubectl-like tools) takes a resource that nobody looked at for current.
    status["default"] = {"observedGeneration": NOTHING_OBSERVED}
    name = build_schema_of_name()
    validations = [rule.to_validation() for rule in kind.rules]
    return {
        "description": kind.info.description,
        "type": "object",
        **({"x-kubernetes-validations": validations} if validations else {}),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": spec,
            "status": status,
        },
    }


def build_schema_of_name() -> Schema:
    """Return the schema of metadata.name: short enough for every name that is derived from it."""
    name = ObjectMeta.model_json_schema()["properties"]["name"]
    return {"type": "string", "maxLength": name["maxLength"], "pattern": name["pattern"]}


def build_crds() -> dict[str, dict[str, Any]]:
    """Return all CustomResourceDefinitions by file name."""
    return {f"{kind.info.plural}.yaml": build_crd(kind) for kind in KINDS.values()}


def _model(annotation: Any) -> Any:
    if not isinstance(annotation, type):
        raise TypeError(f"{annotation!r} is no model")
    return annotation


def _column(column: PrinterColumn) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    return body | ({"priority": column.priority} if column.priority else {})
