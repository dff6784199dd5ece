"""Services are forked from one process that has imported their code; nothing else is different for them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.wait import until_true
from vedette_cli.supervisor import forking
from vedette_cli.supervisor.forking import Forked, Forks

TELLING = "tests.unit.supervisor.telling_service"


@pytest.fixture
async def forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Forks]:
    """What services are forked from; only `impatient` gives a server up that works, however slowly."""
    monkeypatch.setattr(forking, "FORK_PATIENCE", 60.0)
    made = Forks([], tmp_path / "forks.log")
    yield made
    await made.stop(1)
    assert made.pids == []


async def forked(forks: Forks, log: Path, **environment: str) -> tuple[Forked, dict[str, Any]]:
    """A process, and what it tells."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as told:
        process = await forks.fork(TELLING, environment={**os.environ, **environment}, log=log, ready=writer)
        os.close(writer)
        return process, json.loads(await asyncio.to_thread(told.readline))


def impatient(forks: Forks) -> None:
    """The server of now has to answer soon; the next one has its time."""
    assert forks._connection is not None
    forks._connection.settimeout(0.2)


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_process_has_all_of_its_own(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    first, told = await forked(forks, tmp_path / "log", TOLD="first", TOLD_LONG="x" * 1_000_000)
    assert told == {
        "arguments": [told["arguments"][0]],
        "told": {"TOLD": "first", "TOLD_LONG": "x" * 1_000_000},
        "leads_session": True,
        "input": "",
        "ignores_children": False,
    }
    assert (tmp_path / "log").read_text() == "before\nit begins\n"
    second, told = await forked(forks, tmp_path / "second")
    assert told["told"] == {}
    for process in (first, second):
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert shown[1:] == [b"-m", TELLING.encode()]
        assert [parent(process.pid)] == forks.pids
    first.kill()
    await first.wait()
    first.kill()  # nobody
    assert (first.returncode, second.returncode) == (0, None)
    second.send_signal(signal.SIGTERM)
    await second.wait()


async def test_after_a_renewal_processes_have_new_code_and_earlier_ones_stay(forks: Forks, tmp_path: Path) -> None:
    old, _ = await forked(forks, tmp_path / "log")
    forks.renew()
    new, _ = await forked(forks, tmp_path / "log")
    assert parent(old.pid) != parent(new.pid)
    assert sorted(forks.pids) == sorted([parent(old.pid), parent(new.pid)])
    assert old.returncode is None
    last = parent(new.pid)
    old.kill()
    await until_true(lambda: forks.pids == [last], "what the earlier one came from ends with it")
    new.kill()
    await new.wait()
    assert forks.pids == [last]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_a_server_that_is_gone_or_does_nothing_is_replaced(
    forks: Forks, tmp_path: Path, number: signal.Signals
) -> None:
    old, _ = await forked(forks, tmp_path / "log")
    forks.renew()
    await forked(forks, tmp_path / "log")
    (first, second) = forks.pids
    os.kill(second, number)
    impatient(forks)
    new, _ = await forked(forks, tmp_path / "log")
    assert parent(new.pid) not in (first, second)
    os.kill(first, signal.SIGKILL)
    await old.wait()  # nobody is left behind
    new.kill()


async def test_a_server_that_goes_on_too_late_keeps_what_it_has_forked(forks: Forks, tmp_path: Path) -> None:
    kept, _ = await forked(forks, tmp_path / "log")
    (server,) = forks.pids
    os.kill(server, signal.SIGSTOP)
    impatient(forks)
    new, _ = await forked(forks, tmp_path / "log")
    os.kill(server, signal.SIGCONT)  # the order that it has not read yet was carried out by another one

    def holds_a_socket() -> bool:
        for name in Path(f"/proc/{server}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if str(name.readlink()).startswith("socket:"):
                    return True
        return False

    await until_true(lambda: not holds_a_socket(), "nobody asks it any more")
    assert (kept.returncode, parent(kept.pid)) == (None, server)
    children = Path(f"/proc/{server}/task/{server}/children")
    await until_true(lambda: children.read_text().split() == [str(kept.pid)], "what it forked too late has ended")
    for process in (kept, new):
        process.kill()


async def test_a_server_that_cannot_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    forks = Forks([], tmp_path / "log")
    with pytest.raises(ConnectionError, match="the process to fork from ended"):
        await forked(forks, tmp_path / "log")
    await forks.stop(1)
