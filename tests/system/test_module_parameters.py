"""Parameters of the presence module that concern a whole set, changed: what the wire and the tables show."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.phone import MakePhone, learn, pidf, token
from tests.running_set import RunningSet, started
from tests.servers import Servers
from tests.wait import until

ADDRESS = "presence.example.com:5099"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def given_database(servers: Servers) -> AsyncIterator[str]:
    """A database with nothing in it, not even the schema."""
    connection = await asyncpg.connect(servers.admin_url)
    await connection.execute("CREATE DATABASE given")
    yield servers.database("given")
    await connection.execute("DROP DATABASE given WITH (FORCE)")
    await connection.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def changed(given_database: str) -> AsyncIterator[RunningSet]:
    """Away from the defaults: clean_period 1, max_expires 500, min_expires 60, a server_address, a db_url."""
    extra = {"VEDETTE_CLEAN_PERIOD": "1", "VEDETTE_MAX_EXPIRES": "500", "VEDETTE_MIN_EXPIRES": "60"}
    options = ("--cores", "1", "--advertise", ADDRESS, "--database-url", given_database)
    async with started(*options, extra=extra) as running:
        yield running


@pytest.fixture
async def sql(given_database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The database of the set."""
    connection = await asyncpg.connect(given_database)
    yield connection
    await connection.close()


async def test_parameter_db_url_is_where_the_publications_are(
    changed: RunningSet, make_phone: MakePhone, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    phone = await make_phone(changed)
    etag = await phone.published()
    assert await sql.fetchval("SELECT 'sip:' || username || '@' || domain FROM presentity WHERE etag = $1", etag) == (
        phone.aor
    )


async def test_parameter_clean_period_is_how_often_what_has_ended_is_removed(
    changed: RunningSet, make_phone: MakePhone, sql: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    phone = await make_phone(changed)
    etag = await phone.published()
    removed = await phone.request(phone.publish(if_match=etag, expires=0))
    assert removed.status == 200
    query = "SELECT count(*) FROM presentity WHERE username = $1"
    user = phone.aor.removeprefix("sip:").partition("@")[0]
    assert await sql.fetchval(query, user) == 1, "a tombstone"
    await sql.execute("UPDATE presentity SET ended = ended - interval '1 day' WHERE username = $1", user)

    async def swept() -> bool:
        return bool(await sql.fetchval(query, user) == 0)

    await until(swept, "the tombstone is removed, long before 100 seconds have passed")


async def test_parameter_max_expires_is_granted_at_most(changed: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(changed)
    for asked, granted in ((501, "500"), (500, "500"), (499, "499")):
        published = await phone.request(phone.publish(body=pidf(phone.aor), expires=asked))
        subscribed = await phone.request(phone.subscribe(phone.dialog(phone.aor), expires=asked))
        assert (published["expires"], subscribed["expires"]) == (granted, granted)


async def test_parameter_min_expires_is_granted_at_least(changed: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(changed)
    for request in (
        phone.publish(body=pidf(phone.aor), expires=59),
        phone.subscribe(phone.dialog(phone.aor), expires=59),
    ):
        response = await phone.request(request)
        assert (response.status, response["min-expires"]) == (423, "60")
    assert (await phone.request(phone.publish(body=pidf(phone.aor), expires=60))).status == 200


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_parameter_server_address_stands_in_contact_and_via(
    changed: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(changed, transport=transport)
    dialog = phone.dialog(f"sip:{token('alice')}@example.com")
    response = await phone.request(phone.subscribe(dialog, expires=500))
    learn(dialog, response)
    notify = await phone.next_notify()
    assert f"@{ADDRESS}" in response["contact"]
    assert f"@{ADDRESS}" in notify["contact"]
    assert notify["via"].split()[1].partition(";")[0] == ADDRESS
