"""Waiting for a condition, with a deadline: no test sleeps for a time that somebody guessed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 30.0
"""Seconds; generous, since only a failure uses it up, and less than Timer F, which nobody is to wait for."""


async def until(check: Callable[[], Awaitable[T]], what: str, *, deadline: float = DEADLINE) -> T:
    """The first true value that `check` returns; AssertionError with `what` when the deadline passes."""
    ends = time.monotonic() + deadline
    while True:
        value = await check()
        if value:
            return value
        if time.monotonic() > ends:
            raise AssertionError(f"not within {deadline:g} s: {what} (last seen: {value!r})")
        await asyncio.sleep(0.02)


async def until_true(check: Callable[[], object], what: str, *, deadline: float = DEADLINE) -> None:
    """Like `until`, for a check that waits for nothing itself."""

    async def ask() -> object:
        return check()

    await until(ask, what, deadline=deadline)
