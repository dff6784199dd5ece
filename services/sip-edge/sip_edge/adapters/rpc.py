"""The RPC calls that the edge answers: NOTIFYs from the notifiers, responses from its siblings."""

import time
from collections.abc import Callable

import msgspec
import structlog

from sip_edge.domain.taken_batches import TakenBatches
from sip_edge.flows.edge import Edge
from sip_edge.flows.notifies import NotifySender
from vedette.rpc.contract import DatagramBatch, NotifyBatch, Taken, Withdrawal
from vedette.rpc.server import NotReadyError

log = structlog.get_logger()


class NotifiesHandler:
    """Takes a batch of NOTIFYs at once; their outcomes follow on their own way. A copy changes nothing.

    One that comes too late is refused: its notifier was stopped for a while, and others may have sent newer ones.
    """

    def __init__(self, sender: NotifySender, batches: TakenBatches, uptime: Callable[[], float]) -> None:
        self._sender = sender
        self._batches = batches
        self._uptime = uptime
        self._read = msgspec.msgpack.Decoder(NotifyBatch).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """What was not taken; NotReadyError where our sockets are closed."""
        batch = self._read(body)
        refused = self._batches.of(batch.id) if batch.id else None
        if refused is None and self._sender.closed:
            raise NotReadyError
        if refused is None and 0.0 < batch.until < self._uptime():
            log.warning("notifies came too late", notifies=len(batch.items))
            refused = self._batches.withdraw(batch.id, len(batch.items), time.monotonic())
        if not batch.id:
            return self._write(Taken(self._sender.take(batch)))
        if refused is None:
            refused = []
            # Before it is taken: were a fault to leave it half done, the rest would rather be missed than sent twice.
            self._batches.put(batch.id, refused, time.monotonic())
            refused += self._sender.take(batch)
        return self._write(Taken(refused))


class WithdrawalsHandler:
    """Tells what of a batch was taken, and sees to it that nothing more of it is."""

    def __init__(self, batches: TakenBatches) -> None:
        self._batches = batches
        self._read = msgspec.msgpack.Decoder(Withdrawal).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """What was not taken."""
        asked = self._read(body)
        return self._write(Taken(self._batches.withdraw(asked.id, asked.items, time.monotonic())))


class DatagramsHandler:
    """Takes responses that reached a sibling and are ours."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._read = msgspec.msgpack.Decoder(DatagramBatch).decode

    async def __call__(self, body: bytes) -> bytes:
        """Nothing."""
        for datagram in self._read(body).datagrams:
            self._edge.endpoint().receive_foreign(datagram.data, datagram.source)
        return b""
