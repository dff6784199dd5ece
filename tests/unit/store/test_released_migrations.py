"""Migrations that were released stay as they are, and the releases are those of the changelog."""

import re

import pytest

from tests.releases import released_migrations, releases
from tests.vectors import ROOT
from vedette import VERSION
from vedette.store.migrations import REQUIRED_SCHEMA, load

MIGRATIONS = ROOT / "migrations"


@pytest.mark.parametrize("name", sorted(released_migrations()))
def test_a_migration_that_was_released_is_as_it_was(name: str) -> None:
    (migration,) = [found for found in load(MIGRATIONS) if name.startswith(f"{found.number:04d}_")]
    assert name == f"{migration.number:04d}_{migration.phase}_{migration.name}.sql"
    assert migration.checksum == released_migrations()[name], (
        f"{name} was released and has been edited: restore it and add a new migration"
    )


def test_every_migration_of_a_release_is_listed() -> None:
    numbers = sorted(int(name[:4]) for name in released_migrations())
    assert numbers == list(range(1, max(release.schema for release in releases()) + 1))


def test_the_releases_are_those_of_the_changelog_and_below_the_version_of_the_code() -> None:
    found = releases()
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## ([0-9.]+) - ", text, re.MULTILINE) == [release.version for release in reversed(found)]
    assert re.findall(r"^## Unreleased$", text, re.MULTILINE) == ["## Unreleased"]
    assert [release.schema for release in found] == sorted(release.schema for release in found)
    assert found[-1].schema <= REQUIRED_SCHEMA
    assert all(re.fullmatch(r"[0-9a-f]{40}", release.commit) for release in found)
    assert VERSION not in [release.version for release in found]


def test_all_members_have_the_version_of_the_code() -> None:
    pages = [ROOT / "shared", ROOT / "cli", *sorted((ROOT / "services").iterdir())]
    found = {page.name: (page / "pyproject.toml").read_text() for page in pages if (page / "pyproject.toml").exists()}
    assert len(found) == 5
    assert all(f'\nversion = "{VERSION}"\n' in text for text in found.values())
