"""Timer values and the queue of running timers (RFC 3261 section 17.1.1.1, RFC 4320 section 4.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.sip.transaction.timers import TimerQueue, Timers


@pytest.mark.parametrize(
    ("timers", "timeout", "provisional"),
    [
        (Timers(), 32.0, 3.5),
        (Timers(t1=1.0), 64.0, 3.0),
        (Timers(t1=0.5, t2=0.5), 32.0, 0.0),
        (Timers(t1=0.02, t2=0.16), 1.28, 0.14),
    ],
)
def test_txn_03_06_11_the_values_that_follow_from_t1_and_t2(
    timers: Timers, timeout: float, provisional: float
) -> None:
    assert timers.transaction_timeout == pytest.approx(timeout)
    assert timers.provisional_after == pytest.approx(provisional)


def test_timers_end_at_their_time_and_once() -> None:
    queue: TimerQueue[str] = TimerQueue()
    assert queue.next_deadline() is None
    assert queue.expired(1e9) == []
    queue.start(4.0, 1, "late", 0.0)
    queue.start(0.5, 2, "soon", 1.0)
    queue.start(0.5, 3, "next", 1.25)
    assert (queue.next_deadline(), len(queue)) == (1.5, 3)
    assert queue.expired(1.49) == []
    assert queue.expired(1.5) == [(2, "soon")]
    assert queue.next_deadline() == 1.75
    assert sorted(queue.expired(4.0)) == [(1, "late"), (3, "next")]
    assert (queue.expired(1e9), queue.next_deadline(), len(queue)) == ([], None, 0)


def test_the_oldest_timer_of_a_duration_and_kind_can_be_taken_out() -> None:
    queue: TimerQueue[str] = TimerQueue()
    assert queue.take_oldest(1.0, 1) is None
    for number, name in enumerate("abc"):
        queue.start(1.0, 1, name, float(number))
    queue.start(1.0, 2, "of another kind", 0.0)
    queue.start(2.0, 1, "other", 0.0)
    assert queue.take_oldest(1.0, 1) == "a"
    assert queue.expired(9.0) == [(1, "b"), (1, "c"), (2, "of another kind"), (1, "other")]
    assert queue.take_oldest(1.0, 1) is None


@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from([0.5, 1.0, 4.0])), max_size=30))
def test_every_timer_comes_out_once_not_before_its_time_and_not_after(steps: list[tuple[float, float]]) -> None:
    queue: TimerQueue[float] = TimerQueue()
    now, ended, started = 0.0, 0, 0
    for pause, duration in steps:
        now += pause
        for _, deadline in queue.expired(now):
            assert deadline <= now
            ended += 1
        assert (queue.next_deadline() or now + 1) > now
        queue.start(duration, 0, now + duration, now)
        started += 1
        assert len(queue) == started - ended
    assert ended + len(queue.expired(now + 5.0)) == started
    assert len(queue) == 0
