"""A set whose timers are short and whose edge takes few requests at once, to be held up and left unanswered."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.phone import opened, pidf
from tests.running_set import RunningSet, started
from tests.wait import until

T1 = 0.06
T2 = 8 * T1
"""The proportion of RFC 3261's values, so that a request is sent 11 times until Timer F."""
TIMER_F = 64 * T1
MAX_ONGOING = 16


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def quick_set() -> AsyncIterator[RunningSet]:
    """One core, two notifiers; 16 requests may wait for their answers.

    T1 is 60 ms, so that phones of a busy machine have 4 seconds to answer.
    """
    extra = {
        "VEDETTE_T1": f"{T1 * 1000:.0f}",
        "VEDETTE_T2": f"{T2 * 1000:.0f}",
        "VEDETTE_T4": "100",
        "VEDETTE_MAX_ONGOING": str(MAX_ONGOING),
        "VEDETTE_CLEAN_PERIOD": "3600",
        "VEDETTE_NAT_HANDLING": "off",
    }
    async with started("--cores", "1", "--notifiers", "2", extra=extra) as running:
        yield running


@contextlib.asynccontextmanager
async def core_held(running: RunningSet) -> AsyncIterator[None]:
    """While this is open the only core does nothing; at its end the set works again."""
    pid = await running.kill("core", number=signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        async with opened(running) as phone:

            async def works() -> bool:
                return (await phone.request(phone.publish(body=pidf()))).status == 200

            await until(works, "the core works again")
