"""Responses that the kernel gave to the wrong one of the processes that share a port."""

import asyncio

import msgspec

from sip_edge.domain.branches import owner_of
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peers
from vedette.rpc.contract import DATAGRAMS, DatagramBatch, ForeignDatagram
from vedette.sip.flow import Flow
from vedette.sip.message import Response

RPC_TIMEOUT = 2.0
MAX_WAITING = 10_000


class ForeignResponses:
    """Passes each to its owner, in batches; run `run` as a task.

    One that cannot be passed on is dropped: its sender answers the retransmission again.
    """

    def __init__(self, siblings: Peers, instance: str) -> None:
        self._siblings = siblings
        self._instance = instance
        self._waiting: dict[str, list[ForeignDatagram]] = {}
        self._count = 0
        self._something = asyncio.Event()
        self._encode = msgspec.msgpack.Encoder().encode
        self.passed_on = 0
        self.dropped = 0

    def pass_on(self, response: Response, data: bytes, flow: Flow) -> None:
        """A response that is none of ours."""
        owner = owner_of(response.branch)
        known = owner is not None and owner != self._instance and self._siblings.by_instance(owner) is not None
        if owner is None or not known or self._count >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.setdefault(owner, []).append(ForeignDatagram(data, flow))
        self._count += 1
        self._something.set()

    async def run(self) -> None:
        """Pass on what is waiting, for ever."""
        while True:
            await self._something.wait()
            self._something.clear()
            waiting, self._waiting, self._count = self._waiting, {}, 0
            await asyncio.gather(*(self._send(owner, datagrams) for owner, datagrams in waiting.items()))

    async def _send(self, owner: str, datagrams: list[ForeignDatagram]) -> None:
        peer = self._siblings.by_instance(owner)
        if peer is None:
            self.dropped += len(datagrams)
            return
        body = self._encode(DatagramBatch(datagrams))
        try:
            await self._siblings.call(peer, DATAGRAMS, body, timeout=RPC_TIMEOUT, instance=owner)
            self.passed_on += len(datagrams)
        except (NotDoneError, OutcomeUnknownError):
            self.dropped += len(datagrams)
