"""The highest rate that a system holds: raise the offer until it fails, then close in."""

import math
from collections.abc import Awaitable, Callable

from bench.sipp import Step

GROWTH = 1.5
CLOSE_ENOUGH = 1.08
LOWEST = 20

Offer = Callable[[int], Awaitable[Step]]


class NothingHeldError(Exception):
    """Not even the lowest rate was held."""


async def find_peak(offer: Offer, first: int) -> Step:
    """The step with the highest rate that was held; `offer` makes one step at a rate.

    A rate counts as not held when it failed twice, since a noisy machine fails now and then. Raises NothingHeldError.
    """
    held = await _twice(offer, first)
    while not held.held:
        if held.rate / 2 < LOWEST:
            raise NothingHeldError(f"not even {held.rate}/s was held")
        held = await _twice(offer, held.rate // 2)
    ceiling = 2.0 * held.rate if held.rate < first else math.inf
    while ceiling / held.rate > CLOSE_ENOUGH:
        rate = held.rate * GROWTH if math.isinf(ceiling) else math.sqrt(ceiling * held.rate)
        step = await _twice(offer, round(rate))
        if step.held:
            held = step
        else:
            ceiling = step.rate
    return held


async def _twice(offer: Offer, rate: int) -> Step:
    step = await offer(rate)
    return step if step.held else await offer(rate)
