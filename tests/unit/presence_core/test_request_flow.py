"""Many requests, few database calls: batches, lanes, limits, faults (invariants 1, 5 and 6; rows PUB-19, PUB-20)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest

from presence_core.domain import refusals
from presence_core.flows.request_flow import FlowLimits, ReplyFuture, RequestFlow
from tests.wait import until_true
from vedette.rpc.contract import UNKNOWN, Reply
from vedette.rpc.deadline import deadline, set_deadline
from vedette.store.database import PoisonedError, StoreUnavailableError, StoreUndecidedError


class Command(NamedTuple):
    """A request for a presentity."""

    lane: str
    name: str


class Ledger:
    """Where applied commands are written down; `gate` holds calls up, `faults` says what happens to which."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.applied: list[str] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: Callable[[list[Command]], Exception | None] = lambda _: None

    async def apply(self, commands: list[Command]) -> list[str]:
        self.calls.append([command.name for command in commands])
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
            fault = self.fault(commands)
            if fault is not None:
                raise fault
            self.applied += [command.name for command in commands]
            return [f"done {command.name}" for command in commands]
        finally:
            self.under_way -= 1


def plan(call: Command) -> Command | Reply:
    return Reply(404) if call.name == "nobody" else call


def flow_of(
    ledger: Ledger,
    limits: FlowLimits = FlowLimits(),  # noqa: B008 - frozen
    *,
    apply: Callable[[list[Command]], Awaitable[list[str]]] | None = None,
    conclude: Callable[[Command, str], Reply] = lambda _, verdict: Reply(200, verdict),
) -> RequestFlow[Command, Command, str]:
    return RequestFlow(
        plan=plan, lane=lambda command: command.lane, apply=apply or ledger.apply, conclude=conclude, limits=limits
    )


def named(*names: str, lane: str = "") -> list[Command]:
    """A command for each name, each in a lane of its own unless one is given."""
    return [Command(lane or name, name) for name in names]


async def replies(answers: list[Reply | ReplyFuture]) -> list[Reply]:
    return [answer if isinstance(answer, Reply) else await answer for answer in answers]


async def statuses(answers: list[Reply | ReplyFuture]) -> list[int]:
    return [reply.status for reply in await replies(answers)]


async def test_each_request_gets_its_own_answer_in_the_order_of_the_calls() -> None:
    ledger = Ledger()
    answers = flow_of(ledger).handle(named("a", "nobody", "b"))
    assert answers[1] == Reply(404)
    assert await replies(answers) == [Reply(200, "done a"), Reply(404), Reply(200, "done b")]
    assert ledger.calls == [["a", "b"]]


async def test_a_request_whose_caller_does_not_wait_any_more_is_not_carried_out() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    flow = flow_of(ledger, FlowLimits(max_in_flight=1))
    answers = flow.handle(named("a"))
    set_deadline("1")
    over = deadline()
    answers += flow.handle(named("b", "late")) + flow.handle(named("b2", lane="b"))
    set_deadline("600000")
    answers += flow.handle(named("c"))
    set_deadline(None)
    answers += flow.handle(named("d"))
    loop = asyncio.get_running_loop()
    await until_true(lambda: loop.time() > over, "the caller has gone")
    ledger.gate.set()
    assert await replies(answers) == [
        Reply(200, "done a"), *[refusals.UNAVAILABLE] * 3, Reply(200, "done c"), Reply(200, "done d"),
    ]  # fmt: skip
    assert ledger.applied == ["a", "c", "d"]


async def test_nothing_is_acknowledged_before_the_database_has_it() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    [answer] = flow_of(ledger).handle(named("a"))
    await until_true(lambda: ledger.under_way, "the call is under way")
    assert isinstance(answer, asyncio.Future)
    assert not answer.done()
    ledger.gate.set()
    assert (await answer).status == 200
    assert ledger.applied == ["a"]


async def test_what_comes_while_calls_are_under_way_forms_the_next_one() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    flow = flow_of(ledger, FlowLimits(max_batch=10, max_in_flight=1))
    answers = flow.handle(named("a"))
    for name in "bcdef":
        answers += flow.handle(named(name))
    await until_true(lambda: ledger.under_way, "the first call is under way")
    ledger.gate.set()
    assert await statuses(answers) == [200] * 6
    assert ledger.calls == [["a"], ["b", "c", "d", "e", "f"]]


@pytest.mark.parametrize(("batch", "in_flight"), [(1, 1), (3, 1), (1, 3), (4, 2)])
async def test_calls_are_no_larger_and_no_more_at_once_than_the_limits(batch: int, in_flight: int) -> None:
    ledger = Ledger()
    ledger.gate.clear()
    flow = flow_of(ledger, FlowLimits(max_batch=batch, max_in_flight=in_flight))
    answers = flow.handle(named(*(f"{number}" for number in range(40))))
    await until_true(lambda: ledger.under_way == in_flight, "as many calls as may be are under way")
    ledger.gate.set()
    assert await statuses(answers) == [200] * 40
    assert ledger.most_under_way == in_flight
    assert max(map(len, ledger.calls)) == batch


async def test_pub_19_requests_for_one_presentity_are_applied_one_by_one_in_their_order() -> None:
    ledger = Ledger()
    flow = flow_of(ledger, FlowLimits(max_batch=10, max_in_flight=3))
    answers = flow.handle([*named("a1", "a2", "a3", lane="a"), *named("b1", "b2", lane="b"), *named("c")])
    assert await statuses(answers) == [200] * 6
    assert [name for name in ledger.applied if name[0] == "a"] == ["a1", "a2", "a3"]
    assert [name for name in ledger.applied if name[0] == "b"] == ["b1", "b2"]
    assert all(len({name[0] for name in call}) == len(call) for call in ledger.calls)


