"""What `vedette status` and `vedette scale` say when a set answers, fails, is slow, or is not there."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.folders import open_folder
from vedette_cli.commands.status import ask_set
from vedette_cli.supervisor import control
from vedette_cli.supervisor.control import ControlServer, NotRunningError, StillAtWorkError, ask
from vedette_cli.supervisor.folders import Folders

PROCESSES = [
    {"service": "core", "ready": True},
    {"service": "core", "ready": True},
    {"service": "core", "ready": False},
    {"service": "edge", "ready": True},
]


class Set:
    """A set that answers `status`, fails at `fail`, and does `scale` when it is let."""

    def __init__(self, data: Path) -> None:
        self.let = asyncio.Event()
        folders = Folders(data)
        folders.run_sockets.mkdir(mode=0o700)
        self.server = ControlServer(folders.control, self.handle)

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "fail":
            raise OSError(28, "No space left on device")
        if request["command"] == "scale":
            await self.let.wait()
        return {"processes": PROCESSES}


async def test_a_set_that_is_slow_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(control, "TIMEOUT", 0.05)
    with open_folder("slow") as data:
        running = Set(data)
        await running.server.start()
        try:
            with pytest.raises(StillAtWorkError):
                await asyncio.to_thread(ask, data, {"command": "scale"})
            with pytest.raises(typer.Exit) as ended:
                await asyncio.to_thread(ask_set, data, {"command": "scale"})
            assert ended.value.exit_code == 1
            said = capsys.readouterr().err
            assert "has not answered within 0.05 s; it is still at it. Ready now: core 2, edge 1" in said
            running.let.set()
            assert await asyncio.to_thread(ask, data, {"command": "scale"}, timeout=60) == {"processes": PROCESSES}
        finally:
            await running.server.stop()


async def test_an_error_of_the_system_is_told_and_the_set_answers_on() -> None:
    with open_folder("failing") as data:
        running = Set(data)
        await running.server.start()
        try:
            answer = await asyncio.to_thread(ask, data, {"command": "fail"})
            assert answer == {"error": "[Errno 28] No space left on device"}
            assert "processes" in await asyncio.to_thread(ask, data, {"command": "status"})
        finally:
            await running.server.stop()
        with pytest.raises(NotRunningError):
            await asyncio.to_thread(ask, data, {"command": "status"})
