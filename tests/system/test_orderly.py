"""What an operator does while the set works: stop a process, restart all of them, have more or fewer.

No request is refused. How long it took until every watcher had news again is printed, not
asserted: a machine may be slow.
"""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.running_set import RunningSet, run, started
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
    """Every request got 200, and every promise was kept."""
    await load.keeps_its_promises()
    assert {response.status for response in load.history.responses} == {200}


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
    if service != "edge":  # a watcher that refreshes through the other one gives up what the first one has in hand
        assert [*disturbances(load.history), *late_copies(load.history)] == []


async def test_every_process_is_replaced_one_after_the_other_and_no_request_fails(own_set: RunningSet) -> None:
    """Each is the only one of its kind, so that its successor has to work before it goes."""
    await own_set.scale("core=1", "notifier=1", "edge=1")
    await own_set.all_ready()
    before = {row["pid"] for row in (await own_set.status())["processes"]}
    async with loaded(own_set) as load:
        since = time.monotonic()
        await own_set.command("restart", "--data", str(own_set.data), within=300)
        await own_set.all_ready()
        await load.goes_on()
        tell("vedette restart", load, since)
        await nothing_was_refused(load)
    after = (await own_set.status())["processes"]
    assert [row["service"] for row in after if row["pid"] in before] == ["postgres", "redis"]
    assert [(row["service"], row["index"]) for row in after][2:] == [
        ("edge", 0), ("core", 0), ("api", 0), ("notifier", 0),
    ]  # fmt: skip


async def test_only_the_services_that_were_named_are_restarted(own_set: RunningSet) -> None:
    before = {(row["service"], row["index"]): row["pid"] for row in (await own_set.status())["processes"]}
    await own_set.command("restart", "notifier", "--data", str(own_set.data), within=300)
    after = {(row["service"], row["index"]): row["pid"] for row in (await own_set.status())["processes"]}
    assert after.keys() == before.keys()
    assert {service for service, index in after if after[service, index] != before[service, index]} == {"notifier"}
    code, _, err = await run("restart", "postgres", "--data", str(own_set.data))
    assert code == 2
    assert "'postgres' cannot be restarted; these can: edge, core, api, notifier" in " ".join(err.split())
