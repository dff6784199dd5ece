"""`vedette up` on a Postgres that was there before."""

import asyncpg

from tests.running_set import started
from tests.servers import Servers


async def test_a_set_runs_on_the_database_it_is_given(servers: Servers, database_url: str) -> None:
    async with started("--cores", "1", "--database-url", database_url) as running:
        await running.command("publish", "sip:alice@example.com", "--note", "here", "--server", running.sip_address)
        assert {row["service"] for row in (await running.status())["processes"]} == {
            "redis", "edge", "core", "api", "notifier",
        }  # fmt: skip
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM presentity WHERE username = 'alice'") == 1
    finally:
        await connection.close()
