"""Every constraint of every schema, against the real API server: its bound is accepted, one step beyond is refused.

The constraints are read from the generated schemas, so one without a case fails here. Files are read without a
cluster by the models alone: each object is given to them too, and they must judge alike.
"""

from collections.abc import Iterator

import pytest

from hearth_api.crd import build_crd
from hearth_api.kinds import KINDS
from hearth_api.parse import ParseError, parse_object
from integration.api.cases import OBJECTS, PATTERNS, RULES, Change
from integration.api.constraints import (
    ABSENT,
    Constraint,
    Json,
    enumerate_constraints,
    get,
    make_accepted,
    make_refused,
    names_field,
    put,
)
from integration.api.server import Answer, ApiServer

MAKERS = {pattern: maker for pattern, (maker, _, _) in PATTERNS.items()}
WHOLE = {name: build_crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for name, kind in KINDS.items()}
SCHEMAS = {name: schema["properties"] for name, schema in WHOLE.items()}
CONSTRAINTS = [
    constraint
    for kind, schema in SCHEMAS.items()
    for block in ("metadata", "spec", "status")
    for constraint in enumerate_constraints(kind, schema[block], (block,))
    # Of metadata Hearth bounds the name; the rest is Kubernetes' own.
    if block != "metadata" or (constraint.path == ("metadata", "name") and constraint.keyword != "type")
]
MECHANICAL = [c for c in CONSTRAINTS if c.keyword not in {"rule", "pattern"}]
PATTERNED = [c for c in CONSTRAINTS if c.keyword == "pattern"]
OF_OBJECTS = [
    Constraint(kind, tuple(rule["fieldPath"].lstrip(".").split(".")), "rule", rule, schema)
    for kind, schema in WHOLE.items()
    for rule in schema.get("x-kubernetes-validations", ())
]
RULED = [*(c for c in CONSTRAINTS if c.keyword == "rule"), *OF_OBJECTS]


def objects_with(constraint: Constraint) -> list[Json]:
    """Return the objects that set the field, or its parent where the field is to be unknown."""
    path = constraint.path[:-1] if constraint.keyword in {"unknown", "rule"} else constraint.path
    found = [obj for obj in OBJECTS if obj["kind"] == constraint.kind and get(obj, path) is not ABSENT]
    assert found, f"cases.py has no {constraint.kind} with {'.'.join(path)}"
    return found


@pytest.fixture(scope="module")
def created(server: ApiServer) -> Iterator[dict[str, Json]]:
    """All objects of cases.py, as the server returned them; status can be written to these."""
    answers = [server.create(obj) for obj in OBJECTS]
    assert all(answer.ok for answer in answers), [answer.message for answer in answers if not answer.ok]
    yield {answer.body["metadata"]["name"]: answer.body for answer in answers}
    for obj in OBJECTS:
        server.delete(obj["kind"], obj["metadata"]["name"])


def send(server: ApiServer, created: dict[str, Json], obj: Json, *, block: str) -> Answer:
    """Send an object without storing it: as a new one, or its status to the one that exists."""
    if block == "status":
        base = created[obj["metadata"]["name"]]
        return server.replace(base | {"status": obj["status"]}, status=True)
    fresh = {key: value for key, value in obj.items() if key != "status"}
    if block == "spec":
        fresh["metadata"] = {"name": f"new-{obj['metadata']['name']}"}
    return server.create(fresh, dry_run=True)


def accepted_offline(obj: Json) -> bool:
    try:
        parse_object(obj)
    except ParseError:
        return False
    return True


@pytest.mark.parametrize("constraint", MECHANICAL, ids=str)
def test_beyond_the_bound_is_refused_and_named(
    server: ApiServer, created: dict[str, Json], constraint: Constraint
) -> None:
    broken = make_refused(constraint, objects_with(constraint)[0], MAKERS)
    answer = send(server, created, broken, block=constraint.path[0])
    assert not answer.ok
    assert answer.code in {400, 422}, answer.message
    assert names_field(answer.message, constraint.field), answer.message
    assert not accepted_offline(broken)


