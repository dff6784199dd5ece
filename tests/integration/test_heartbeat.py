"""A process tells through Postgres that it is there, and that it is going."""

import asyncio

from tests.wait import until_true
from vedette.runtime.heartbeat import Heartbeat
from vedette.runtime.process import Identity
from vedette.store.database import Database


async def ready_in_the_list(database: Database, identity: Identity) -> list[bool]:
    rows = await database.fetch("SELECT ready FROM replica WHERE instance = $1", identity.instance)
    return [row["ready"] for row in rows]


async def test_the_list_of_replicas_says_ready_as_soon_as_the_process_does(database_url: str) -> None:
    identity = Identity("api")
    database = Database(database_url, size=1, name="test")
    beating = asyncio.create_task(Heartbeat(identity, database).beat())
    try:
        await until_true(lambda: identity.ready, "the first beat makes it ready")
        assert await ready_in_the_list(database, identity) == [True]
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await database.close()


async def test_the_beats_of_a_service_that_is_stopping_do_not_make_it_ready_again(database_url: str) -> None:
    identity = Identity("notifier")
    database = Database(database_url, size=1, name="test")
    heartbeat = Heartbeat(identity, database)
    beating = asyncio.create_task(heartbeat.beat())
    try:
        await until_true(lambda: identity.ready, "the first beat makes it ready")
        identity.stop()
        beats = heartbeat.unbroken
        await until_true(lambda: heartbeat.unbroken >= beats + 2, "it goes on beating")
        assert not identity.ready
        assert await ready_in_the_list(database, identity) == [False]
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await database.close()
