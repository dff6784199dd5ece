"""The RPC calls of the edges: outcomes, and that they leave; and of the api: clean up now."""

import msgspec

from notifier.flows.expiry import Expiry
from notifier.flows.recovery import Recovery
from notifier.flows.settling import Settling
from vedette.rpc.contract import Cleaned, Leaving, Left, OutcomeBatch
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


class LeavingHandler:
    """Has the dialogs of an edge that is about to end moved to others."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self._read = msgspec.msgpack.Decoder(Leaving).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """What is left; NotReadyError where Postgres cannot be reached."""
        leaving = self._read(body)
        try:
            left = await self._recovery.leave(leaving.instance, leaving.address, gone=leaving.gone)
        except StoreError as error:
            raise NotReadyError from error
        return self._write(Left(left))


class CleanupHandler:
    """Ends what is over and removes what nobody needs, without waiting for its time."""

    def __init__(self, expiry: Expiry) -> None:
        self._expiry = expiry
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, _body: bytes) -> bytes:
        """What was done; NotReadyError where a store cannot be reached."""
        try:
            return self._write(Cleaned(*await self._expiry.clean_up()))
        except StoreError as error:
            raise NotReadyError from error
