"""What `bench/fill.py` fills a database with: rows as the services write them, which they end and remove."""

import pytest

from bench.fill import fill
from bench.limits import ALLOWED, EXPIRE, OVERDUE, Figures, verdict
from notifier.adapters.postgres import NotifierStore
from tests.integration.replicas import Connection
from vedette.store.database import Database


async def test_the_fill_is_of_rows_that_owe_nothing_and_that_expire(
    database_url: str, database: Database, sql: Connection
) -> None:
    said: list[str] = []
    await fill(database_url, 1, 12, said.append)
    await fill(database_url, 13, 20, said.append)
    assert "MiB" in said[-1]
    for table in ("presentity", "presentity_state", "active_watchers", "delivery"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 20
    store = NotifierStore(database, "n", patience=40)
    assert await store.claim(50, 100) == []
    assert await store.expire(50) == []
    for kind, ended in (("publications", "publication"), ("dialogs", "dialog")):
        await sql.execute(EXPIRE[kind], 5)
        assert await sql.fetchval(OVERDUE[kind]) == 5
        assert [item.kind for item in await store.expire(50)] == [ended] * 5
        assert await sql.fetchval(OVERDUE[kind]) == 0
        assert await store.claim(50, 100) == [], "the dialogs of the fill wait for their connection"


@pytest.mark.parametrize(("large", "fits"), [(3.0, True), (3.01, False)])
def test_the_verdict_is_by_ratios(large: float, fits: bool) -> None:  # noqa: FBT001
    empty = Figures(2.0, 2.0, 2.0, 2.0, 2.0, 0.1, 0.0, 0.0, 0.0, {})
    ratios = {
        name: ratio
        for name, _, _, ratio in verdict(empty, Figures(2.0, large, 2.0, 2.0, 2.0, 0.2, 5.0, 5.0, 2.0, {}))
    }
    assert ratios["start_s"] == 1.0
    assert (ratios["publish_ms"] <= ALLOWED) == fits
