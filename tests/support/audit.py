"""What the API server's audit log says of our service accounts, compared with the rights that they hold.

`hearth_hack.audit` makes the log. A `Right` is one verb on one resource (`pods`, `modeldeployments/status`), of one
object where `name` is not empty.
"""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
ACCOUNT = "system:serviceaccount"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """What a role grants, or a call needed."""

    group: str
    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        of = f" of {self.group}" if self.group else ""
        named = f" named {self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{of}{named}"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the API server answered it. `namespace` is where it was directed, `account` whose it was."""

    at: datetime
    namespace: str
    account: str
    account_namespace: str
    rights: tuple[Right, ...]
    code: int
    message: str
    agent: str
    uri: str

    @property
    def writes(self) -> bool:
        """Whether it was to change something."""
        return any(right.verb in WRITES for right in self.rights)

    @property
    def denied(self) -> bool:
        """Whether a right lacked, or admission refused."""
        return self.code == 403

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.account}: {' + '.join(map(str, self.rights))} {self.uri} -> {self.code}"


def read_audit(log: Path, *, namespace: str) -> list[Call]:
    """Return the calls of a namespace's accounts, the oldest first, from a log and its older, packed parts.

    Raises FileNotFoundError without a log.
    """
    if not log.exists():
        raise FileNotFoundError(log)
    older = sorted(log.parent.glob(f"{log.stem}-*{log.suffix}*"))
    older = [part for part in older if part.with_suffix("") not in older]  # one that is being packed is still there
    calls: dict[str, Call] = {}
    for part in (*older, log):
        for event in _events(part):
            call = parse_event(event)
            if call is not None and call.account_namespace == namespace:
                calls[event["auditID"]] = call  # a watch tells twice: that it began and that it ended
    return sorted(calls.values(), key=lambda call: call.at)


def parse_event(event: Mapping[str, Any]) -> Call | None:
    """Return what a service account asked of a resource, or None for anything else."""
    user = str(event.get("user", {}).get("username", ""))
    target = event.get("objectRef")
    if not user.startswith(f"{ACCOUNT}:") or not target or user.count(":") != 3:
        return None
    _, _, home, account = user.split(":")
    status = event.get("responseStatus") or {}
    code = int(status.get("code", 0))
    resource = "/".join(filter(None, (str(target["resource"]), str(target.get("subresource", "")))))
    group, name, verb = str(target.get("apiGroup", "")), str(target.get("name", "")), str(event["verb"])
    rights = [Right(group, resource, verb, name)]
    if code == 201 and verb in {"patch", "update"}:
        rights.append(Right(group, resource, "create"))  # applied, and it was not there: both rights were asked for
    return Call(
        at=datetime.fromisoformat(str(event["requestReceivedTimestamp"])).astimezone(UTC),
        namespace=str(target.get("namespace", "")),
        account=account,
        account_namespace=home,
        rights=tuple(rights),
        code=code,
        message=str(status.get("message", "")),
        agent=str(event.get("userAgent", "")),
        uri=str(event.get("requestURI", "")),
    )


def _events(part: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(part, "rt") if part.suffix == ".gz" else part.open() as lines:
        for line in lines:
            if line.endswith("\n"):  # the last one may still be on its way
                yield json.loads(line)


def grants(rules: Iterable[Mapping[str, Sequence[str]]]) -> frozenset[Right]:
    """Return every right of a role's rules, one by one."""
    return frozenset(
        Right(group, resource, verb, name)
        for rule in rules
        for group in rule.get("apiGroups") or ()
        for resource in rule.get("resources") or ()
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or ("",)
    )


def covers(held: Right, needed: Right) -> bool:
    """Whether one right is enough for another: one without a name is for all objects."""
    same = (held.group, held.resource, held.verb) == (needed.group, needed.resource, needed.verb)
    return same and held.name in {"", needed.name}


def unused(held: Iterable[Right], calls: Iterable[Call]) -> list[Right]:
    """Return the rights that no call needed. A denied one needs none: it had none."""
    needed = {right for call in calls if not call.denied for right in call.rights}
    return sorted(right for right in held if not any(covers(right, each) for each in needed))


def denied(calls: Iterable[Call]) -> list[Call]:
    """Return the calls that were refused for want of a right."""
    return [call for call in calls if call.denied]


def beyond(held: Iterable[Right], calls: Iterable[Call]) -> list[Call]:
    """Return the calls that were answered although no right of these allows them."""
    rights = tuple(held)
    return [
        call
        for call in calls
        if not call.denied and not all(any(covers(r, needed) for r in rights) for needed in call.rights)
    ]


def compare(
    account: str,
    rules: Iterable[Mapping[str, Sequence[str]]],
    calls: Iterable[Call],
    *,
    whole: bool = True,
    rare: Mapping[Right, str] | None = None,
    former: Iterable[Right] = (),
) -> list[str]:
    """Return one sentence for each difference between an account's rules and its calls.

    `whole` says that the calls are all that it ever does; `rare` are rights (names left out) that a whole run may
    never need, with the reason; `former` are rights that it held for a while only.
    """
    held, own = grants(rules), [call for call in calls if call.account == account]
    said = [f"{account} was denied: {call}: {call.message}" for call in _one_each(denied(own))]
    said += [f"{account} may do what no role of ours says: {call}" for call in _one_each(beyond({*held, *former}, own))]
    if whole:
        excused = {(right.group, right.resource, right.verb) for right in rare or {}}
        said += [
            f"{account} holds a right that nothing used: {right}"
            for right in unused(held, own)
            if (right.group, right.resource, right.verb) not in excused
        ]
    return said


def _one_each(calls: Iterable[Call]) -> list[Call]:
    """Return the first call for each set of rights: a loop repeats one ten thousand times."""
    first: dict[tuple[Right, ...], Call] = {}
    for call in calls:
        first.setdefault(call.rights, call)
    return list(first.values())
