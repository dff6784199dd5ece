"""Micro-batching with lanes: order within a lane, bounds, nothing lost (architecture, "Micro-batching")."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vedette.batching import Batcher


def batcher(max_batch: int = 10, max_in_flight: int = 2, max_queue: int = 100) -> Batcher[str]:
    return Batcher(max_batch=max_batch, max_in_flight=max_in_flight, max_queue=max_queue)


def items(batch: list[tuple[object, str]]) -> list[str]:
    return [item for _, item in batch]


def test_what_waits_goes_together_and_in_order() -> None:
    batches = batcher()
    assert batches.take() == []
    for name in "abc":
        assert batches.put(name, name)
    assert batches.queued == 3
    assert batches.take() == [("a", "a"), ("b", "b"), ("c", "c")]
    assert (batches.queued, batches.in_flight) == (0, 1)
    assert batches.take() == []
    assert batches.in_flight == 1


def test_a_batch_has_an_upper_size_and_the_rest_goes_next() -> None:
    batches = batcher(max_batch=2, max_in_flight=3)
    for name in "abcde":
        batches.put(name, name)
    assert [items(batches.take()) for _ in range(3)] == [["a", "b"], ["c", "d"], ["e"]]


def test_a_batch_of_exactly_the_greatest_size_goes_whole() -> None:
    batches = batcher(max_batch=2)
    batches.put("a", "a")
    batches.put("b", "b")
    assert items(batches.take()) == ["a", "b"]


def test_no_more_than_so_many_batches_are_in_flight() -> None:
    batches = batcher(max_batch=1, max_in_flight=2)
    for name in "abc":
        batches.put(name, name)
    assert [items(batches.take()) for _ in range(3)] == [["a"], ["b"], []]
    batches.returned()
    assert items(batches.take()) == ["c"]
    assert batches.in_flight == 2


def test_the_limit_of_batches_may_change_while_some_are_in_flight() -> None:
    batches = batcher(max_batch=1, max_in_flight=2)
    for name in "abc":
        batches.put(name, name)
    batches.take()
    batches.take()
    batches.max_in_flight = 1
    batches.returned()
    assert batches.take() == []
    batches.returned()
    assert items(batches.take()) == ["c"]


def test_the_next_of_a_lane_waits_until_the_one_before_it_is_released_however_long_the_batch_is_back() -> None:
    batches = batcher()
    for item in ("a1", "a2", "a3"):
        batches.put("a", item)
    batches.put("b", "b1")
    assert items(batches.take()) == ["a1", "b1"]
    batches.returned()
    assert batches.take() == []
    batches.put("a", "a4")
    batches.release("b")
    assert batches.take() == []
    for item in ("a2", "a3", "a4"):
        batches.release("a")
        assert items(batches.take()) == [item]
        assert batches.take() == []
        batches.returned()
    batches.release("a")
    assert (batches.take(), batches.queued) == ([], 0)


def test_what_waits_behind_its_own_lane_is_not_ready() -> None:
    batches = batcher()
    for number in range(5):
        batches.put("a", f"a{number}")
    batches.put("b", "b")
    assert (batches.queued, batches.ready, batches.ahead("a"), batches.ahead("c")) == (6, 2, 5, 0)
    batches.take()
    assert (batches.queued, batches.ready, batches.ahead("a")) == (4, 0, 5)
    batches.release("a")
    assert (batches.queued, batches.ready, batches.ahead("a")) == (4, 1, 4)


def test_a_lane_whose_items_are_done_with_starts_anew() -> None:
    batches = batcher()
    batches.put("a", "first")
    batches.take()
    batches.release("a")
    batches.put("a", "second")
    assert items(batches.take()) == ["second"]


def test_a_full_queue_takes_nothing_more_and_what_is_in_flight_does_not_count() -> None:
    batches = batcher(max_queue=2)
    assert batches.put("a", "a1")
    assert batches.put("a", "a2")
    assert (batches.full, batches.queued) == (True, 2)
    assert not batches.put("b", "b1")
    assert items(batches.take()) == ["a1"]
    assert (batches.full, batches.queued) == (False, 1)
    assert batches.put("b", "b1")
    assert not batches.put("c", "c1")
    assert items(batches.take()) == ["b1"]


class Lanes(RuleBasedStateMachine):
    """A batcher beside a list of what was put in."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: Batcher[int] = Batcher(max_batch=3, max_in_flight=2, max_queue=8)
        self.waiting: dict[str, list[int]] = {}
        self.out: dict[str, int] = {}
        self.numbers = 0
        self.in_flight = 0

    @rule(lane=st.sampled_from("abc"))
    def put(self, lane: str) -> None:
        room = sum(map(len, self.waiting.values())) < 8
        self.numbers += 1
        assert self.batches.full == (not room)
        assert self.batches.put(lane, self.numbers) == room
        if room:
            self.waiting.setdefault(lane, []).append(self.numbers)

    @rule()
    def take(self) -> None:
        batch = self.batches.take()
        ready = [lane for lane, numbers in self.waiting.items() if numbers and lane not in self.out]
        assert len(batch) == (min(3, len(ready)) if self.in_flight < 2 else 0)
        self.in_flight += bool(batch)
        for lane, number in batch:
            assert isinstance(lane, str)
            assert lane not in self.out
            assert number == self.waiting[lane].pop(0)
            self.out[lane] = number

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(sorted(self.out)))
        del self.out[lane]
        self.batches.release(lane)

    @precondition(lambda self: self.in_flight)
    @rule()
    def returned(self) -> None:
        self.in_flight -= 1
        self.batches.returned()

    @invariant()
    def counts_are_right(self) -> None:
        assert self.batches.queued == sum(map(len, self.waiting.values()))
        assert self.batches.in_flight == self.in_flight
        assert self.batches.ready == sum(bool(held) and lane not in self.out for lane, held in self.waiting.items())
        for lane in "abc":
            assert self.batches.ahead(lane) == len(self.waiting.get(lane, ())) + (lane in self.out)

    def teardown(self) -> None:
        self.batches.max_in_flight = 1000
        while any(self.waiting.values()) or self.out:
            for lane in list(self.out):
                self.release_all(lane)
            self.take_all()
        assert self.batches._lanes == {}

    def release_all(self, lane: str) -> None:
        del self.out[lane]
        self.batches.release(lane)

    def take_all(self) -> None:
        for lane, number in self.batches.take():
            assert isinstance(lane, str)
            assert number == self.waiting[lane].pop(0)
            self.out[lane] = number


TestLanes = Lanes.TestCase
TestLanes.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
