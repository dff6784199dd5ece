"""Outcomes on their way back: batched, to any notifier, kept until one has taken them (invariant 4)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from sip_edge.flows import outcomes as outcomes_module
from sip_edge.flows.outcomes import IN_FLIGHT, OutcomeReporter
from tests.unit.rpc.serving import peers_of, served_together
from tests.wait import until_true
from vedette.rpc.client import Peers
from vedette.rpc.contract import OUTCOMES, Outcome, OutcomeBatch
from vedette.rpc.server import NotReadyError


@dataclass
class Notifier:
    """Takes outcomes, after the faults it was given."""

    taken: list[list[int]] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    calls: int = 0

    async def __call__(self, body: bytes) -> bytes:
        self.calls += 1
        self.under_way += 1
        await self.gate.wait()
        self.under_way -= 1
        if self.faults:
            raise self.faults.pop(0)
        self.taken.append([outcome.cseq for outcome in msgspec.msgpack.decode(body, type=OutcomeBatch).outcomes])
        return b""

    def all(self) -> list[int]:
        return [cseq for batch in self.taken for cseq in batch]


def outcome(number: int) -> Outcome:
    return Outcome(1, b"d", number, 200)


@asynccontextmanager
async def reporting(*notifiers: Notifier, closed: bool = False) -> AsyncIterator[tuple[OutcomeReporter, Peers]]:
    """A reporter at work, whose notifiers take what they get unless they are `closed`."""
    async with (
        served_together(*({OUTCOMES: notifier} for notifier in notifiers)) as heres,
        peers_of(*(here.address for here in heres)) as peers,
    ):
        for notifier in notifiers:
            if not closed:
                notifier.gate.set()
        await peers.probe()
        reporter = OutcomeReporter(peers)
        task = asyncio.create_task(reporter.run())
        try:
            yield reporter, peers
        finally:
            for notifier in notifiers:
                notifier.gate.set()
            await reporter.drain()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_what_is_reported_together_travels_together() -> None:
    notifier = Notifier()
    async with reporting(notifier) as (reporter, _):
        for number in range(5):
            reporter.report(outcome(number))
        await reporter.drain()
        assert reporter.waiting == 0
    assert notifier.taken == [[0, 1, 2, 3, 4]]


async def test_what_comes_while_batches_are_under_way_forms_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "MAX_BATCH", 3)
    notifier = Notifier()
    async with reporting(notifier, closed=True) as (reporter, _):
        for number in range(10):
            reporter.report(outcome(number))
        await until_true(lambda: notifier.under_way == IN_FLIGHT, "as many batches as may be are under way")
        notifier.gate.set()
        await reporter.drain()
    assert sorted(notifier.all()) == list(range(10))
    assert max(map(len, notifier.taken)) == 3


async def test_what_comes_one_by_one_after_a_small_batch_travels_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "SPACE", 2.0)
    notifier = Notifier()
    async with reporting(notifier) as (reporter, _):
        reporter.report(outcome(1))
        await until_true(lambda: notifier.taken == [[1]], "the first one is told at once")
        for number in (2, 3, 4):
            reporter.report(outcome(number))
            await asyncio.sleep(0)
        await reporter.drain()
    assert notifier.taken == [[1], [2, 3, 4]]


@pytest.mark.parametrize("fault", [NotReadyError(), RuntimeError("the outcome of this is unknown")])
async def test_outcomes_are_reported_again_until_they_are_taken(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes_module, "PAUSE", 0.01)
    notifier = Notifier(faults=[fault])
    async with reporting(notifier) as (reporter, peers):
        reporter.report(outcome(1))
        await until_true(lambda: not notifier.faults, "the notifier failed")
        await peers.probe()
        await reporter.drain()
    assert notifier.taken == [[1]]


@pytest.mark.parametrize("error", [NotReadyError(), ValueError("its fault")], ids=["not ready", "unknown"])
async def test_a_notifier_that_fails_is_replaced_by_another(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("vedette.rpc.client.TURN", 1e9)
    faults = [error]
    notifiers = [Notifier(faults=faults), Notifier(faults=faults)]
    async with reporting(*notifiers) as (reporter, _):
        reporter.report(outcome(0))
        await reporter.drain()
        assert faults == []
        assert sorted(one.all() for one in notifiers) == [[], [0]]
        assert sorted(one.calls for one in notifiers) == [1, 1]


async def test_a_notifier_that_is_idle_has_all_and_a_stuck_one_holds_up_one_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vedette.rpc.client.TURN", 1e9)
    notifiers = [Notifier(), Notifier()]
    async with reporting(*notifiers) as (reporter, _):
        for number in range(1, 6):
            reporter.report(outcome(number))
            await reporter.drain()
        (first,) = [one for one in notifiers if one.taken]
        (second,) = [one for one in notifiers if one is not first]
        assert first.all() == [1, 2, 3, 4, 5]
        first.gate.clear()
        for number in range(6, 11):
            reporter.report(outcome(number))
            await until_true(lambda: first.under_way + len(second.all()) == number - 5, "it is taken")  # noqa: B023
        assert (first.under_way, second.all()) == (1, [7, 8, 9, 10])
        first.gate.set()
        await reporter.drain()
        assert first.all() == [1, 2, 3, 4, 5, 6]


async def test_without_a_notifier_outcomes_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "PAUSE", 0.01)
    notifier = Notifier()
    async with served_together({OUTCOMES: notifier}) as [here], peers_of(here.address) as peers:
        notifier.gate.set()
        reporter = OutcomeReporter(peers)
        task = asyncio.create_task(reporter.run())
        reporter.report(outcome(1))
        await until_true(lambda: len(reporter._running) == 1, "the batch waits for a notifier")
        assert notifier.taken == []
        await peers.probe()
        await reporter.drain()
        task.cancel()
    assert notifier.taken == [[1]]


async def test_too_many_that_wait_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes_module, "MAX_WAITING", 3)
    async with peers_of("") as peers:
        reporter = OutcomeReporter(peers)
        for number in range(5):
            reporter.report(outcome(number))
        assert (reporter.waiting, reporter.lost) == (3, 2)
