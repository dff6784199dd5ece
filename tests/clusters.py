"""An empty Postgres cluster, made once in a process of tests and copied for whoever starts a server.

initdb takes longer than all else that a server needs. What `vedette up` makes of an empty folder is tested where sets
are started on folders of the test's own (tests/system/test_up.py).
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.folders import open_folder
from vedette_cli.commands.migrate import make_secret_files
from vedette_cli.supervisor.embedded_postgres import EmbeddedPostgres
from vedette_cli.supervisor.folders import Folders, open_data_folder
from vedette_cli.supervisor.unprivileged import choose_user

PASSWORD = "database_password"

_home: list[Path] = []
"""Where it lies while tests run; outside of pytest nowhere, and every server makes its own."""


@pytest.fixture(scope="session", autouse=True)
def _clusters_are_copied() -> Iterator[None]:
    with open_folder("cluster") as path:
        _home.append(path)
        yield
        _home.clear()


async def lay_cluster(data: Path) -> None:
    """Put the cluster, and its owner's password, into a data folder that has none."""
    if not _home:
        return
    source = Folders(_home[0] / "made")
    if not source.data.exists():
        await _make(source.data)
    target = Folders(data)
    target.secrets.mkdir(mode=0o700, parents=True)
    shutil.copy(source.secrets / PASSWORD, target.secrets / PASSWORD)
    copying = await asyncio.create_subprocess_exec("cp", "-a", str(source.postgres), str(target.postgres))
    assert await copying.wait() == 0


async def _make(path: Path) -> None:
    new = Path(tempfile.mkdtemp(dir=path.parent))
    new.chmod(0o755)
    folders, lock = open_data_folder(new)
    os.close(lock)
    make_secret_files(folders.secrets)
    await EmbeddedPostgres(folders, choose_user()).prepare()
    with contextlib.suppress(OSError):  # somebody else's was there first
        new.rename(path)
