"""Writes what follows from the models: CRDs, the chart's copy of them, the field tables, the README's reasons.

`python -m hearth_api.generate` writes; `--check` only compares, names what differs and exits 1.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hearth_api.condition_reasons import REASONS_OF
from hearth_api.crd import build_crds, build_object_schema
from hearth_api.kinds import KINDS
from hearth_api.reasons import Reason

HEADER = "# Generated from hearth_api.kinds by `python -m hearth_api.generate`. Change the models, not this file.\n"
FOLDERS = ("crds", "charts/hearth/files/crds")
README = "crds/README.md"
BEGIN, END = "<!-- reasons: generated -->", "<!-- end of reasons -->"
CONDITIONS_BEGIN, CONDITIONS_END = "<!-- conditions: generated -->", "<!-- end of conditions -->"


class _PlainDumper(yaml.SafeDumper):
    """Writes equal lists twice instead of naming them by anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- the base class decides the signature
        return True


def build_files(readme: str) -> dict[str, str]:
    """Return the generated texts by path from the repository's root. `readme` is the text of crds/README.md."""
    files: dict[str, str] = {}
    for name, crd in build_crds().items():
        text = HEADER + yaml.dump(crd, Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)
        files |= {f"{folder}/{name}": text for folder in FOLDERS}
    return files | {"crds/FIELDS.md": build_fields_page(), README: fill_reasons(readme)}


def fill_reasons(readme: str) -> str:
    """Return the README with the tables of conditions and of reasons between their markers."""
    rows = "".join(f"| `{reason.value}` | {reason.meaning} |\n" for reason in Reason)
    readme = _fill(readme, (BEGIN, END), f"| reason | means |\n| --- | --- |\n{rows}")
    rows = "".join(
        f"| `{type_}` | {', '.join(f'`{reason.value}`' for reason in reasons)} |\n"
        for type_, reasons in REASONS_OF.items()
    )
    return _fill(readme, (CONDITIONS_BEGIN, CONDITIONS_END), f"| condition | reasons |\n| --- | --- |\n{rows}")


def _fill(text: str, markers: tuple[str, str], table: str) -> str:
    begin, end = markers
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{README} needs the lines {begin} and {end}")
    return f"{head}{begin}\n\n{table}\n{end}{tail}"


def build_fields_page() -> str:
    """Return a table of the spec's fields per kind."""
    parts = ["# Fields\n\nGenerated from hearth_api.kinds. `kubectl explain` shows the same on a cluster.\n"]
    for kind in KINDS.values():
        schema = build_object_schema(kind)["properties"]
        for block in ("spec", "status"):
            parts.append(f"\n## {kind.info.kind} {block}\n\n| field | type | what |\n| --- | --- | --- |\n")
            parts += [f"| `{path}` | {kind_of} | {what} |\n" for path, kind_of, what in _rows(schema[block], "")]
    return "".join(parts)


def _rows(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        inner = child.get("items", child)
        here += "[]" if "items" in child else ""
        required = name in schema.get("required", ())
        yield here, _describe_type(child, required=required), child.get("description", "")
        if not ("items" in child and name == "conditions"):
            yield from _rows(inner, here)


def _describe_type(schema: Mapping[str, Any], *, required: bool) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        text = "quantity"
    elif "enum" in schema:
        text = ", ".join(schema["enum"])
    elif "additionalProperties" in schema:
        text = "map"
    elif "items" in schema:
        text = "list"
    else:
        text = schema.get("format", schema["type"])
    low, high = schema.get("minimum"), schema.get("maximum")
    if (low is not None or high is not None) and text != "quantity":
        text += f" {'' if low is None else low}..{'' if high is None else high}"
    default = schema.get("default")
    if default is not None and not isinstance(default, Mapping):
        text += f" = {str(default).lower() if isinstance(default, bool) else default}"
    return text + (", required" if required else "")


def find_differences(root: Path) -> list[str]:
    """Return the paths of generated files that are missing or differ, and of files that nothing generates."""
    files = _build(root)
    wrong = [name for name, text in files.items() if not _equals(root / name, text)]
    present = {path.relative_to(root).as_posix() for folder in FOLDERS for path in (root / folder).glob("*.yaml")}
    return sorted([*wrong, *(present - set(files))])


def _build(root: Path) -> dict[str, str]:
    return build_files((root / README).read_text(encoding="utf-8"))


def _equals(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def write_files(root: Path) -> list[str]:
    """Write what differs and return its paths."""
    changed = []
    for name, text in _build(root).items():
        path = root / name
        if not _equals(path, text):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m hearth_api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where something differs")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[3], help="the repository's root")
    options = parser.parse_args(arguments)
    if not options.check:
        for name in write_files(options.root):
            print(f"wrote {name}")
        return 0
    differences = find_differences(options.root)
    for name in differences:
        print(f"{name} differs from the models: run `python -m hearth_api.generate`", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
