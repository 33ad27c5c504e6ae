"""The audit log's reader, and rights compared with use: what the tests on a real API server rely on."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from support.audit import Right, compare, grants, parse_event, read_audit

SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"], "resourceNames": ["keys"]}
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", "patch"]}


def event(verb: str, resource: str, *, code: int = 200, number: int = 0, **target: str) -> dict[str, Any]:
    account = target.pop("account", "system:serviceaccount:hearth:op")
    return {
        "auditID": f"id-{number}",
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": account},
        "userAgent": "x",
        "requestURI": f"/api/v1/namespaces/hearth/{resource}",
        "objectRef": {"resource": resource, "namespace": "hearth", **target},
        "responseStatus": {"code": code, "message": "no"},
        "requestReceivedTimestamp": f"2026-11-23T08:00:{number:02d}.123456Z",
    }


def calls(*events: dict[str, Any]):
    return [call for each in events if (call := parse_event(each)) is not None]


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (event("get", "secrets", name="keys"), {Right("", "secrets", "get", "keys")}),
        (
            event("patch", "modeldeployments", name="a", subresource="status", apiGroup="g"),
            {Right("g", "modeldeployments/status", "patch", "a")},
        ),
        # Server-side apply of what was not there asks for both rights, and the log names one verb.
        (event("patch", "pods", name="a", code=201), {Right("", "pods", "patch", "a"), Right("", "pods", "create")}),
    ],
)
def test_a_call_needs_rights(each, expected) -> None:
    (call,) = calls(each)
    assert set(call.rights) == expected
    assert call.writes is (each["verb"] == "patch")


def test_others_than_our_accounts_and_other_paths_are_left_out() -> None:
    assert not calls(event("get", "pods", account="hearth-admin"), {**event("get", "x"), "objectRef": None})


def test_equal_rights_and_use_say_nothing() -> None:
    used = calls(
        event("get", "secrets", name="keys"),
        event("list", "secrets", name="keys"),
        event("patch", "pods", name="a", code=201),
    )
    assert compare("op", [SECRETS, PODS], used) == []


def test_each_difference_has_a_sentence() -> None:
    used = calls(
        event("get", "secrets", name="other", code=403),
        event("get", "secrets", name="third"),
        event("list", "secrets", name="keys"),
        event("delete", "pods", code=404),
    )
    said = compare("op", [SECRETS, PODS], used)
    assert [line.split(": ")[0] for line in said] == [
        "op was denied",
        *["op may do what no role of ours says"] * 2,
        *["op holds a right that nothing used"] * 3,
    ]
    assert said[0].endswith("get secrets named other /api/v1/namespaces/hearth/secrets -> 403: no")
    assert "op holds a right that nothing used: get secrets named keys" in said
    assert len(compare("op", [SECRETS, PODS], used, whole=False)) == 3
    excused = compare("op", [SECRETS, PODS], used, rare={Right("", "pods", "patch"): "once a year"})
    assert len(excused) == 5


def test_what_was_held_for_a_while_may_have_been_used_then() -> None:
    used = calls(
        event("get", "secrets", name="keys"),
        event("list", "secrets", name="keys"),
        event("get", "secrets", name="left"),
        event("get", "secrets", name="never"),
    )
    (said,) = compare("op", [SECRETS], used, former=[Right("", "secrets", "get", "left")])
    assert "op may do what no role of ours says" in said
    assert "named never" in said


def test_one_account_is_not_taken_for_another() -> None:
    used = calls(event("list", "secrets", name="keys", account="system:serviceaccount:hearth:other"))
    assert "op holds a right that nothing used: list secrets named keys" in compare("op", [SECRETS], used)


def test_the_log_is_read_with_its_older_parts_and_without_a_half_line(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    with gzip.open(tmp_path / "audit-2026-11-23T07-00-00.000.log.gz", "wt") as older:
        older.write(json.dumps(event("list", "pods", number=1)) + "\n")
    (tmp_path / "audit-2026-11-23T07-30-00.000.log").write_text(json.dumps(event("watch", "pods", number=2)) + "\n")
    ended = {**event("watch", "pods", number=2)}
    other = event("get", "pods", number=4, account="system:serviceaccount:lab:op")
    log.write_text("".join(json.dumps(e) + "\n" for e in (ended, event("get", "pods", number=3), other)) + '{"audi')
    assert [call.rights[0].verb for call in read_audit(log, namespace="hearth")] == ["list", "watch", "get"]
    with pytest.raises(FileNotFoundError):
        read_audit(tmp_path / "none.log", namespace="hearth")


def test_rules_become_rights() -> None:
    assert {str(right) for right in grants([SECRETS, PODS])} == {
        "get secrets named keys", "list secrets named keys", "create pods", "patch pods",
    }  # fmt: skip
