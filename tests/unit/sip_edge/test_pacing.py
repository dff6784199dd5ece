"""The window of a fan-out: never exceeded, nothing lost, a silent watcher delays nobody (invariants 5 and 6)."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from sip_edge.domain.pacing import Pacer

PATIENCE = 1.0


def test_items_to_one_destination_leave_in_a_window_and_the_next_ones_as_places_become_free() -> None:
    pacer: Pacer[str] = Pacer(window=2, patience=PATIENCE)
    for item in "abcde":
        pacer.put("one", item)
    first = pacer.take(0.0)
    assert [item for _, item in first] == ["a", "b"]
    assert (pacer.waiting, pacer.take(0.0)) == (3, [])
    pacer.answered(first[1][0])
    assert [item for _, item in pacer.take(0.0)] == ["c"]
    pacer.answered(first[1][0])
    assert pacer.take(0.0) == []


def test_a_full_window_holds_up_no_other_destination() -> None:
    pacer: Pacer[str] = Pacer(window=1, patience=PATIENCE)
    for destination, item in (("one", "a"), ("one", "b"), ("two", "c"), ("three", "d")):
        pacer.put(destination, item)
    assert sorted(item for _, item in pacer.take(0.0)) == ["a", "c", "d"]


def test_the_place_of_a_silent_watcher_is_free_again_when_its_time_is_over() -> None:
    pacer: Pacer[str] = Pacer(window=1, patience=PATIENCE)
    pacer.put("one", "a")
    pacer.put("one", "b")
    [(number, _)] = pacer.take(10.0)
    assert pacer.next_expiry() == 11.0
    pacer.expire(10.9)
    assert pacer.take(10.9) == []
    pacer.expire(11.0)
    assert [item for _, item in pacer.take(11.0)] == ["b"]
    pacer.answered(number)
    pacer.put("one", "c")
    assert pacer.take(11.0) == []


def test_without_anything_under_way_there_is_nothing_to_wait_for() -> None:
    pacer: Pacer[str] = Pacer(window=1, patience=PATIENCE)
    assert (pacer.next_expiry(), pacer.waiting, pacer.take(0.0)) == (None, 0, [])
    pacer.expire(100.0)
    pacer.answered(7)
    assert pacer.next_expiry() is None


STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 3)),
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.just("answer"), st.integers(0, 50)),
    st.tuples(st.just("wait"), st.integers(1, 4)),
)


@given(window=st.integers(1, 4), steps=st.lists(STEPS, max_size=80))
def test_the_window_is_never_exceeded_and_every_item_leaves_once_in_its_order(
    window: int, steps: list[tuple[str, int]]
) -> None:
    pacer: Pacer[tuple[int, int]] = Pacer(window=window, patience=PATIENCE)
    now = 0.0
    given_: dict[int, list[tuple[int, int]]] = defaultdict(list)
    left: dict[int, list[tuple[int, int]]] = defaultdict(list)
    under_way: dict[int, tuple[int, float]] = {}

    def take() -> None:
        for number, item in pacer.take(now):
            assert number not in under_way
            under_way[number] = (item[0], now + PATIENCE)
            left[item[0]].append(item)
        assert all(count <= window for count in Counter(where for where, _ in under_way.values()).values())
        for destination, items in given_.items():
            open_places = window - sum(where == destination for where, _ in under_way.values())
            assert len(left[destination]) == len(items) or open_places == 0

    def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds
        pacer.expire(now)
        for number in [number for number, (_, until) in under_way.items() if until <= now]:
            del under_way[number]

    for count, (step, value) in enumerate(steps):
        if step == "put":
            given_[value].append((value, count))
            pacer.put(value, (value, count))
        elif step == "take":
            take()
        elif step == "answer":
            pacer.answered(value)
            under_way.pop(value, None)
        else:
            pass_time(value * PATIENCE / 4)
        assert pacer.waiting == sum(map(len, given_.values())) - sum(map(len, left.values()))
    while pacer.waiting:
        take()
        pass_time(PATIENCE)
    assert left == given_
    pass_time(PATIENCE)
    assert pacer.next_expiry() is None
    assert (pacer._windows, pacer._open) == ({}, {})
