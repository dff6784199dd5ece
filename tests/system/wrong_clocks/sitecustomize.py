"""Gives a process a wall clock that is wrong by up to a day and jumps: put this folder on PYTHONPATH to have it.

Each process is wrong by something else, and by something else again every second. The monotonic clock is left alone:
nothing but the system's start sets that.
"""

import os
import random
import time

DAY = 86_400.0

_right = time.time


def _wrong() -> float:
    now = _right()
    return now + random.Random(f"{os.getpid()} {int(now)}").uniform(-DAY, DAY)


time.time = _wrong
