"""Commands come with their modules only, and are shown as if all had been imported."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from vedette_cli.lazy_commands import PLACES
from vedette_cli.main import app

HEAVY = ("asyncpg", "aiohttp", "redis", "cryptography", "lxml", "vedette_cli.supervisor.supervisor")
"""What takes long to import (typer itself needs pydantic)."""


@pytest.mark.parametrize("name", list(PLACES))
def test_each_command_is_there_and_has_help(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], prog_name="vedette")
    assert shown.exit_code == 0, shown.output
    assert f"Usage: vedette {name} " in shown.output
    assert "completion" not in shown.output


def test_the_help_of_all_names_each_with_its_first_line() -> None:
    shown = CliRunner().invoke(app, ["--help"], prog_name="vedette", env={"COLUMNS": "200"}).output
    rows = [line.strip("│ ").split(None, 1) for line in shown.splitlines()]
    described = {row[0]: row[1] for row in rows if len(row) == 2 and row[0] in PLACES}
    assert set(described) == set(PLACES)
    assert described["status"].startswith("List every process of the running set")


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    wrong = CliRunner().invoke(app, ["statsu"], prog_name="vedette")
    assert wrong.exit_code == 2
    assert "status" in wrong.output


def test_a_command_imports_nothing_heavy_that_it_does_not_need() -> None:
    code = (
        "import sys, json\nfrom typer.testing import CliRunner\nfrom vedette_cli.main import app\n"
        "CliRunner().invoke(app, ['status', '--data', '/nonexistent'])\nprint(json.dumps(sorted(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert not set(HEAVY) & set(json.loads(ran.stdout))
