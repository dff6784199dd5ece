"""Requests of the REST API to the cores: the same call, plan and lanes as a request of an edge."""

import asyncio

import msgspec

from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peers
from vedette.rpc.contract import REQUESTS, UNKNOWN, UNREADABLE, Call, Reply, ReplyBatch, RequestBatch

PATIENCE = 8.0
"""Seconds after which the caller is told that nothing, or nothing certain, came of it."""
TIMEOUT = 6.0
PAUSE = 0.1

UNAVAILABLE = Reply(503)
ASK_AGAIN = Reply(UNKNOWN)


class CoreCalls:
    """Asks one core after the other, with the same call, until the outcome is known (invariant 2)."""

    def __init__(self, peers: Peers, *, patience: float = PATIENCE) -> None:
        """`peers`: the cores; `patience`: seconds that are tried."""
        self._peers = peers
        self._patience = patience
        self._encode = msgspec.msgpack.Encoder().encode
        self._read = msgspec.msgpack.Decoder(ReplyBatch).decode

    async def ask(self, call: Call) -> Reply:
        """The reply; 503 where surely nothing was done, UNKNOWN where something may have been."""
        body = self._encode(RequestBatch([call]))
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        undecided = False
        avoid: set[str] = set()
        while (left := until - loop.time()) > 0:
            peer = self._peers.choose(avoid) or self._peers.choose()
            if peer is not None:
                try:
                    answer = await self._peers.call(peer, REQUESTS, body, timeout=min(TIMEOUT, left))
                    reply = self._read(answer).replies[0]
                    if reply.status == UNKNOWN:
                        undecided = True
                    elif reply.status != 503 or not undecided:
                        return reply
                except NotDoneError:
                    avoid.add(peer.address)
                except (OutcomeUnknownError, *UNREADABLE):
                    undecided = True
                    avoid.add(peer.address)
            await asyncio.sleep(PAUSE)
        return ASK_AGAIN if undecided else UNAVAILABLE
