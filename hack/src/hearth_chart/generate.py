"""Write, or with --check compare, the chart's generated files: `python -m hearth_chart.generate [--check]`."""

import json
import sys
from pathlib import Path

import yaml

from hearth_api.names import GROUP
from hearth_chart.argocd import build_config_map
from hearth_chart.dashboard import build_dashboard
from hearth_chart.values import build_schema
from hearth_operator.rbac import role_rules

CHART = Path(__file__).resolve().parents[3] / "charts" / "hearth"
ARGO_CD = CHART.parent / "argocd"


def build_files() -> dict[Path, str]:
    """Return the content of every generated file."""
    rules = yaml.safe_dump(role_rules(), sort_keys=False, default_flow_style=None, width=120)
    return {
        ARGO_CD / "argocd-cm.yaml": build_config_map(ARGO_CD / GROUP / "_"),
        CHART / "values.schema.json": json.dumps(build_schema(), indent=2, sort_keys=True) + "\n",
        CHART / "files" / "rbac" / "operator.yaml": rules,
        CHART / "files" / "monitoring" / "dashboard.json": json.dumps(build_dashboard(), indent=1) + "\n",
    }


def main() -> int:
    """Return 1 when --check finds a difference."""
    stale = [
        path for path, text in build_files().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(CHART.parents[1])} differs from its source: run ./hack/generate", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(build_files()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
