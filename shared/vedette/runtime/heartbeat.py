"""A process with a database tells everybody that it is there."""

import asyncio

import structlog
from msgspec.structs import replace

from vedette.rpc.contract import Hello
from vedette.runtime.process import Identity
from vedette.store.database import Database, StoreError
from vedette.store.replicas import record

INTERVAL = 1.0

log = structlog.get_logger()


class Heartbeat:
    """Writes down every second that this process, and the edges that called it, are there."""

    def __init__(self, identity: Identity, database: Database) -> None:
        self._identity = identity
        self._database = database
        self._heard: dict[str, Hello] = {}
        self.unbroken = 0
        """Beats in a row that reached Postgres."""

    def heard(self, hello: Hello) -> None:
        """Somebody without a database said hello."""
        if hello.service == "sip-edge":
            self._heard[hello.instance] = hello

    async def beat(self) -> None:
        """Beat for ever; ready is who reaches Postgres."""
        while True:
            heard, self._heard = self._heard, {}
            try:
                # Who could write this reaches Postgres: the row says so from the first beat on.
                own = replace(self._identity.hello(), ready=not self._identity.stopping)
                await record(self._database, [own, *heard.values()])
            except StoreError as error:
                if self._identity.ready:
                    log.warning("not ready", reason=str(error))
                self._identity.ready = False
                self.unbroken = 0
            else:
                self._identity.ready = True
                self.unbroken += 1
            await asyncio.sleep(INTERVAL)
