"""A service that is told to stop: at once where it is still starting, and never ready again."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.running_set import environment
from tests.wait import until_true
from vedette.runtime.process import Identity, StartError, StoppedError, unless_stopped


def test_who_is_stopping_is_not_ready_whatever_is_found_out_later() -> None:
    identity = Identity("notifier")
    identity.ready = True
    assert identity.hello().ready
    identity.stop()
    assert not identity.ready
    identity.ready = True
    assert not identity.ready
    assert not identity.hello().ready


async def value() -> int:
    return 7


async def test_what_comes_before_the_stop_is_returned_or_raised() -> None:
    async def fails() -> int:
        raise StartError("no schema")

    stop = asyncio.Event()
    assert await unless_stopped(value(), stop) == 7
    with pytest.raises(StartError, match="no schema"):
        await unless_stopped(fails(), stop)
    stop.set()
    assert await unless_stopped(asyncio.ensure_future(value()), asyncio.Event()) == 7


async def test_a_wait_is_ended_by_the_stop() -> None:
    stop, ended = asyncio.Event(), asyncio.Event()

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(unless_stopped(for_ever(), stop))
    await asyncio.sleep(0)
    stop.set()
    with pytest.raises(StoppedError):
        await waiting
    assert ended.is_set()


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(row.split()[1] for row in rows if row.startswith("SigCgt:"))
    return bool(int(caught, 16) & 1 << (number - 1))


@pytest.mark.parametrize(
    ("module", "role"), [("presence_core", "core"), ("presence_core", "api"), ("notifier", "core")]
)
async def test_a_service_that_waits_for_postgres_ends_in_order_when_it_is_told_to(
    module: str, role: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    token.chmod(0o600)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env=environment(
            {
                "VEDETTE_DB_URL": "postgresql://vedette@127.0.0.1:1/vedette",
                "VEDETTE_RPC_TOKEN_FILE": str(token),
                "VEDETTE_ROLE": role,
                "VEDETTE_LOG_FORMAT": "json",
            }
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await until_true(lambda: handles(process.pid, signal.SIGTERM), "it runs", deadline=60)
        process.send_signal(signal.SIGTERM)
        said, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    assert b"stopped before it was ready" in said
    assert b"Traceback" not in said
