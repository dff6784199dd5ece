"""The RPC call that tells edges the secrets of users."""

import msgspec

from vedette.rpc.contract import Ha1s, SubscriberAnswer, SubscriberQuery
from vedette.rpc.server import NotReadyError
from vedette.store import subscribers
from vedette.store.database import Database, PoisonedError, StoreError


class SubscribersHandler:
    """One batch of names in, their secrets out, in the same order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read = msgspec.msgpack.Decoder(SubscriberQuery).decode
        self._write = msgspec.msgpack.Encoder().encode

    async def __call__(self, body: bytes) -> bytes:
        """The answer; NotReadyError where the database has none. A name that no user can have names nobody."""
        names = self._read(body).names
        try:
            found = await self._find(names)
        except StoreError as error:
            raise NotReadyError from error
        return self._write(SubscriberAnswer(found))

    async def _find(self, names: list[tuple[str, str]]) -> list[Ha1s | None]:
        possible = [index for index, name in enumerate(names) if "\x00" not in "".join(name)]
        found: list[Ha1s | None] = [None] * len(names)
        try:
            answers = await subscribers.find(self._database, [names[index] for index in possible])
        except PoisonedError:
            return found
        for index, answer in zip(possible, answers, strict=True):
            found[index] = answer
        return found
