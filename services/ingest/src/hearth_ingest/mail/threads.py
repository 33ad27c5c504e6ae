"""Conversations from References and In-Reply-To, after Jamie Zawinski's algorithm, within one source.

Pure: the same set of mails gives the same threads in whatever order they are given. Messages that are referred to and
are not there still hold a conversation together. A chain that would close a loop is not followed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What grouping needs of a mail. `key` is unique, `mid` may be shared or empty; `time` is in Unix seconds."""

    key: str
    mid: str
    references: tuple[str, ...]
    time: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mail stands: the root's message id, its position by time from 1, the key of its parent mail."""

    root: str
    position: int
    parent: str | None


def group(nodes: Iterable[Node]) -> Mapping[str, Place]:
    """Return the place of every mail by key."""
    ordered = sorted(nodes, key=lambda node: (node.time is None, node.time or 0.0, node.key))
    holder: dict[str, str] = {}
    for node in ordered:
        if node.mid:
            holder.setdefault(node.mid, node.key)
    parents = _link(ordered)
    threads: dict[str, list[Node]] = {}
    for node in ordered:
        threads.setdefault(_root(_name(node), parents), []).append(node)
    return {
        node.key: Place(root, position, _parent_key(node, parents, holder))
        for root, members in threads.items()
        for position, node in enumerate(members, start=1)
    }


def _name(node: Node) -> str:
    return node.mid or f"\0{node.key}"


def _link(ordered: list[Node]) -> dict[str, str]:
    """Return parent message ids. A mail's own last reference beats what others' chains say of it."""
    parents: dict[str, str] = {}
    for node in ordered:
        own = _name(node)
        chain = [ref for ref in node.references if ref != own]
        if chain and not _reaches(chain[-1], own, parents):
            parents[own] = chain[-1]
    for node in ordered:
        chain = [ref for ref in node.references if ref != _name(node)]
        for parent, child in pairwise(chain):
            if child not in parents and parent != child and not _reaches(parent, child, parents):
                parents[child] = parent
    return parents


def _reaches(start: str, goal: str, parents: Mapping[str, str]) -> bool:
    at: str | None = start
    while at is not None:
        if at == goal:
            return True
        at = parents.get(at)
    return False


def _root(name: str, parents: Mapping[str, str]) -> str:
    while (above := parents.get(name)) is not None:
        name = above
    return name


def _parent_key(node: Node, parents: Mapping[str, str], holder: Mapping[str, str]) -> str | None:
    """Return the nearest ancestor that is there, so that a missing mail in between does not cut the chain."""
    at = parents.get(_name(node))
    while at is not None:
        found = holder.get(at)
        if found is not None and found != node.key:
            return found
        at = parents.get(at)
    return None
