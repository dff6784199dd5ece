"""What edges tell each other of bans, through presence-core and its table; by hand they are made there, too.

While nobody answers, each edge goes by what it knows.
"""

import asyncio

import msgspec
import structlog

from sip_edge.flows.banning import Banning
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peers, TooLargeError
from vedette.rpc.contract import BANS, UNREADABLE, BanAnswer, BanReport

INTERVAL = 1.0
"""Seconds from a ban at one edge, or by hand, until all others know, at most."""
RPC_TIMEOUT = 2.0

log = structlog.get_logger()


class SharedBans:
    """Run `run` as a task."""

    def __init__(self, cores: Peers, banning: Banning) -> None:
        self._cores = cores
        self._banning = banning
        self._since = 0.0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(BanAnswer).decode

    async def run(self) -> None:
        """Report and ask, for ever."""
        while True:
            await self.exchange()
            self._banning.forget()
            await asyncio.sleep(INTERVAL)

    async def exchange(self) -> bool:
        """Whether a core has taken what is known here and told what others know."""
        peer = self._cores.choose()
        if peer is None:
            return False
        telling = self._banning.unreported()
        body = self._encode(BanReport(list(telling.values()), self._since))
        try:
            answer = self._decode(await self._cores.call(peer, BANS, body, timeout=RPC_TIMEOUT))
        except (NotDoneError, OutcomeUnknownError, TooLargeError, *UNREADABLE) as error:
            log.debug("bans were not shared", peer=peer.address, reason=str(error))
            return False
        self._since = answer.now
        self._banning.reported(telling)
        # The newest first: of two words on one source the later one has to stand.
        for ban in reversed(answer.bans):
            self._banning.learn(ban)
        return True
