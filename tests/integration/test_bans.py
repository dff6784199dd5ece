"""The table of bans, as edges write and read it through presence-core, and as it is kept by hand."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from presence_core.adapters.bans import BansHandler
from vedette.rpc.contract import Ban, BanAnswer, BanReport
from vedette.store import bans as table
from vedette.store.database import Database

MALLORY, EVE = "192.0.2.66", "2001:db8:1:2::/64"


@pytest.fixture(autouse=True)
async def _empty(database: Database) -> None:
    await database.fetch("DELETE FROM ban")


@pytest.fixture
async def raw(database_url: str) -> AsyncIterator[table.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def exchange(database: Database, *bans: Ban, since: float = 0.0) -> BanAnswer:
    body = msgspec.msgpack.encode(BanReport(list(bans), since))
    return msgspec.msgpack.decode(await BansHandler(database)(body), type=BanAnswer)


def facts(answer: BanAnswer) -> dict[tuple[str, str], tuple[int, str, bool]]:
    return {(ban.source, ban.username): (ban.strikes, ban.reason, ban.lifted) for ban in answer.bans}


async def test_what_one_edge_reports_all_are_told(database: Database) -> None:
    lock = Ban(MALLORY, "alice@example.com", 60.0, 1, "wrong passwords")
    await exchange(database, Ban(EVE, "", 120.0, 2, "garbage"), lock)
    answer = await exchange(database)
    assert facts(answer) == {
        (EVE, ""): (2, "garbage", False),
        (MALLORY, "alice@example.com"): (1, "wrong passwords", False),
    }
    assert {ban.source: round(ban.seconds, -1) for ban in answer.bans} == {EVE: 120, MALLORY: 60}


async def test_an_edge_is_told_what_has_changed_and_what_was_lifted(
    database: Database, raw: table.Connection
) -> None:
    await exchange(database, Ban(EVE, "", 120.0, 1), Ban(MALLORY, "", 0.0, 1))
    first = await exchange(database)
    assert list(facts(first)) == [(EVE, "")], "what is over is not told"
    await database.fetch("UPDATE ban SET changed = changed - interval '1 minute'")
    assert (await exchange(database, since=first.now)).bans == []
    assert await table.lift(raw, EVE, None) == 1
    assert await table.lift(raw, EVE, None) == 0
    assert facts(await exchange(database, since=first.now)) == {(EVE, ""): (0, "", True)}
    await table.add(raw, EVE, 3600.0, "by hand")
    assert facts(await exchange(database, since=first.now)) == {(EVE, ""): (0, "by hand", False)}


async def test_of_two_bans_the_longer_one_counts_but_a_hand_may_shorten_it(
    database: Database, raw: table.Connection
) -> None:
    await exchange(database, Ban(MALLORY, "", 600.0, 4))
    (ban,) = (await exchange(database, Ban(MALLORY, "", 60.0, 1))).bans
    assert ban.seconds > 500
    await table.add(raw, MALLORY, 30.0, "")
    (ban,) = (await exchange(database)).bans
    assert ban.seconds <= 30
    assert [(row["source"], row["username"]) for row in await table.current(raw)] == [(MALLORY, "")]


async def test_edges_that_report_the_same_sources_at_once_do_not_wait_for_each_other_in_a_ring(
    database: Database,
) -> None:
    ones = [Ban(f"198.51.100.{number}", "", 60.0, 1) for number in range(50)]
    for _ in range(10):
        answers = await asyncio.gather(exchange(database, *ones), exchange(database, *reversed(ones)))
        assert [len(answer.bans) for answer in answers][-1] == 50


async def test_rows_that_are_over_are_swept_and_their_number_is_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exchange(database, *(Ban(f"198.51.100.{number}", "", 60.0, 1) for number in range(20)))
    await database.fetch("UPDATE ban SET until = now() - interval '25 hours', changed = now() - interval '25 hours'")
    await exchange(database, Ban(MALLORY, "", 60.0, 1))
    assert [row["source"] for row in await database.fetch("SELECT source FROM ban")] == [MALLORY]
    monkeypatch.setattr(table, "_REPORT", table._REPORT.replace(str(table.MAX_ROWS), "1"))
    await exchange(database, Ban(EVE, "", 60.0, 1))
    assert [row["source"] for row in await database.fetch("SELECT source FROM ban")] == [MALLORY]


async def test_a_ban_that_no_row_can_hold_is_passed_over(database: Database) -> None:
    answer = await exchange(database, Ban(MALLORY, "a\x00b", 60.0, 1), Ban("", "", 60.0, 1))
    assert answer.bans == []
