"""A batch of NOTIFYs is taken once, and one that was withdrawn never."""

from typing import Any

import msgspec
import pytest

from notifier.domain.claims import notify_item
from sip_edge.adapters.rpc import NotifiesHandler, WithdrawalsHandler
from sip_edge.domain import taken_batches as module
from sip_edge.domain.taken_batches import KEEP, TakenBatches
from tests.unit.notifier.claimed import claim, dialog
from vedette.rpc.contract import NotifyBatch, NotifyItem, Taken, Withdrawal


class Sender:
    """Takes batches, all but what it refuses."""

    def __init__(self, *, refuses: list[int] | None = None, fault: Exception | None = None) -> None:
        self.taken: list[bytes] = []
        self.refuses = refuses or []
        self.fault = fault
        self.closed = False

    def take(self, batch: NotifyBatch) -> list[int]:
        self.taken.append(batch.id)
        if self.fault is not None:
            raise self.fault
        return list(self.refuses)


class Edge:
    """The two calls of an edge, with a sender that only counts."""

    def __init__(self, sender: Sender) -> None:
        unchecked: Any = sender
        self.batches = TakenBatches()
        self.uptime = 100.0
        self._notifies = NotifiesHandler(unchecked, self.batches, lambda: self.uptime)
        self._withdrawals = WithdrawalsHandler(self.batches)

    async def notify(self, name: bytes, *items: NotifyItem, until: float = 0.0) -> list[int]:
        return _refused(await self._notifies(msgspec.msgpack.encode(NotifyBatch([], list(items), name, until))))

    async def withdraw(self, name: bytes, items: int) -> list[int]:
        return _refused(await self._withdrawals(msgspec.msgpack.encode(Withdrawal(name, items))))


def _refused(answer: bytes) -> list[int]:
    return msgspec.msgpack.decode(answer, type=Taken).refused


async def test_a_batch_that_comes_again_is_not_taken_again_and_gets_the_first_answer() -> None:
    sender = Sender(refuses=[1])
    edge = Edge(sender)
    assert await edge.notify(b"one") == [1]
    sender.refuses = []
    assert await edge.notify(b"one") == [1]
    assert await edge.notify(b"two") == []
    assert sender.taken == [b"one", b"two"]


async def test_a_batch_that_comes_too_late_is_not_taken_and_never_will_be() -> None:
    """Its notifier was stopped between the claim and this: others may have sent newer NOTIFYs in these dialogs."""
    sender = Sender()
    edge = Edge(sender)
    item = notify_item(claim("a"), dialog("a"), -1)
    assert await edge.notify(b"in time", item, until=100.0) == []
    assert await edge.notify(b"late", item, item, until=99.9) == [0, 1]
    edge.uptime = 50.0
    assert await edge.notify(b"late", item, item, until=99.9) == [0, 1]
    assert await edge.withdraw(b"late", 2) == [0, 1]
    edge.uptime = 1000.0
    assert await edge.notify(b"in time", item, until=100.0) == [], "a copy of what was taken gets the first answer"
    assert sender.taken == [b"in time"]


async def test_a_batch_without_a_name_is_taken_as_often_as_it_comes() -> None:
    sender = Sender()
    edge = Edge(sender)
    await edge.notify(b"")
    await edge.notify(b"")
    assert sender.taken == [b"", b""]
    assert len(edge.batches) == 0


async def test_a_batch_that_was_taken_cannot_be_withdrawn_but_for_what_was_refused() -> None:
    edge = Edge(Sender(refuses=[0, 2]))
    await edge.notify(b"one")
    assert await edge.withdraw(b"one", 4) == [0, 2]
    assert await edge.withdraw(b"one", 4) == [0, 2]


async def test_a_batch_that_was_withdrawn_is_not_taken_when_it_comes_late() -> None:
    sender = Sender()
    edge = Edge(sender)
    assert await edge.withdraw(b"one", 3) == [0, 1, 2]
    assert await edge.withdraw(b"one", 3) == [0, 1, 2]
    assert await edge.notify(b"one") == [0, 1, 2]
    assert sender.taken == []


async def test_what_a_fault_left_half_done_is_not_begun_again() -> None:
    sender = Sender(fault=RuntimeError("a fault of ours"))
    edge = Edge(sender)
    with pytest.raises(RuntimeError):
        await edge.notify(b"one")
    sender.fault = None
    assert await edge.notify(b"one") == []
    assert await edge.withdraw(b"one", 3) == []
    assert sender.taken == [b"one"]


def test_batches_are_forgotten_after_a_while_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCHES", 3)
    batches = TakenBatches()
    batches.put(b"a", [], 0.0)
    batches.put(b"b", [], KEEP)
    assert batches.of(b"a") == []
    batches.put(b"c", [], KEEP + 0.1)
    assert (batches.of(b"a"), batches.of(b"b")) == (None, [])
    batches.put(b"d", [], KEEP + 0.2)
    batches.put(b"e", [], KEEP + 0.3)
    assert [batches.of(name) is not None for name in (b"b", b"c", b"d", b"e")] == [False, True, True, True]
    assert len(batches) == 3
