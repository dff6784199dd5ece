"""The two phases of `vedette migrate`, on a database with the schema and migrations that a test adds to it."""

import re
import shutil
from pathlib import Path

import asyncpg
import pytest

from tests.vectors import ROOT
from vedette import VERSION
from vedette.runtime import start
from vedette.runtime.process import StartError
from vedette.runtime.start import wait_for_schema
from vedette.store.database import Database
from vedette.store.migrations import REQUIRED_SCHEMA, Phase, load
from vedette_cli.commands.migrate import MigrateError, bring_to_schema

LAST = len(load(ROOT / "migrations"))
POST, PRE = f"{LAST + 1:04d}_post_remove.sql", f"{LAST + 2:04d}_pre_add.sql"
SAID_POST, SAID_PRE = f"applied {LAST + 1:04d} post remove", f"applied {LAST + 2:04d} pre add"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's migrations, one of `post` and one of `pre`."""
    for path in (ROOT / "migrations").glob("*.sql"):
        shutil.copy(path, tmp_path)
    (tmp_path / POST).write_text("DROP TABLE xcap_old")
    (tmp_path / PRE).write_text("CREATE TABLE xcap_old (); CREATE TABLE xcap_new ()")
    monkeypatch.setenv("VEDETTE_MIGRATIONS", str(tmp_path))
    return tmp_path


async def migrate(url: str, phase: Phase | None = None) -> tuple[bool, list[str]]:
    """Whether it was done, and what was said."""
    said: list[str] = []
    try:
        await bring_to_schema(url, said.append, phase=phase)
    except MigrateError as error:
        return False, [*said, str(error)]
    return True, said


async def alive(url: str, version: str, age: float = 0.0) -> None:
    """A process of that version was heard of so many seconds ago, and no other one."""
    connection = await asyncpg.connect(url)
    await connection.execute("DELETE FROM replica")
    await connection.execute(
        "SELECT record_replicas_v1('{i}', '{presence-core}', '{127.0.0.1:1}', $1, '{1}', '{h}', '{1}', '{t}')",
        [version],
    )
    await connection.execute("UPDATE replica SET seen = seen - make_interval(secs => $1)", age)
    await connection.close()


async def test_migrate_applies_pre_before_post_whatever_their_numbers(database_url: str, folder: Path) -> None:
    first = f"migration {LAST + 2:04d} (add) has to be applied first: run `vedette migrate --phase pre`"
    assert await migrate(database_url, Phase.POST) == (False, [first])
    assert await migrate(database_url, Phase.PRE) == (True, [SAID_PRE])
    assert await migrate(database_url, Phase.POST) == (True, [SAID_POST])
    nothing = (True, [f"the schema is at {LAST + 2:04d}, nothing to do"])
    assert await migrate(database_url) == nothing
    for name in (POST, PRE):
        (folder / name).unlink()
    assert await migrate(database_url) == nothing, "an older version has nothing to do there"


@pytest.mark.usefixtures("folder")
async def test_post_waits_for_the_end_of_the_last_process_of_another_version(database_url: str) -> None:
    waits = (
        f"{LAST + 1:04d} post remove has to wait for the end of presence-core i, version 0.0.9: replace what is old, "
        "then run `vedette migrate --phase post`"
    )
    await alive(database_url, "0.0.9")
    assert await migrate(database_url) == (True, [SAID_PRE, waits])
    await alive(database_url, "0.0.9")
    assert await migrate(database_url, Phase.POST) == (False, [waits])
    await alive(database_url, VERSION)
    assert await migrate(database_url) == (True, [SAID_POST])


@pytest.mark.usefixtures("folder")
async def test_a_process_that_was_not_heard_of_for_long_holds_nothing_up(database_url: str) -> None:
    await alive(database_url, "0.0.9", age=60)
    assert await migrate(database_url) == (True, [SAID_PRE, SAID_POST])


async def test_a_migration_that_was_changed_after_it_had_been_applied_is_refused(
    database_url: str, folder: Path
) -> None:
    (folder / "0003_pre_subscribe.sql").write_text("SELECT 1")
    said = "migration 0003 (subscribe) was changed after it had been applied; add a new one instead"
    assert await migrate(database_url) == (False, [said])


async def test_new_code_on_an_old_schema_says_what_to_do_and_old_code_runs_on_a_newer_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(database_url)
    database = Database(database_url, size=1, name="test")
    try:
        await connection.execute("INSERT INTO schema_migration VALUES ($1, 'of the next release', '')", LAST + 1)
        await wait_for_schema(database)
        monkeypatch.setattr(start, "PATIENCE", 2.0)
        await connection.execute("DELETE FROM schema_migration WHERE number >= $1", REQUIRED_SCHEMA)
        text = (
            f"the schema is at {REQUIRED_SCHEMA - 1:04d} and vedette {VERSION} needs {REQUIRED_SCHEMA:04d}: "
            f"run `vedette migrate` of version {VERSION} first"
        )
        with pytest.raises(StartError, match=re.escape(text)):
            await wait_for_schema(database)
    finally:
        await database.close()
        await connection.close()


@pytest.mark.parametrize("why", ["deadlock_detected", "lock_not_available"])
async def test_a_migration_that_gets_no_locks_beside_the_traffic_is_begun_again(
    database_url: str, folder: Path, why: str
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE SEQUENCE tries")  # what it counts is not rolled back
        (folder / PRE).write_text(
            f"CREATE TABLE xcap_old (); DO $$ BEGIN IF nextval('tries') < 4 THEN RAISE {why}; END IF; END $$"
        )
        assert await migrate(database_url, Phase.PRE) == (True, [SAID_PRE])
        assert await connection.fetchval("SELECT last_value FROM tries") == 4
    finally:
        await connection.close()
