"""A service is started again whatever goes wrong with that."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.wait import until_true
from vedette_cli.supervisor import service as module
from vedette_cli.supervisor.folders import SetupError
from vedette_cli.supervisor.forking import Forks
from vedette_cli.supervisor.service import Kind, Service

TRIVIAL = Kind("trivial", "tests.unit.supervisor.trivial_service")


@asynccontextmanager
async def made(log: Path, kind: Kind = TRIVIAL) -> AsyncIterator[tuple[Service, list[bool]]]:
    """A service, and whether it had an address at each change."""
    changes: list[bool] = []
    forks = Forks([], log.with_suffix(".forks"))
    service = Service(
        kind,
        0,
        forks=forks,
        environment=dict(os.environ),
        log=log,
        changed=lambda changed: changes.append(bool(changed.facts)),
    )
    try:
        yield service, changes
    finally:
        await service.stop(5)
        await forks.stop(5)


async def test_it_is_started_again_once_the_system_lets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "RESTART_PAUSE", 0.01)
    log = tmp_path / "log"
    open_files = Path("/proc/self/fd")
    async with made(log) as (service, changes):
        await service.start()
        before = len(list(open_files.iterdir()))
        first = service.pid
        assert first is not None
        log.unlink()
        log.mkdir()  # now opening it is an OSError
        os.kill(first, signal.SIGKILL)
        await until_true(lambda: service.restarts > 3, "it is tried again and again")
        assert (service.pid, service.facts) == (None, {})
        log.rmdir()
        await until_true(lambda: service.facts, "it runs again")
        assert service.pid not in (None, first)
        assert (changes[0], changes[-1], False in changes) == (True, True, True)
        assert len(list(open_files.iterdir())) <= before + 1
    assert "trivial 0 did not start: IsADirectoryError" in capsys.readouterr().err


async def test_a_first_start_that_the_system_refuses_is_said(tmp_path: Path) -> None:
    async with made(tmp_path) as (service, _):
        with pytest.raises(SetupError, match=r"trivial 0 did not start: .*Is a directory"):
            await service.start()


async def test_a_first_start_that_ends_is_said(tmp_path: Path) -> None:
    async with made(tmp_path / "log", Kind("none", "tests.unit.supervisor.no_such_module")) as (service, _):
        with pytest.raises(SetupError, match="no_such_module"):
            await service.start()
