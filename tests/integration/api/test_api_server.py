"""CRDs and examples against the real API server."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hearth_api.crd import build_crds
from hearth_api.kinds import KINDS
from hearth_api.parse import parse_file, parse_object, parse_observed
from integration.api.server import CRDS, ApiServer

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "crds/examples").rglob("*.yaml"))


def without_empty(node: Any) -> Any:
    """Return a JSON value without empty lists and maps, which the models have and the schemas do not default."""
    if not isinstance(node, dict):
        return [without_empty(item) for item in node] if isinstance(node, list) else node
    return {
        name: without_empty(value) for name, value in node.items() if value != [] and (value != {} or name == "managed")
    }


def test_the_server_keeps_every_field_of_the_schemas(server: ApiServer) -> None:
    """A keyword that the server drops silently would be a constraint that does not hold."""
    for crd in build_crds().values():
        stored = server.request("GET", f"{CRDS}/{crd['metadata']['name']}").body
        wanted = crd["spec"]["versions"][0]
        assert stored["spec"]["versions"][0]["schema"] == wanted["schema"]
        assert stored["spec"]["versions"][0]["additionalPrinterColumns"] == wanted["additionalPrinterColumns"]
        conditions = {c["type"]: c["status"] for c in stored["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(ROOT / "crds/examples").as_posix())
def test_example_applies_and_gets_the_defaults_of_the_models(server: ApiServer, path: Path) -> None:
    resources = parse_file(path)
    for document, resource in zip(yaml.safe_load_all(path.read_text()), resources, strict=True):
        answer = server.apply(document)
        assert answer.ok, answer.message
        stored = server.get(resource.kind, resource.metadata.name).body
        assert stored["spec"] == without_empty(resource.spec.to_json_object())
        assert parse_observed(stored).spec == resource.spec
        assert stored["status"] == {"observedGeneration": -1}
        # The server keeps that default with the next write of whatever kind; from then on the same is no change.
        again = server.apply(document)
        assert again.body["metadata"]["generation"] == stored["metadata"]["generation"]
        third = server.apply(document)
        assert third.body["metadata"]["resourceVersion"] == again.body["metadata"]["resourceVersion"]
        server.delete(resource.kind, resource.metadata.name)


def test_a_status_of_an_older_or_newer_release_can_be_read(server: ApiServer) -> None:
    """The server prunes what it does not know; what it returns is read without complaint."""
    obj = yaml.safe_load((ROOT / "crds/examples/knowledgebase/smallest.yaml").read_text())
    assert server.apply(obj).ok
    stored = server.get("KnowledgeBase", "smallest").body
    newer = stored | {"spec": stored["spec"] | {"privacy": {"mask": True}}, "status": {"phase": "x", "documents": 3}}
    assert parse_observed(newer).status.documents == 3
    server.delete("KnowledgeBase", "smallest")


def test_all_kinds_answer_to_their_category_and_short_names(server: ApiServer) -> None:
    resources = server.request("GET", "/apis/hearth.banjonet.com/v1alpha1").body["resources"]
    named = {r["name"]: r for r in resources if "/" not in r["name"]}
    for kind in KINDS.values():
        entry = named[kind.info.plural]
        assert entry["shortNames"] == [kind.info.short_name]
        assert entry["categories"] == ["hearth", "all"]
    assert {f"{kind.info.plural}/status" for kind in KINDS.values()} <= {r["name"] for r in resources}


def test_status_and_spec_are_written_apart(server: ApiServer) -> None:
    obj = yaml.safe_load((ROOT / "crds/examples/knowledgebase/smallest.yaml").read_text())
    created = server.create(obj | {"status": {"documents": 5}}).body
    assert created["status"] == {"observedGeneration": -1}, "what a client says of the status does not count"
    written = server.replace(created | {"status": {"documents": 5}}, status=True, dry_run=False).body
    assert written["status"] == {"documents": 5}
    assert written["metadata"]["generation"] == created["metadata"]["generation"]
    assert parse_object(written, strict=True).status.documents == 5
    server.delete("KnowledgeBase", "smallest")