async def test_pub_26_what_finds_the_queue_full_is_503_at_once_and_the_rest_goes_on() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    flow = flow_of(ledger, FlowLimits(max_batch=1, max_in_flight=1, max_queue=2))
    answers = flow.handle(named("a"))
    answers += flow.handle(named("b", "c", "d"))
    assert answers[3] == refusals.UNAVAILABLE
    assert dict(refusals.UNAVAILABLE.headers)["Retry-After"] == "2"
    ledger.gate.set()
    assert await statuses(answers) == [200, 200, 200, 503]
    assert await statuses(flow.handle(named("e"))) == [200]


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (StoreUnavailableError("no connection"), refusals.UNAVAILABLE),
        (StoreUndecidedError("connection lost"), refusals.ASK_AGAIN),
        (RuntimeError("a fault of ours"), refusals.ASK_AGAIN),
    ],
)
async def test_pub_20_and_uas_28_503_only_where_surely_nothing_is_stored(fault: Exception, reply: Reply) -> None:
    ledger = Ledger()
    ledger.fault = lambda _: fault
    flow = flow_of(ledger)
    assert await replies(flow.handle(named("a", "b"))) == [reply, reply]
    assert (refusals.UNAVAILABLE.status, refusals.ASK_AGAIN.status) == (503, UNKNOWN)
    ledger.fault = lambda _: None
    assert await statuses(flow.handle(named("a", "b"))) == [200, 200]


async def test_uas_28_those_who_are_refused_for_a_time_are_spread_whatever_refuses_them() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    seconds = iter((3, 9, 5, 7))
    limits = FlowLimits(max_batch=1, max_in_flight=1, max_queue=2, retry_after=lambda: next(seconds))
    flow = flow_of(ledger, limits, conclude=lambda _command, _verdict: refusals.UNAVAILABLE)
    answers = flow.handle(named("a"))
    answers += flow.handle(named("b", "c", "full"))
    ledger.fault = lambda commands: StoreUnavailableError("away") if commands[0].name == "b" else None
    ledger.gate.set()
    got = await replies(answers)
    assert [reply.status for reply in got] == [503] * 4
    assert [dict(reply.headers)["Retry-After"] for reply in (got[3], got[0], got[1], got[2])] == ["3", "9", "5", "7"]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_verdicts_that_do_not_match_the_commands_settle_nothing(count: int) -> None:
    async def apply(commands: list[Command]) -> list[str]:
        return ["done"] * count

    flow = flow_of(Ledger(), apply=apply)
    assert await replies(flow.handle(named("a", "b"))) == [refusals.ASK_AGAIN] * 2


async def test_a_fault_while_concluding_leaves_no_request_without_an_answer() -> None:
    def conclude(command: Command, verdict: str) -> Reply:
        raise ValueError(command.name)

    flow = flow_of(Ledger(), conclude=conclude)
    assert await replies(flow.handle(named("a", "b"))) == [refusals.ASK_AGAIN] * 2


@pytest.mark.parametrize("size", [1, 2, 3, 8, 13])
async def test_a_request_that_cannot_be_stored_is_found_and_refused_alone(size: int) -> None:
    names = [f"{number}" for number in range(size)]
    for culprit in names:
        ledger = Ledger()
        ledger.fault = lambda commands, culprit=culprit: (  # type: ignore[misc]
            PoisonedError("bad value") if any(command.name == culprit for command in commands) else None
        )
        answers = await statuses(flow_of(ledger).handle(named(*names)))
        assert answers == [500 if name == culprit else 200 for name in names]
        assert sorted(ledger.applied) == sorted(name for name in names if name != culprit)
        assert len(ledger.calls) <= 2 * size.bit_length() + 1


async def test_several_requests_that_cannot_be_stored_are_all_found() -> None:
    ledger = Ledger()
    ledger.fault = lambda commands: (
        PoisonedError("bad value") if any(command.name in "bf" for command in commands) else None
    )
    assert await statuses(flow_of(ledger).handle(named(*"abcdefgh"))) == [200, 500, 200, 200, 200, 500, 200, 200]


async def test_a_database_that_goes_away_while_the_culprit_is_looked_for_refuses_only_what_is_left() -> None:
    ledger = Ledger()

    def fault(commands: list[Command]) -> Exception | None:
        if len(commands) > 2:
            return PoisonedError("bad value")
        return StoreUnavailableError("gone") if commands[0].name == "c" else None

    ledger.fault = fault
    assert await statuses(flow_of(ledger).handle(named(*"abcd"))) == [200, 200, 503, 503]


async def test_a_lane_goes_on_after_a_fault_and_after_a_caller_that_does_not_wait() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    flow = flow_of(ledger, FlowLimits(max_in_flight=1))
    first, second, third = flow.handle(named("a1", "a2", "a3", lane="a"))
    assert isinstance(first, asyncio.Future)
    assert isinstance(second, asyncio.Future)
    first.cancel()
    ledger.fault = lambda commands: StoreUnavailableError("gone") if commands[0].name == "a2" else None
    ledger.gate.set()
    assert (await second).status == 503
    assert await statuses([third]) == [200]
    assert ledger.applied == ["a1", "a3"]


async def test_drain_returns_when_nothing_is_under_way() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    flow = flow_of(ledger, FlowLimits(max_batch=1, max_in_flight=1))
    answers = flow.handle(named("a1", "a2", lane="a"))
    drained = asyncio.create_task(flow.drain())
    await until_true(lambda: ledger.under_way, "the call is under way")
    assert not drained.done()
    ledger.gate.set()
    await drained
    assert all(isinstance(answer, asyncio.Future) and answer.done() for answer in answers)
    await flow.drain()
