"""What a process remembers of the requests that passed it: bounded, and found by Call-ID."""

import msgspec
import pytest
import structlog

from vedette.rpc.contract import TraceAnswer, TraceQuery
from vedette.runtime.journal import MOST_FOUND, Journal, TraceHandler


def test_events_are_found_by_call_id_in_order() -> None:
    journal = Journal(1_000_000)
    journal.one("request", "a", "SUBSCRIBE 1", trace="t1")
    journal.many("to core", ["a", "b", "a"], "3 in the batch", traces=["t1", "t2", "t3"], own=["x", "y", "z"])
    journal.one("answer", "b")
    assert [(event.what, event.trace, event.detail) for event in journal.find("a")] == [
        ("request", "t1", "SUBSCRIBE 1"),
        ("to core", "t1", "x, 3 in the batch"),
        ("to core", "t3", "z, 3 in the batch"),
    ]
    assert [event.what for event in journal.find("b")] == ["to core", "answer"]
    assert journal.find("c") == []


def test_parameter_trace_buffer_bounds_what_is_remembered() -> None:
    journal = Journal(10_000)
    for number in range(1000):
        journal.one("request", str(number), "x" * 60)
        assert journal.size <= 10_000
    assert journal.find("0") == []
    assert journal.find("999") != []
    journal.many("to core", [str(number) for number in range(1000)])
    assert journal.size <= 10_000, "one that is larger than the buffer is not kept either"


def test_parameter_trace_buffer_0_remembers_nothing() -> None:
    journal = Journal(0)
    journal.one("request", "a")
    journal.many("to core", ["a"])
    assert (journal.on, journal.find("a"), journal.size) == (False, [], 0)


def test_at_level_debug_each_event_is_logged_with_its_call_id() -> None:
    with structlog.testing.capture_logs() as lines:
        Journal(0, verbose=True).many("settled", ["a", "b"], "2", traces=["t", "u"], own=["x", "y"])
    assert lines == [
        {"event": "settled", "log_level": "debug", "call_id": call_id, "trace": trace, "detail": f"{own}, 2"}
        for call_id, trace, own in (("a", "t", "x"), ("b", "u", "y"))
    ]


async def test_an_answer_has_an_end() -> None:
    journal = Journal(10_000_000)
    for number in range(MOST_FOUND + 5):
        journal.one("repeated", "a", str(number))
    body = await TraceHandler(journal)(msgspec.msgpack.encode(TraceQuery("a")))
    events = msgspec.msgpack.decode(body, type=TraceAnswer).events
    assert (len(events), events[-1].detail) == (MOST_FOUND, str(MOST_FOUND + 4))


async def test_what_is_no_query_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        await TraceHandler(Journal(0))(b"\xc1")
