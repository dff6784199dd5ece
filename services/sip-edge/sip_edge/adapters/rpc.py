"""The RPC calls that the edge answers: NOTIFYs from the notifiers, responses from its siblings."""

import msgspec

from sip_edge.flows.edge import Edge
from sip_edge.flows.notifies import NotifySender
from vedette.rpc.contract import DatagramBatch, NotifyBatch, Taken


class NotifiesHandler:
    """Takes a batch of NOTIFYs at once; their outcomes follow on their own way."""

    def __init__(self, sender: NotifySender) -> None:
        self._sender = sender
        self._read = msgspec.msgpack.Decoder(NotifyBatch).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """What was not taken."""
        return self._write(Taken(self._sender.take(self._read(body))))


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
