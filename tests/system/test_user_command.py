"""`vedette user`, and `vedette publish` and `watch` as a user whom the server knows."""

import asyncio
import json
import sys
from pathlib import Path

import asyncpg
import pytest

from tests.conformance.digest_client import add_user
from tests.conformance.observed import publications
from tests.phone import token
from tests.running_set import VEDETTE, RunningSet, environment, run
from tests.wait import until
from vedette_cli.supervisor.control import ask


async def vedette(running: RunningSet, *arguments: str, typed: str | None = None) -> tuple[int, str, str]:
    """What `vedette user ARGUMENTS` says, with that on its stdin."""
    process = await asyncio.create_subprocess_exec(
        *VEDETTE, "user", *arguments, "--data", str(running.data),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate((typed or "").encode()), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def publish(running: RunningSet, name: str, password: str) -> tuple[int, str, str]:
    user = name.partition("@")[0]
    arguments = ("publish", f"sip:{name}", "--server", running.sip_address, "--user", user, "--password", password)
    return await run(*arguments)


async def test_a_user_is_added_gets_another_password_and_is_removed(digest_set: RunningSet, tmp_path: Path) -> None:
    name = f"{token('ann')}@example.com"
    assert (await vedette(digest_set, "add", name, typed="first secret\n"))[:2] == (0, f"added {name}\n")
    assert (await publish(digest_set, name, "first secret"))[0] == 0
    code, _, err = await publish(digest_set, name, "wrong")
    assert (code, "401" in err, "--password" in err) == (1, True, True)

    code, _, err = await vedette(digest_set, "add", name, typed="other\n")
    assert (code, err.count("\n")) == (1, 1)
    assert f"vedette user passwd {name}" in err

    file = tmp_path / "password"
    file.write_text("zweites Gehéimnis\n", encoding="utf-8")
    assert (await vedette(digest_set, "passwd", name, "--password-file", str(file)))[0] == 0
    # At once: a proof that an edge cannot explain makes it ask again, once what it knows is two seconds old.

    async def let_in() -> bool:
        return (await publish(digest_set, name, f"@{file}"))[0] == 0

    await until(let_in, "the new password is known")

    code, out, _ = await vedette(digest_set, "list", "--domain", "Example.com", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["domain"] for row in rows if f"{row['username']}@{row['domain']}" == name] == ["example.com"]
    assert "Gehéimnis" not in out
    connection = await asyncpg.connect(ask(digest_set.data, {"command": "stores"})["db_url"])
    stored = str([tuple(row) for row in await connection.fetch("SELECT * FROM subscriber")])
    await connection.close()
    assert "secret" not in stored
    assert "Geh" not in stored

    assert (await vedette(digest_set, "remove", f"sip:{name}"))[:2] == (0, f"removed {name}\n")
    assert name not in (await vedette(digest_set, "list"))[1]
    for command in ("remove", "passwd"):
        code, _, err = await vedette(digest_set, command, name, typed="x\n")
        assert (code, err) == (1, f"there is no user {name}\n")


@pytest.mark.parametrize(
    ("arguments", "typed", "text"),
    [
        (("add", "alice"), "x\n", "is no name of a user"),
        (("add", "sip:a:b@example.com"), "x\n", "a colon"),
        (("add", "tel:+1555"), "x\n", "is no name of a user"),
        (("add", "ann@example.com"), "\n", "the password is empty"),
        (("add", "ann@example.com"), "", "the password is empty"),
        (("add", "ann@example.com"), "a\x07b\n", "a control character"),
        (("add", "ann@example.com", "--password-file", "/nowhere/file"), "", "cannot read /nowhere/file"),
        (("passwd", "ann@example.com", "--database-url", "postgresql://x@127.0.0.1:1/x"), "x\n", "Postgres: "),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    digest_set: RunningSet, arguments: tuple[str, ...], typed: str, text: str
) -> None:
    code, out, err = await vedette(digest_set, *arguments, typed=typed)
    assert (code != 0, out, err.count("\n")) == (True, "", 1)
    assert text in err


async def test_without_a_set_the_database_has_to_be_named(tmp_path: Path) -> None:
    code, _, err = await run("user", "list", "--data", str(tmp_path))
    assert code == 1
    assert "--database-url" in err


async def test_publish_and_watch_prove_who_they_are_and_keep_at_it(digest_set: RunningSet, tmp_path: Path) -> None:
    alice, bob = f"{token('alice')}@example.com", f"{token('bob')}@example.com"
    for name in (alice, bob):
        await add_user(digest_set, name, "hunter2")
    file = tmp_path / "password"
    file.write_text("hunter2\n", encoding="ascii")

    def options(name: str) -> tuple[str, ...]:
        user = name.partition("@")[0]
        return ("--server", digest_set.sip_address, "--user", user, "--password", f"@{file}")

    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vedette_cli", "watch", f"sip:{alice}", "--as", f"sip:{bob}", "--json"),
        *options(bob),
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    publishing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vedette_cli", "publish", f"sip:{alice}", "--note", "here", "--keep"),
        *options(alice),
        stdout=asyncio.subprocess.DEVNULL,
        env=environment(),
    )
    assert watching.stdout is not None
    try:
        async with asyncio.timeout(60):
            while b"here" not in await watching.stdout.readline():
                assert watching.returncode is None
    finally:
        for process in (publishing, watching):
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)
    assert await publications(digest_set, f"sip:{alice}") == []
    # Nobody publishes for another one.
    code, _, err = await run("publish", f"sip:{alice}", *options(bob))
    assert (code, "403" in err) == (1, True)
