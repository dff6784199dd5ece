"""The RPC call that carries outcomes from the edges."""

import msgspec

from notifier.flows.settling import Settling
from vedette.rpc.contract import OutcomeBatch
from vedette.rpc.server import NotReadyError
from vedette.store.database import StoreError


class OutcomesHandler:
    """Takes a batch of outcomes once they are applied; otherwise the edge keeps them and asks again."""

    def __init__(self, settling: Settling) -> None:
        self._settling = settling
        self._read = msgspec.msgpack.Decoder(OutcomeBatch).decode

    async def __call__(self, body: bytes) -> bytes:
        """Nothing; NotReadyError where they could not be applied."""
        try:
            await self._settling.settle(self._read(body).outcomes)
        except StoreError as error:
            raise NotReadyError from error
        return b""
