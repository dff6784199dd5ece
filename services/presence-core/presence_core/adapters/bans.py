"""The RPC call by which edges share whom they keep out."""

import msgspec

from vedette.rpc.contract import BanAnswer, BanReport
from vedette.rpc.server import NotReadyError
from vedette.store import bans
from vedette.store.database import Database, PoisonedError, StoreError


class BansHandler:
    """What one edge has banned goes in, what all have comes out."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read = msgspec.msgpack.Decoder(BanReport).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """The answer; NotReadyError where the database has none. Bans that it cannot take are passed over."""
        asked = self._read(body)
        try:
            if asked.bans:
                await self._keep(asked)
            now, found = await bans.changes(self._database, asked.since)
        except StoreError as error:
            raise NotReadyError from error
        return self._write(BanAnswer(now, found))

    async def _keep(self, asked: BanReport) -> None:
        try:
            await bans.report(self._database, asked.bans)
        except PoisonedError:
            return
