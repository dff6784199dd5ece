"""`vedette token`, and a set whose REST asks for tokens."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from tests.running_set import RunningSet, run, started
from tests.wait import until


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def token_set() -> AsyncIterator[RunningSet]:
    async with started("--cores", "1", "--api-auth", "token") as running:
        yield running


async def status(running: RunningSet, token: str | None, path: str = "/api/v1/replicas") -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(running.api + path, headers=headers) as answer:
        return answer.status


async def test_parameter_api_auth_a_set_that_was_asked_to_asks_for_tokens(token_set: RunningSet) -> None:
    data = str(token_set.data)
    assert await status(token_set, None, "/readyz") == 200
    assert await status(token_set, None) == 401
    token = (await token_set.command("token", "create", "ci", "--data", data)).strip()
    assert await status(token_set, token) == 200
    (line,) = (await token_set.command("token", "list", "--data", data)).splitlines()
    assert line.startswith(f"{token.split('_')[1]}  ci  reader  all domains  used ")
    assert token.split("_", 2)[2] not in line
    code, _, error = await run("token", "create", "ci", "--data", data)
    assert (code, "vedette token revoke ci" in error) == (1, True)
    assert "revoked ci (" in await token_set.command("token", "revoke", "ci", "--data", data)

    async def refused() -> bool:
        return await status(token_set, token) == 401

    await until(refused, "the token counts no more")
    logs = "".join(path.read_text() for path in token_set.data.glob("logs/*.log"))
    assert "vdt_" not in logs


async def test_tokens_without_a_set_that_runs(database_url: str) -> None:
    made = await run(
        *("token", "create", "phones", "--role", "operator", "--domain", "Example.COM", "--expires", "90d"),
        *("--json", "--database-url", database_url),
    )
    assert made[0] == 0, made
    facts = json.loads(made[1])
    assert (facts["name"], facts["role"], facts["domain"]) == ("phones", "operator", "example.com")
    left = datetime.fromisoformat(facts["expires"]) - datetime.now(UTC)
    assert timedelta(days=89) < left < timedelta(days=91)
    listed = await run("token", "list", "--json", "--database-url", database_url)
    row = json.loads(listed[1])
    assert (row["id"], row["counts"], "token" in row) == (facts["id"], True, False)
    assert facts["token"].startswith(f"vdt_{facts['id']}_")
    assert (await run("token", "revoke", facts["id"], "--database-url", database_url))[0] == 0
    assert (await run("token", "revoke", "phones", "--database-url", database_url))[0] == 1
    again = await run("token", "create", "phones", "--database-url", database_url)
    assert again[0] == 0
    connection = await asyncpg.connect(database_url)
    entries = await connection.fetch("SELECT actor, operation, target, status FROM audit ORDER BY id")
    assert [(row["operation"], row["status"]) for row in entries] == [
        ("create_token", 201),
        ("revoke_token", 200),
        ("create_token", 201),
    ]
    assert {row["actor"] for row in entries} == {"command"}
    assert facts["token"].split("_", 2)[2] not in str(await connection.fetch("SELECT * FROM audit"))
    await connection.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x" * 101], "NAME"),
        (["a\tb"], "NAME"),
        (["a", "--domain", "sip:example.com"], "--domain"),
        (["a", "--domain", "a@b"], "--domain"),
        (["a", "--expires", "soon"], "--expires"),
        (["a", "--expires", "99999d"], "--expires"),
        (["a", "--role", "root"], "--role"),
    ],
)
async def test_what_makes_no_token_is_told(arguments: list[str], said: str) -> None:
    code, _, error = await run("token", "create", *arguments, "--database-url", "postgresql://127.0.0.1:1/nothing")
    assert code == 2
    assert said in error
