"""How long a request would wait, and who is refused first."""

import pytest

from sip_edge.domain.loop_lag import READINGS, LoopLag
from sip_edge.domain.waiting_time import ASSUMED_RATE, LANE_FREE, REMEMBERED, WaitingTime, begins, is_too_long
from vedette.sip.message import Request
from vedette.sip.reader import read_message

BATCH, SLOTS = 100, 3
NOW = 1000.0


def used_to(size: int, seconds: float) -> WaitingTime:
    """After many batches of that size that took so long."""
    waiting = WaitingTime(BATCH)
    for _ in range(50):
        waiting.came_back(size, seconds, NOW)
    return waiting


def test_less_than_a_batch_in_the_queue_is_no_load_however_slow_the_core_is() -> None:
    assert used_to(1, 5.0).estimate(BATCH - 1, SLOTS, 10.0, NOW) == 0.0


def test_what_leaves_with_the_next_batches_waits_for_one() -> None:
    for queued in (BATCH, SLOTS * BATCH):
        assert used_to(BATCH, 0.2).estimate(queued, SLOTS, 0.0, NOW) == pytest.approx(0.2, rel=0.01)


def test_more_waits_for_the_rate_at_which_full_batches_come_back() -> None:
    """300 in 0.2 seconds are 1500 a second: 750 beyond those that are next take half a second."""
    assert used_to(BATCH, 0.2).estimate(SLOTS * BATCH + 750, SLOTS, 0.0, NOW) == pytest.approx(0.7, rel=0.01)
    assert used_to(BATCH, 0.4).estimate(SLOTS * BATCH + 750, SLOTS, 0.0, NOW) == pytest.approx(1.4, rel=0.01)


def test_small_batches_do_not_show_the_rate() -> None:
    """A slow core with few requests: a burst is no overload, since it leaves in large batches."""
    estimate = used_to(1, 0.3).estimate(SLOTS * BATCH + 100, SLOTS, 0.0, NOW)
    assert estimate == pytest.approx(0.3 + 100 / ASSUMED_RATE, rel=0.01)


def test_while_nothing_comes_back_the_time_grows() -> None:
    waiting = used_to(BATCH, 0.2)
    assert [waiting.estimate(BATCH, SLOTS, stalled, NOW) for stalled in (1.0, 7.0)] == [1.0, 7.0]


def test_a_core_that_has_become_slow_or_fast_is_noticed_within_some_batches() -> None:
    waiting = used_to(BATCH, 0.1)
    for _ in range(10):
        waiting.came_back(BATCH, 1.0, NOW)
    assert waiting.estimate(SLOTS * BATCH, SLOTS, 0.0, NOW) > 0.9
    for _ in range(10):
        waiting.came_back(BATCH, 0.1, NOW)
    assert waiting.estimate(SLOTS * BATCH, SLOTS, 0.0, NOW) < 0.2


def test_a_measurement_is_forgotten_so_that_nobody_is_refused_because_of_what_was() -> None:
    """A core that took 5 seconds for each batch, then nothing for a while, then all phones at once."""
    waiting = used_to(BATCH, 5.0)
    crowd = SLOTS * BATCH + 300
    assert waiting.estimate(crowd, SLOTS, 0.0, NOW + REMEMBERED - 0.1) > 5.0
    assert waiting.estimate(crowd, SLOTS, 0.0, NOW + REMEMBERED) == 300 / ASSUMED_RATE
    assert waiting.estimate_lane(LANE_FREE, 0.0, NOW + REMEMBERED) == 0.0
    waiting.came_back(BATCH, 0.1, NOW + REMEMBERED)
    assert waiting.estimate(SLOTS * BATCH, SLOTS, 0.0, NOW + REMEMBERED) == pytest.approx(0.1)


def test_a_rate_is_forgotten_while_small_batches_come_back() -> None:
    waiting = used_to(BATCH, 5.0)
    for second in range(20):
        waiting.came_back(1, 0.01, NOW + second)
    estimate = waiting.estimate(SLOTS * BATCH + 300, SLOTS, 0.0, NOW + 20)
    assert estimate == pytest.approx(300 / ASSUMED_RATE + 0.01, rel=0.1)


def test_a_lane_goes_one_by_one_and_a_short_one_is_no_load() -> None:
    waiting = used_to(1, 0.02)
    assert waiting.estimate_lane(LANE_FREE - 1, 60.0, NOW) == 0.0
    assert waiting.estimate_lane(100, 0.0, NOW) == pytest.approx(2.0, rel=0.01)
    assert waiting.estimate_lane(100, 7.0, NOW) == 7.0


@pytest.mark.parametrize(
    ("seconds", "new", "refused"),
    [(0.5, True, False), (0.51, True, True), (0.51, False, False), (1.0, False, False), (1.01, False, True)],
)
def test_what_begins_something_is_refused_at_half_of_the_limit(seconds: float, new: bool, refused: bool) -> None:  # noqa: FBT001
    assert is_too_long(seconds, 1.0, new=new) is refused
    assert not is_too_long(seconds, 0.0, new=new)


@pytest.mark.parametrize(
    ("start", "rows", "new"),
    [
        ("SUBSCRIBE sip:a@b.example SIP/2.0", (("To", "<sip:a@b.example>"),), True),
        ("SUBSCRIBE sip:a@b.example SIP/2.0", (("To", "<sip:a@b.example>;tag=t"),), False),
        ("PUBLISH sip:a@b.example SIP/2.0", (("To", "<sip:a@b.example>"),), True),
        ("PUBLISH sip:a@b.example SIP/2.0", (("To", "<sip:a@b.example>"), ("SIP-If-Match", "e")), False),
    ],
)
def test_a_refresh_is_known_by_its_tag_or_etag(start: str, rows: tuple[tuple[str, str], ...], new: bool) -> None:  # noqa: FBT001
    text = "\r\n".join([start, *(f"{name}: {value}" for name, value in rows), "", ""])
    request = read_message(text.encode())
    assert isinstance(request, Request)
    assert begins(request) is new


def test_one_late_reading_of_the_loop_is_nothing_a_row_of_them_is() -> None:
    lag = LoopLag()
    lag.read(3.0)
    assert lag.seconds == 0.0
    for late in [2.0] * (READINGS - 2) + [0.7]:
        lag.read(late)
    assert lag.seconds == 0.7
    lag.read(-0.001)
    assert lag.seconds == 0.0
