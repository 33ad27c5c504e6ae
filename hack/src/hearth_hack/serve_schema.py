"""Write the JSON schema of Ray's Serve document from the pinned Ray: `python -m hearth_hack.serve_schema [--check]`.

Ray ignores fields that it does not know, so a misspelt `label_selector` un-pins a model without a word. The schema
that is written refuses them. It keeps what a check needs and nothing for people: no titles, descriptions or defaults.
"""

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[3] / "operator/src/hearth_operator/plan/serve_schema.json"
_FOR_PEOPLE = frozenset({"title", "description", "default", "examples"})
_MAPS_OF_SCHEMAS = frozenset({"properties", "$defs"})


def strict(schema: Any, *, names: bool = False) -> Any:
    """Return a schema that refuses unknown fields. `names`: the keys of this object are names, not keywords."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: strict(value, names=key in _MAPS_OF_SCHEMAS and not names)
        for key, value in schema.items()
        if names or key not in _FOR_PEOPLE
    }
    if not names and "properties" in kept:
        kept["additionalProperties"] = False
    return kept


def make() -> str:
    """Return the text of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own use of pydantic
        import ray  # noqa: PLC0415 (heavy, and only needed here)
        from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

        made = ServeDeploySchema.model_json_schema()
    schema = {"$comment": f"Ray {ray.__version__}, ServeDeploySchema", **strict(made)}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def main(argv: Sequence[str]) -> int:
    """Write the file, or with --check compare it."""
    text = make()
    if "--check" not in argv:
        TARGET.write_text(text)
        return 0
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    print(f"{TARGET.name} differs from the pinned Ray's schema: run ./hack/generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
