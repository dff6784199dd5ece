"""An edge that leaves has its dialogs moved before its sockets close."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from sip_edge.flows.departure import Departure
from tests.unit.rpc.serving import peers_of, served
from vedette.rpc.contract import LEAVING, Leaving, Left
from vedette.rpc.server import NotReadyError


class Notifier:
    """Says in turn how many dialogs are left; None: that it cannot take the call."""

    def __init__(self, *left: int | None) -> None:
        self.left = list(left)
        self.asked: list[Leaving] = []

    async def __call__(self, body: bytes) -> bytes:
        self.asked.append(msgspec.msgpack.decode(body, type=Leaving))
        left = self.left.pop(0)
        if left is None:
            raise NotReadyError
        return msgspec.msgpack.encode(Left(left))


@asynccontextmanager
async def leaving(notifier: Notifier) -> AsyncIterator[Departure]:
    async with served({LEAVING: notifier}) as here, peers_of(here.address) as peers:
        await peers.probe()
        watching = asyncio.create_task(peers.watch())
        try:
            yield Departure(peers, instance="edge-1", address="192.0.2.1:8072")
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def test_it_asks_until_none_of_its_dialogs_is_left() -> None:
    notifier = Notifier(5, 1, 0)
    async with leaving(notifier) as departure:
        await departure.hand_over()
    assert notifier.asked == [Leaving("edge-1", "192.0.2.1:8072", gone=False)] * 3


async def test_it_says_once_that_it_is_gone() -> None:
    notifier = Notifier(0)
    async with leaving(notifier) as departure:
        await departure.finish()
    assert notifier.asked == [Leaving("edge-1", "192.0.2.1:8072", gone=True)]


async def test_a_notifier_that_cannot_help_now_is_asked_again() -> None:
    notifier = Notifier(None, 0)
    async with leaving(notifier) as departure:
        await departure.finish()
    assert len(notifier.asked) == 2
