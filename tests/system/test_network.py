"""A network that loses, doubles, swaps and delays datagrams, and clocks that are wrong: the invariants hold."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clusters import lay_cluster
from tests.folders import open_folder
from tests.running_set import UNHURRIED, RunningSet, environment, start
from tests.system.history import disturbances, late_copies
from tests.system.load import loaded
from tests.system.misbehaving import DEAD, MANNERS, RETRY_AFTER, MisbehavingWatcher
from tests.system.relay import CALM, Relay, Weather
from tests.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 4
WEATHERS = {
    "loss": Weather(loss=0.15),
    "duplication": Weather(duplication=0.5),
    "reordering": Weather(reordering=0.3),
    "delay": Weather(delay=0.1),
    "all": Weather(loss=0.1, duplication=0.3, reordering=0.2, delay=0.1),
}
CLOCKS = Path(__file__).with_name("wrong_clocks")


async def wrong_by(extra: dict[str, str]) -> float:
    """By how many seconds a process with this environment is wrong."""
    told = "import time; print(time.time())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", told, env=environment(extra), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return abs(float(out) - time.time())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quick_set() -> AsyncIterator[RunningSet]:
    """Two of each kind, retransmitting early; every process has a clock of its own, which is wrong and jumps."""
    path = os.pathsep.join(filter(None, [str(CLOCKS), os.environ.get("PYTHONPATH", "")]))
    extra = {"VEDETTE_T1": "100", "VEDETTE_T2": "400", "PYTHONPATH": path}
    assert await wrong_by(extra) > 1
    with open_folder("network") as data:
        await lay_cluster(data)
        running = await start(data, ["--edges", "2", "--cores", "2", "--notifiers", "2"], UNHURRIED | extra)
        try:
            yield running
        finally:
            await running.stop()


@pytest.mark.parametrize("weather", WEATHERS.values(), ids=WEATHERS.keys())
async def test_no_weather_breaks_a_promise(quick_set: RunningSet, weather: Weather) -> None:
    relay = Relay(quick_set.sip, SEED, weather)
    try:
        async with loaded(quick_set, relay) as load:
            await load.goes_on()
            await load.keeps_its_promises()
        assert {r.status for r in load.history.responses} == {200}
        assert disturbances(load.history) == []
        assert relay.passed > 0
        assert bool(relay.lost) == bool(weather.loss)
        assert bool(relay.doubled) == bool(weather.duplication)
        assert bool(relay.held_back) == bool(weather.reordering)
    finally:
        relay.close()


async def test_in_calm_weather_the_relay_changes_nothing(quick_set: RunningSet) -> None:
    relay = Relay(quick_set.sip, SEED, CALM)
    try:
        async with loaded(quick_set, relay) as load:
            await load.goes_on()
            await load.keeps_its_promises()
        assert {r.status for r in load.history.responses} == {200}
        assert [*disturbances(load.history), *late_copies(load.history)] == []
        assert relay.passed > 0
    finally:
        relay.close()


async def test_watchers_that_misbehave_hold_up_nobody_and_the_dead_are_gone(quick_set: RunningSet) -> None:
    async with loaded(quick_set) as load:
        bad = [
            MisbehavingWatcher(quick_set, publisher.aor, manner)
            for publisher in load.publishers[:2]
            for manner in MANNERS
        ]
        try:
            await asyncio.gather(*(watcher.start() for watcher in bad))
            await load.goes_on(10)
            dead = {watcher.call_id for watcher in bad if watcher.manner in DEAD}
            alive = {watcher.call_id for watcher in bad} - dead

            async def buried() -> bool:
                return not dead & set(await load.stored_dialogs())

            await until(buried, "the dead ones are gone")
            for watcher in bad:
                watcher.let_go()
            await load.goes_on()
            assert alive <= set(await load.stored_dialogs())
            for watcher in bad:
                assert watcher.cseqs == sorted(watcher.cseqs)
                if watcher.call_id in alive:
                    assert len(watcher.cseqs) > 2
                if watcher.manner == "busy":
                    assert min(watcher.pauses) >= RETRY_AFTER
            await load.keeps_its_promises()
        finally:
            await asyncio.gather(*(watcher.close() for watcher in bad))
    assert {r.status for r in load.history.responses} == {200}
    assert [*disturbances(load.history), *late_copies(load.history)] == []
