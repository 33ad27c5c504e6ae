"""Conversations, whole or with gaps, loops and late arrivals."""

from hypothesis import given
from hypothesis import strategies as st

from hearth_ingest.mail.threads import Node, Place, group


def node(name: str, *references: str, time: float | None = None) -> Node:
    return Node(key=f"k{name}", mid=name, references=references, time=float(ord(name[0])) if time is None else time)


def test_replies_join_their_root_in_order_of_time() -> None:
    places = group([node("c", "a", "b"), node("a"), node("b", "a")])
    assert places == {"ka": Place("a", 1, None), "kb": Place("a", 2, "ka"), "kc": Place("a", 3, "kb")}


def test_a_missing_root_still_holds_its_thread_together() -> None:
    places = group([node("b", "a"), node("c", "a")])
    assert places == {"kb": Place("a", 1, None), "kc": Place("a", 2, None)}


def test_a_missing_mail_in_between_does_not_cut_the_chain() -> None:
    places = group([node("a"), node("c", "a", "b")])
    assert places["kc"] == Place("a", 2, "ka")


def test_loops_are_not_followed() -> None:
    places = group([node("a", "b"), node("b", "a"), node("c", "c")])
    assert len({places["ka"].root, places["kb"].root}) == 1
    assert places["kc"] == Place("c", 1, None)


def test_mails_without_a_date_come_last_and_without_an_id_stand_alone() -> None:
    undated = Node(key="u", mid="u", references=("a",), time=None)
    nameless = Node(key="n", mid="", references=(), time=1.0)
    places = group([undated, nameless, node("a")])
    assert places["u"].position == 2
    assert places["n"].position == 1


NAMES = st.sampled_from("abcdef")
NODES = st.lists(
    st.builds(
        lambda mid, refs, time: Node(key=mid, mid=mid, references=tuple(refs), time=time),
        NAMES,
        st.lists(NAMES, max_size=4),
        st.one_of(st.none(), st.floats(0, 9)),
    ),
    max_size=6,
    unique_by=lambda n: n.key,
)


@given(NODES, st.randoms())
def test_any_set_of_mails_is_grouped_the_same_in_any_order(nodes: list[Node], random: object) -> None:
    places = group(nodes)
    shuffled = list(nodes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert group(shuffled) == places
    assert set(places) == {n.key for n in nodes}
    by_root: dict[str, list[int]] = {}
    for place in places.values():
        by_root.setdefault(place.root, []).append(place.position)
    assert all(sorted(p) == list(range(1, len(p) + 1)) for p in by_root.values())
