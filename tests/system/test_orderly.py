"""What an operator does while the set works: stop a process, restart all of them, have more or fewer.

No request is refused and no NOTIFY given up. How long it took until every watcher had news again is printed, not
asserted: a machine may be slow.
"""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.running_set import RunningSet, started
from tests.system.figures import caught_up
from tests.system.history import disturbances, late_copies
from tests.system.load import Load, loaded
from tests.wait import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own_set() -> AsyncIterator[RunningSet]:
    """As small as it can be; each test makes it as large as it needs it."""
    async with started("--edges", "1", "--cores", "1", "--notifiers", "1") as running:
        yield running


def tell(what: str, load: Load, since: float) -> None:
    """Print the times until the watchers had caught up."""
    times = sorted(seconds for seconds in caught_up(load.history, since).values() if seconds is not None)
    median, last = times[len(times) // 2], times[-1]
    sys.stdout.write(f"{what}: {len(times)} watchers had news after {median:.2f} s (median), {last:.2f} s (last)\n")


async def nothing_was_refused(load: Load) -> None:
    """Every request got 200, every promise was kept, at most one NOTIFY was outstanding in a dialog."""
    assert await load.violations() == []
    assert {response.status for response in load.history.responses} == {200}
    assert [*disturbances(load.history), *late_copies(load.history)] == []


async def test_a_set_grows_and_shrinks_under_load(own_set: RunningSet) -> None:
    async with loaded(own_set) as load:
        for counts in (("core=5", "notifier=3", "edge=3"), ("core=2", "notifier=1", "edge=2")):
            since = time.monotonic()
            await own_set.scale(*counts)
            await own_set.all_ready()
            await load.goes_on()
            tell(" ".join(counts), load, since)
        await nothing_was_refused(load)


@pytest.mark.parametrize("service", ["edge", "core", "notifier"])
async def test_a_process_that_is_told_to_end_drops_nothing(own_set: RunningSet, service: str) -> None:
    await own_set.scale("core=2", "notifier=2", "edge=2")
    await own_set.all_ready()
    async with loaded(own_set) as load:
        pid = (await own_set.processes(service))[0]["pid"]
        since = time.monotonic()
        os.kill(pid, signal.SIGTERM)

        async def replaced() -> bool:
            row = (await own_set.processes(service))[0]
            return row["pid"] not in (None, pid) and row["ready"]

        await until(replaced, f"another {service} is there")
        await load.goes_on()
        tell(f"SIGTERM to one of two of {service}", load, since)
        await nothing_was_refused(load)
