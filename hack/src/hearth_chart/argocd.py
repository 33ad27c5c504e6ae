"""The entries of Argo CD's ConfigMap, put together from the scripts in charts/argocd."""

from pathlib import Path
from typing import Any

import yaml

from hearth_api.kinds import KINDS
from hearth_api.names import GROUP

HEADER = """\
# Generated from hearth.banjonet.com/_ by ./hack/generate; README.md says how to use it.
# One health check for the whole group: Argo CD takes a wildcard only under `resource.customizations`.
# Actions have no wildcard, so the same ones stand once per kind.
"""
ACTIONS = ("restart", "resume", "run-now", "suspend", "wake")


class _BlockDumper(yaml.SafeDumper):
    """Writes scripts as blocks, so that a reader sees lines."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_BlockDumper.add_representer(str, _write_text)


def dump(value: Any) -> str:
    """Return YAML in the order of the keys, with texts of several lines as blocks."""
    return yaml.dump(value, Dumper=_BlockDumper, sort_keys=False, width=1000)


def build_config_map(scripts: Path) -> str:
    """Return the text of argocd-cm.yaml. `scripts` is the folder with health.lua and actions/."""
    health = (scripts / "health.lua").read_text(encoding="utf-8")
    actions = dump(
        {
            "discovery.lua": (scripts / "actions" / "discovery.lua").read_text(encoding="utf-8"),
            "definitions": [
                {"name": name, "action.lua": (scripts / "actions" / name / "action.lua").read_text(encoding="utf-8")}
                for name in ACTIONS
            ],
        }
    )
    data = {"resource.customizations": dump({f"{GROUP}/*": {"health.lua": health}})}
    data |= {f"resource.customizations.actions.{GROUP}_{kind}": actions for kind in KINDS}
    return HEADER + dump(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "argocd-cm", "namespace": "argocd", "labels": {"app.kubernetes.io/part-of": "argocd"}},
            "data": data,
        }
    )
