"""What commands change in the database is in the audit log, as what is changed over REST."""

import asyncio
from pathlib import Path

import asyncpg
from typer.testing import CliRunner

from tests.integration.watching import rule, ruleset
from tests.phone import token
from vedette_cli.main import app


async def test_each_change_of_a_command_is_written_down_once_and_refusals_are_not(
    database_url: str, tmp_path: Path
) -> None:
    user, address = f"{token('kim')}@example.com", "192.0.2.77"
    password, rules = tmp_path / "password", tmp_path / "rules.xml"
    password.write_text("secret words")
    rules.write_bytes(ruleset(rule("allow")))
    with_password = ["--password-file", str(password)]
    for code, arguments in (
        (0, ["user", "add", user, *with_password]),
        (1, ["user", "add", user, *with_password]),
        (0, ["user", "passwd", user, *with_password]),
        (0, ["user", "remove", user]),
        (1, ["user", "remove", user]),
        (0, ["rules", "put", f"sip:{user}", str(rules)]),
        (0, ["rules", "delete", f"sip:{user}"]),
        (1, ["rules", "delete", f"sip:{user}"]),
        (0, ["ban", "add", address, "--for", "30m"]),
        (0, ["ban", "remove", address]),
        (1, ["ban", "remove", address]),
    ):
        ran = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--database-url", database_url])
        assert ran.exit_code == code, (arguments, ran.output)
    connection = await asyncpg.connect(database_url)
    try:
        entries = await connection.fetch(
            "SELECT * FROM audit WHERE target = ANY($1) ORDER BY id", [user, f"sip:{user}", address]
        )
    finally:
        await connection.close()
    assert [(entry["operation"], entry["domain"], entry["status"]) for entry in entries] == [
        ("add_user", "example.com", 201),
        ("set_password", "example.com", 200),
        ("remove_user", "example.com", 204),
        ("put_rules_document", "example.com", 200),
        ("delete_rules_document", "example.com", 200),
        ("add_ban", None, 200),
        ("remove_ban", None, 200),
    ]
    assert {entry["actor"] for entry in entries} == {"command"}
    assert "secret words" not in str(entries)
