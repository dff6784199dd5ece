"""Migrations as files: their names, numbers, checksums."""

from pathlib import Path

import pytest

from tests.vectors import ROOT
from vedette.store.migrations import REQUIRED_SCHEMA, Migration, MigrationError, Phase, load, required_schema


def folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).write_text(f"SELECT '{name}';")
    return path


def test_the_projects_migrations_are_in_order_and_the_code_needs_the_last_one_of_pre() -> None:
    found = load(ROOT / "migrations")
    assert required_schema(found) == REQUIRED_SCHEMA
    assert all(migration.sql.strip() for migration in found)


def test_code_needs_no_post_migration() -> None:
    one, two = Migration(1, Phase.PRE, "a", "SELECT 1;"), Migration(2, Phase.POST, "b", "SELECT 2;")
    assert [required_schema(found) for found in ([], [one], [one, two])] == [0, 1, 1]


def test_migrations_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = folder(tmp_path, "0002_post_b.sql", "0001_pre_a_1.sql", "README.md", "0003_pre_c.sql")
    assert load(path) == [
        Migration(1, Phase.PRE, "a_1", "SELECT '0001_pre_a_1.sql';"),
        Migration(2, Phase.POST, "b", "SELECT '0002_post_b.sql';"),
        Migration(3, Phase.PRE, "c", "SELECT '0003_pre_c.sql';"),
    ]
    assert load(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "name",
    ["1_pre_a.sql", "00001_pre_a.sql", "0001_a.sql", "0001_mid_a.sql", "0001_pre_.sql", "0001_pre_A.sql", "a.sql"],
)
def test_a_name_out_of_line_is_refused_and_says_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match=f"{name}: name it NNNN_pre_name.sql or NNNN_post_name.sql"):
        load(folder(tmp_path, name))


@pytest.mark.parametrize(
    "names",
    [
        ("0002_pre_a.sql",),
        ("0001_pre_a.sql", "0003_pre_b.sql"),
        ("0001_pre_a.sql", "0001_pre_b.sql"),
        ("0000_pre_a.sql",),
    ],
)
def test_a_gap_or_a_number_given_twice_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="not 1, 2, 3"):
        load(folder(tmp_path, *names))


def test_the_checksum_is_that_of_the_text_alone() -> None:
    one = Migration(1, Phase.PRE, "a", "SELECT 1;")
    assert one.checksum == Migration(2, Phase.POST, "b", "SELECT 1;").checksum
    assert one.checksum != Migration(1, Phase.PRE, "a", "SELECT 2;").checksum