@pytest.mark.parametrize("constraint", MECHANICAL, ids=str)
def test_the_bound_itself_is_accepted(server: ApiServer, created: dict[str, Json], constraint: Constraint) -> None:
    """A value may be good in one object only, as engine OnnxRuntime is for embeddings: one acceptance suffices."""
    if constraint.keyword == "unknown":
        good = [[obj] for obj in objects_with(constraint)]
    else:
        good = [make_accepted(constraint, obj, MAKERS) for obj in objects_with(constraint)]
    for candidates in zip(*good, strict=True):
        answers = [(send(server, created, obj, block=constraint.path[0]), obj) for obj in candidates]
        assert any(answer.ok and accepted_offline(obj) for answer, obj in answers), [a.message for a, _ in answers]


@pytest.mark.parametrize("constraint", PATTERNED, ids=str)
def test_patterns(server: ApiServer, created: dict[str, Json], constraint: Constraint) -> None:
    assert constraint.value in PATTERNS, f"cases.py has no texts for {constraint.value}"
    _, matching, others = PATTERNS[constraint.value]
    obj = objects_with(constraint)[0]
    for text in matching:
        candidate = put(obj, constraint.path, text)
        answer = send(server, created, candidate, block=constraint.path[0])
        if constraint.schema.get("maxLength", 0) >= len(text):
            assert answer.ok, f"{text!r}: {answer.message}"
            assert accepted_offline(candidate), text
    for text in others:
        candidate = put(obj, constraint.path, text)
        answer = send(server, created, candidate, block=constraint.path[0])
        assert answer.code == 422, f"{text!r} was accepted"
        assert names_field(answer.message, constraint.field), answer.message
        assert not accepted_offline(candidate), text


PROPERTIES = sorted(
    {
        (c.kind, c.path)
        for c in CONSTRAINTS
        if c.path[0] == "spec" and c.path[-1] not in {"spec", "[]", "*", "unheardOf"}
    }
)


@pytest.mark.parametrize(
    ("kind", "path"), PROPERTIES, ids=lambda value: value if isinstance(value, str) else ".".join(value)
)
def test_null_means_absent_to_the_server_and_to_the_models(
    server: ApiServer, created: dict[str, Json], kind: str, path: tuple[str, ...]
) -> None:
    obj = next(obj for obj in OBJECTS if obj["kind"] == kind and get(obj, path) is not ABSENT)
    null, absent = put(obj, path, None), put(obj, path, ABSENT)
    answer = send(server, created, null, block="spec")
    assert answer.ok == send(server, created, absent, block="spec").ok, answer.message
    assert answer.ok == accepted_offline(null) == accepted_offline(absent), answer.message


def changed(obj: Json, change: Change) -> Json:
    for path, value in change:
        obj = put(obj, path, value)
    return obj


@pytest.mark.parametrize("constraint", RULED, ids=str)
def test_rules(server: ApiServer, created: dict[str, Json], constraint: Constraint) -> None:
    key = (constraint.kind, constraint.field, constraint.value["rule"])
    assert key in RULES, f"cases.py has no pair for {key}"
    obj, good, bad = RULES[key]
    transition = "oldSelf" in constraint.value["rule"]
    if transition or constraint in OF_OBJECTS:  # the latter may compare with the object's name
        there = created[obj["metadata"]["name"]]
        accepted, refused = server.replace(changed(there, good)), server.replace(changed(there, bad))
    else:
        accepted = send(server, created, changed(obj, good), block="spec")
        refused = send(server, created, changed(obj, bad), block="spec")
    assert accepted.ok, accepted.message
    assert refused.code == 422
    assert constraint.value["message"] in refused.message
    assert names_field(refused.message, constraint.field), refused.message
    if not transition:
        assert accepted_offline(changed(obj, good))
        with pytest.raises(ParseError) as error:
            parse_object(changed(obj, bad))
        assert constraint.value["message"] in str(error.value)
        assert names_field(str(error.value), constraint.field), str(error.value)


def test_every_case_belongs_to_a_constraint() -> None:
    rules = {(c.kind, c.field, c.value["rule"]) for c in RULED}
    assert set(RULES) == rules
    assert set(PATTERNS) == {c.value for c in PATTERNED}
