"""One watcher of one presentity on an idle system: how long from the PUBLISH until the NOTIFY is there."""

import asyncio
from collections.abc import Callable

from bench.phones import Load, Phones, PhonesError
from bench.system import SystemUnderTest

WARM_UP = 30
"""Changes that are not counted."""
PAUSE = 0.02
"""Seconds between a NOTIFY and the next PUBLISH."""
PATIENCE = 8.0
WARM_SECONDS = 5.0
MOST_SECONDS = 40.0
"""There are fewer changes where a system takes seconds for each."""

Say = Callable[[str], None]


async def measure(system: SystemUnderTest, *, changes: int, run_id: str, say: Say) -> Load:
    """Change the state so many times, each after the one before was seen. Raises PhonesError."""
    return await asyncio.to_thread(_measure, system, changes, run_id, say)


def _measure(system: SystemUnderTest, changes: int, run_id: str, say: Say) -> Load:
    with Phones(system.address, run_id, 1, 1, say) as phones:
        phones.publish_all(1, PATIENCE)
        if phones.subscribe_all(1, PATIENCE) != 1:
            raise PhonesError("the watcher got no NOTIFY")
        phones.one_by_one(WARM_UP, PAUSE, PATIENCE, WARM_SECONDS)
        load = phones.one_by_one(changes, PAUSE, PATIENCE, MOST_SECONDS)
    say(describe(load))
    return load


def describe(load: Load) -> str:
    """For a line of progress."""
    answered = f"200 after {milliseconds(load.response_ms)}, {load.refused} PUBLISHes refused"
    changes = f"{load.changes} changes" + (f" ({load.left_out} left out)" if load.left_out else "")
    if not load.expected:
        return f"{changes}: {answered}"
    return (
        f"{changes}: NOTIFY after {milliseconds(load.notify_ms)} "
        f"(p99 {milliseconds(load.notify_p99_ms)}), {load.missing} of {load.expected} missing, {answered}"
    )


def milliseconds(value: float | None) -> str:
    """A time in words."""
    return "never" if value is None else f"{value:,.1f} ms"
