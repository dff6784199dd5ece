"""A machine that is busy at the worst moments: `make test PYTEST_ARGS="-p tests.stalls tests/unit/rpc"`.

The process of the tests stands still at random between two turns of asyncio's loop, as it may where many processes
share two cores. A test that depends on how fast the machine is fails here within a few runs, elsewhere once in many.
"""

import random
import selectors
import time

CHANCE = 0.03
"""Of each turn."""
SHORTEST, LONGEST = 0.1, 0.7
"""Seconds."""

_chance = random.Random()
_select = selectors.EpollSelector.select

Found = list[tuple[selectors.SelectorKey, int]]


def _stall(self: selectors.EpollSelector, timeout: float | None = None) -> Found:
    found = _select(self, timeout)
    if _chance.random() < CHANCE:
        time.sleep(_chance.uniform(SHORTEST, LONGEST))
    return found


setattr(selectors.EpollSelector, "select", _stall)  # noqa: B010 - no type has a method that is replaced
