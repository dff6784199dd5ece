"""Where Valgrind is not installed: CPU time of an operation in units of a fixed loop in the same process."""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median

from bench.micro.benchmark import Benchmark, operation

ROUNDS = 15
_LOOPS = 100


def measure(benchmarks: Sequence[Benchmark]) -> dict[str, float]:
    """Passes of the loop in the time of an operation, by name: the median of rounds that take turns with the loop."""
    gc.collect()
    gc.disable()
    try:
        return {benchmark.name: _ratio(benchmark) for benchmark in benchmarks}
    finally:
        gc.enable()


def _ratio(benchmark: Benchmark) -> float:
    times = benchmark.times
    work = operation(benchmark, (ROUNDS + 1) * times)
    for number in range(times):
        work(number)
    ratios = []
    for first in range(times, (ROUNDS + 1) * times, times):
        unit = _nanoseconds(fixed_pass, range(_LOOPS))
        ratios.append(_nanoseconds(work, range(first, first + times)) / unit)
    return round(median(ratios), 3)


def _nanoseconds(work: Callable[[int], object], numbers: range) -> float:
    since = time.process_time_ns()
    for number in numbers:
        work(number)
    return (time.process_time_ns() - since) / len(numbers)


def fixed_pass(number: int) -> int:
    """What the interpreter does all the time: calls, text, a dictionary, a list. It is never to be changed."""
    rows: dict[str, list[str]] = {}
    for name in ("via", "from", "to", "call-id", "cseq", "event", "expires", "contact"):
        rows.setdefault(name, []).append(f"{name}: {number}")
    text = "\r\n".join(row for values in rows.values() for row in values)
    return len(text.encode().split(b"\r\n"))
