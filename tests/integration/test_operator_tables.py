"""The tables under other names: what operators' tools, made for OpenSIPS and Kamailio, find in Postgres."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from tests.integration.calls import ALICE, BOB, publish, subscribe
from tests.integration.replicas import Connection, Core
from vedette.store.operator_tables import KINDS, TABLES, NameTakenError, name_tables

OWN = {kind: kind for kind in KINDS}


@pytest.fixture(autouse=True)
async def without_views(sql: Connection) -> AsyncIterator[None]:
    """Take the views away at the end."""
    yield
    await name(sql)


async def name(sql: Connection, **names: str) -> list[str]:
    return [step async for step in name_tables(sql, OWN | names)]


async def views(sql: Connection) -> set[str]:
    rows = await sql.fetch("SELECT viewname FROM pg_views WHERE schemaname = current_schema()")
    return {row["viewname"] for row in rows}


async def test_the_tables_that_are_known_are_those_of_the_schema(sql: Connection) -> None:
    rows = await sql.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    assert {row["tablename"] for row in rows} <= TABLES


async def test_with_our_own_names_there_is_no_view(sql: Connection) -> None:
    assert await name(sql) == []
    assert await views(sql) == set()


async def test_parameter_presentity_table_names_a_view_of_the_publications(core: Core, sql: Connection) -> None:
    await name(sql, presentity="kam_presentity")
    kept = await core.publish_one(publish(sender="sip:desk@192.0.2.7"))
    removed = await core.publish_one(publish("sip:carol@example.com"))
    await core.publish_one(publish("sip:carol@example.com", etag=removed.etag, expires=0))
    (row,) = await sql.fetch("SELECT * FROM kam_presentity")
    assert row["etag"] == kept.etag
    assert (row["username"], row["domain"], row["event"]) == ("alice", "example.com", "presence")
    assert row["sender"] == "sip:desk@192.0.2.7"
    assert row["body"].startswith(b"<?xml")
    assert row["id"] > 0
    assert row["expires"] - row["received_time"] == 3600
    assert abs(row["received_time"] - datetime.now(UTC).timestamp()) < 60


async def test_parameter_active_watchers_table_names_a_view_of_the_dialogs(core: Core, sql: Connection) -> None:
    await name(sql, active_watchers="kam_active_watchers")
    call = subscribe()
    answer = await core.subscribe_one(call)
    await core.subscribe_one(subscribe("sip:carol@example.com", expires=0))
    (row,) = await sql.fetch("SELECT * FROM kam_active_watchers")
    assert (row["presentity_uri"], row["to_user"], row["to_domain"]) == (ALICE, "alice", "example.com")
    assert (row["watcher_username"], row["watcher_domain"]) == ("bob", "example.net")
    assert (row["from_user"], row["from_domain"]) == ("bob", "example.net")
    assert (row["callid"], row["from_tag"], row["to_tag"]) == (call.call_id, call.from_tag, answer.to_tag)
    assert (row["remote_cseq"], row["contact"], row["status"]) == (1, "sip:bob@192.0.2.7:5060", 1)
    assert row["local_cseq"] == await sql.fetchval("SELECT local_cseq FROM delivery WHERE presentity_uri = $1", ALICE)
    assert BOB not in row.values()
    await sql.execute("UPDATE active_watchers SET status = 4")
    assert await sql.fetch("SELECT * FROM kam_active_watchers") == [], "one that waits has no dialog any more"


async def test_parameter_watchers_table_names_a_view_of_the_decisions(sql: Connection) -> None:
    await name(sql, watchers="kam_watchers")
    await sql.execute(
        "INSERT INTO watchers VALUES (1, $1, 'bob', 'example.net', 'presence', 2, 'none', to_timestamp(1700000000))",
        ALICE,
    )
    (row,) = await sql.fetch("SELECT * FROM kam_watchers")
    await sql.execute("DELETE FROM watchers")
    assert list(row.values())[1:] == [ALICE, "bob", "example.net", "presence", 2, "none", 1700000000]


async def test_a_new_name_replaces_the_old_one_and_our_own_takes_it_away(sql: Connection) -> None:
    assert await name(sql, presentity="one", watchers="w") == [
        "made the view one of presentity",
        "made the view w of watchers",
    ]
    assert await name(sql, presentity="two", watchers="w") == [
        "removed the view one",
        "made the view two of presentity",
    ]
    assert await views(sql) == {"two", "w"}
    assert sorted(await name(sql)) == ["removed the view two", "removed the view w"]
    assert await views(sql) == set()


async def test_names_may_be_exchanged(sql: Connection) -> None:
    await name(sql, presentity="one", watchers="two")
    await name(sql, presentity="two", watchers="one")
    columns = await sql.fetch("SELECT * FROM two"), await sql.prepare("SELECT * FROM two")
    assert "etag" in [attribute.name for attribute in columns[1].get_attributes()]


async def test_a_view_that_is_right_is_left_alone_with_its_rights(sql: Connection) -> None:
    await name(sql, presentity="one")
    await sql.execute("GRANT SELECT ON one TO PUBLIC")
    assert await name(sql, presentity="one") == []
    assert await sql.fetchval("SELECT has_table_privilege('pg_monitor', 'one', 'SELECT')")


async def test_a_view_that_an_older_version_made_is_made_anew(sql: Connection) -> None:
    await sql.execute("CREATE VIEW one AS SELECT 1 AS id")
    await sql.execute("COMMENT ON VIEW one IS 'vedette: view of presentity (000000000000)'")
    assert await name(sql, presentity="one") == ["made the view one of presentity"]
    assert await sql.fetch("SELECT etag FROM one") == []


async def test_what_is_not_ours_is_not_touched(sql: Connection) -> None:
    await sql.execute("CREATE TABLE theirs (id int)")
    try:
        await name(sql, presentity="one")
        with pytest.raises(NameTakenError, match="VEDETTE_PRESENTITY_TABLE: 'theirs' is in the database already"):
            await name(sql, presentity="theirs")
        assert await views(sql) == {"one"}, "all or nothing"
    finally:
        await sql.execute("DROP TABLE theirs")


@pytest.mark.parametrize("wild", ['x"; DROP TABLE secret; --', "Select", "user", "ä b"])
async def test_no_name_is_read_as_sql(sql: Connection, wild: str) -> None:
    await name(sql, presentity=wild)
    assert await views(sql) == {wild}
    assert await sql.fetchval("SELECT count(*) FROM secret") is not None


async def test_a_view_is_read_only_for_tools_that_only_look(sql: Connection) -> None:
    """A view over a join takes no rows; one over a single table is refused by the columns that it lacks."""
    await name(sql, presentity="one", active_watchers="two", watchers="three")
    for view in ("one", "two", "three"):
        with pytest.raises(asyncpg.PostgresError):
            await sql.execute(f"INSERT INTO \"{view}\" (event) VALUES ('presence')")
