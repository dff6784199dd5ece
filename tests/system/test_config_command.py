"""`vedette config show` and `vedette config check`, as an operator runs them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from notifier.settings import NotifierSettings
from presence_core.settings import CoreSettings
from sip_edge.settings import EdgeSettings
from tests.running_set import RunningSet, environment, run, started
from tests.unit.runtime.test_settings import BAD, FREE_TEXT
from vedette.runtime.parameters import environment_name
from vedette.runtime.settings import ServiceSettings, StoreSettings


def listed(out: str) -> dict[str, dict[str, Any]]:
    return {row["parameter"]: row for row in map(json.loads, out.splitlines())}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running() -> AsyncIterator[RunningSet]:
    """A set with a parameter, one without effect, one that is misspelled, and a table by a name of the operator's."""
    extra = {
        "VEDETTE_MAX_EXPIRES": "900",
        "VEDETTE_DB_UPDATE_PERIOD": "50",
        "VEDETTE_ACTIVE_WATCHERS_TABLE": "kam_active_watchers",
        "VEDETTE_MAX_EXPIRE": "60",
    }
    async with started("--cores", "1", extra=extra) as started_one:
        yield started_one


async def test_show_tells_the_parameters_of_the_running_set(running: RunningSet) -> None:
    code, out, err = await run(
        *("config", "show", "--json", "--data", str(running.data)), extra={"VEDETTE_MAX_EXPIRES": "60"}
    )
    assert (code, err) == (0, "")
    rows = listed(out)
    assert (rows["max_expires"]["value"], rows["max_expires"]["source"]) == ("900", "environment")
    assert (rows["sip_port"]["value"], rows["sip_port"]["source"]) == (str(running.sip[1]), "command line")
    assert (rows["clean_period"]["value"], rows["clean_period"]["source"]) == ("100", "default")
    password = (running.data / "secrets" / "database_password").read_text().strip()
    assert password not in out


async def test_show_tells_what_services_started_here_would_have(tmp_path: Path) -> None:
    file = tmp_path / "vedette.toml"
    file.write_text("min_expires = 60\n")
    code, out, _ = await run(
        *("config", "show", "--data", str(tmp_path / "none")),
        extra={"VEDETTE_CONFIG": str(file), "VEDETTE_DB_URL": "postgresql://v:hunter2@db/v"},
    )
    assert code == 0
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert lines["min_expires"] == ["min_expires", "60", "file", "presence-core"]
    assert lines["db_url"][1:3] == ["postgresql://v:***@db/v", "environment"]
    assert lines["log_level"] == ["log_level", "info", "default", "all"]
    assert "hunter2" not in out


@pytest.mark.parametrize(
    ("extra", "code", "told"),
    [
        ({}, 0, []),
        ({"VEDETTE_MAX_EXPIRES": "60"}, 0, []),
        ({"VEDETTE_MAX_EXPIRE": "60"}, 1, ["VEDETTE_MAX_EXPIRE is no parameter. Is it VEDETTE_MAX_EXPIRES?"]),
        ({"VEDETTE_T1": "0"}, 2, ["VEDETTE_T1: Input should be greater than or equal to 1. Found: '0'."]),
        ({"VEDETTE_CONFIG": "/none"}, 2, ["VEDETTE_CONFIG: '/none' is not a file"]),
        (
            {"VEDETTE_T1": "0", "VEDETTE_XYZ": "1"},
            2,
            ["VEDETTE_T1: Input should be greater", "VEDETTE_XYZ is no parameter."],
        ),
    ],
    ids=str,
)
async def test_check_starts_nothing_and_says_what_is_wrong(extra: dict[str, str], code: int, told: list[str]) -> None:
    ended, out, err = await run("config", "check", extra=extra)
    assert ended == code
    lines = err.splitlines()
    assert len(lines) == len(told)
    assert all(line.startswith(beginning) for line, beginning in zip(lines, told, strict=True)), lines
    assert out.endswith("parameters, all allowed\n") == (code == 0)


@pytest.mark.parametrize(
    ("module", "kind"), [("sip_edge", EdgeSettings), ("presence_core", CoreSettings), ("notifier", NotifierSettings)]
)
async def test_each_service_names_every_parameter_that_is_wrong(module: str, kind: type[ServiceSettings]) -> None:
    """All at once; sip_host is judged together with others, once these are right."""
    wrong = {
        str(name): str(value)
        for owner, name, value, _ in reversed(BAD)
        if owner in {kind, StoreSettings} and name in kind.model_fields.keys() - {"sip_host"}
    }
    assert wrong.keys() == kind.model_fields.keys() - FREE_TEXT - {"sip_host"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stderr=asyncio.subprocess.PIPE,
        env=environment({environment_name(name): value for name, value in wrong.items()}),
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    lines = {line.partition(": ")[0]: line for line in err.decode().splitlines()}
    assert lines.keys() == {environment_name(name) for name in wrong}
    for line in lines.values():
        assert " Allowed: " in line


async def test_a_parameter_that_acts_with_another_one_only_is_said_to_have_no_effect(running: RunningSet) -> None:
    assert remarks(running, "core") == ["VEDETTE_DB_UPDATE_PERIOD"]
    assert remarks(running, "notifier") == ["VEDETTE_DB_UPDATE_PERIOD"]
    assert remarks(running, "edge") == []


def remarks(running: RunningSet, service: str) -> list[str]:
    text = (running.data / "log" / f"{service}-0.log").read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line["parameter"] for line in lines if line["event"] == "parameter without effect"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Delivery", "Allowed: a name of up to 63 lower-case letters"),
        ("delivery", "'delivery' is the name of another table of Vedette"),
        ("pg_theirs", "'pg_theirs' is in the database already"),
    ],
)
async def test_parameter_presentity_table_that_cannot_be_used_stops_migrate(
    database_url: str, name: str, problem: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("CREATE TABLE pg_theirs (id int)")
    await connection.close()
    code, _, err = await run("migrate", "--database-url", database_url, extra={"VEDETTE_PRESENTITY_TABLE": name})
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("VEDETTE_PRESENTITY_TABLE: ")
    assert problem in line


async def test_parameters_of_table_names_are_followed_by_up_and_migrate(running: RunningSet) -> None:
    assert "  made the view kam_active_watchers of active_watchers" in running.output
    assert running.output[0] == "note: VEDETTE_MAX_EXPIRE is no parameter. Is it VEDETTE_MAX_EXPIRES?"


async def test_migrate_makes_and_removes_the_views(database_url: str) -> None:
    command = ("migrate", "--database-url", database_url)
    code, out, _ = await run(*command, extra={"VEDETTE_WATCHERS_TABLE": "kam_watchers"})
    assert (code, out.splitlines()[-1]) == (0, "made the view kam_watchers of watchers")
    code, out, _ = await run(*command)
    assert (code, out.splitlines()[-1]) == (0, "removed the view kam_watchers")
