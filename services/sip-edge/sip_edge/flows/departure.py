"""Leaving in order: another edge gets our dialogs before our sockets close, so that their watchers notice nothing."""

import asyncio

import msgspec
import structlog

from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peers
from vedette.rpc.contract import LEAVING, UNREADABLE, Leaving, Left

RPC_TIMEOUT = 2.0
PAUSE = 0.05

log = structlog.get_logger()


class Departure:
    """`hand_over` while we still serve, `finish` when we do not; whoever waits for them sets a limit."""

    def __init__(self, notifiers: Peers, *, instance: str, address: str) -> None:
        self._notifiers = notifiers
        self._instance = instance
        self._address = address
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Left).decode

    async def hand_over(self) -> None:
        """Return when no UDP dialog is ours any more, or nobody could take them: each goes once it is answered."""
        while await self._leave(gone=False):
            await asyncio.sleep(PAUSE)

    async def finish(self) -> None:
        """Have what was not handed over taken from us, with what is outstanding in it."""
        await self._leave(gone=True)

    async def _leave(self, *, gone: bool) -> int:
        """How many dialogs are left, as a notifier says."""
        body = self._encode(Leaving(self._instance, self._address, gone))
        while True:
            peer = self._notifiers.choose()
            if peer is not None:
                try:
                    return self._decode(await self._notifiers.call(peer, LEAVING, body, timeout=RPC_TIMEOUT)).dialogs
                except (NotDoneError, OutcomeUnknownError, *UNREADABLE) as error:
                    log.info("dialogs not handed over", peer=peer.address, reason=str(error))
            await asyncio.sleep(PAUSE)
