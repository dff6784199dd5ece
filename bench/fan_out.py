"""One presentity, many watchers: how long until the last of them has the new state."""

import asyncio
import contextlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench import sipp
from bench.system import SystemUnderTest
from vedette_cli.supervisor.child import spawn, stop
from vedette_cli.user_agent.agent import Server, UserAgent
from vedette_cli.user_agent.publisher import Publisher

SUBSCRIBE_RATE = 100
"""New watchers in a second; every system holds it."""
ROUND_PATIENCE = 240.0
LOOK = 0.1

Say = Callable[[str], None]


@dataclass(frozen=True)
class FanOut:
    """What the rounds showed; medians."""

    watchers: int
    notifies_per_second: float
    """From the PUBLISH to the last watcher's NOTIFY."""
    last_ms: float
    """Until the last watcher had it."""
    first_ms: float
    missing: int
    """Watchers that did not get the state of a round in time, over all rounds."""


class FanOutError(Exception):
    """It could not be measured."""


async def measure(
    system: SystemUnderTest, folder: Path, *, watchers: int, rounds: int, run_id: str, say: Say
) -> FanOut:
    """Subscribe `watchers` watchers, then change the state `rounds` times, each after all have the one before."""
    presentity = f"{run_id}-seen"
    log = folder / f"{run_id}.watch.log"
    async with UserAgent(Server(*system.address)) as agent:
        publisher = Publisher(agent, f"sip:{presentity}@example.com")
        await publisher.publish(_document(presentity, 0), 3600)
        arguments = sipp.command("watch", system.address, log, run_id)
        process = await spawn(
            [
                *(*arguments, "-key", "presentity", presentity, "-r", str(SUBSCRIBE_RATE)),
                *("-m", str(watchers), "-l", str(watchers)),
            ],
            log=folder / "sipp.out",
            cwd=folder,
        )
        try:
            await _all_have(process, log, 0, watchers)
            return await _rounds(publisher, presentity, process, log, watchers, rounds, say)
        finally:
            await stop(process, patience=2)


async def _rounds(
    publisher: Publisher,
    presentity: str,
    process: asyncio.subprocess.Process,
    log: Path,
    watchers: int,
    rounds: int,
    say: Say,
) -> FanOut:
    firsts: list[float] = []
    lasts: list[float] = []
    missing = 0
    for number in range(1, rounds + 1):
        began = datetime.now().astimezone().timestamp()
        await publisher.publish(_document(presentity, number), 3600)
        with contextlib.suppress(FanOutError):
            await _all_have(process, log, number, watchers)
        times = sorted(at - began for at in _arrivals(log, number).values())
        missing += watchers - len(times)
        if not times:
            raise FanOutError(f"nobody was told of round {number}")
        firsts.append(times[0])
        lasts.append(times[-1])
        say(f"round {number}: {len(times)} of {watchers} watchers, the last after {1000 * times[-1]:.0f} ms")
    last = statistics.median(lasts)
    return FanOut(watchers, watchers / last, 1000 * last, 1000 * statistics.median(firsts), missing)


async def _all_have(process: asyncio.subprocess.Process, log: Path, number: int, watchers: int) -> None:
    """Return when all watchers have the state of a round. Raises FanOutError."""
    try:
        async with asyncio.timeout(ROUND_PATIENCE):
            while len(_arrivals(log, number)) < watchers:
                if process.returncode is not None:
                    raise FanOutError(f"sipp ended by itself; see sipp.out in {log.parent}")
                await asyncio.sleep(LOOK)
    except TimeoutError:
        have = len(_arrivals(log, number))
        raise FanOutError(f"{have} of {watchers} watchers have round {number} after {ROUND_PATIENCE:g} s") from None


def _arrivals(log: Path, number: int) -> dict[str, float]:
    """When (epoch seconds) each watcher first had the state of a round."""
    found: dict[str, float] = {}
    for watcher, state, at in (row for row in sipp.read_log(log) if len(row) == 3):
        if state == f"round {number}":
            found.setdefault(watcher, datetime.fromisoformat(at[:26]).astimezone().timestamp())
    return found


def _document(presentity: str, number: int) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:{presentity}@example.com">'
        f'<tuple id="t1"><status><basic>open</basic></status><note>round {number}</note></tuple></presence>'
    ).encode()
