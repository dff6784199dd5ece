"""What callgrind looks at: `python -m bench.micro.counted NAME...` runs the rounds of these benchmarks."""

import gc
import sys

from bench.micro.benchmark import Benchmark, operation
from bench.micro.callgrind import ROUNDS, mark
from bench.micro.suite import SUITE


def run(benchmark: Benchmark) -> None:
    """A round that is not counted, and those that are, each behind a mark."""
    times = benchmark.times
    work = operation(benchmark, (ROUNDS + 1) * times)
    for number in range(times):
        work(number)
    mark()
    for first in range(times, (ROUNDS + 1) * times, times):
        for number in range(first, first + times):
            work(number)
        mark()


def main() -> None:
    """Without collections: they would fall into one round or another."""
    by_name = {benchmark.name: benchmark for benchmark in SUITE}
    gc.disable()
    for name in sys.argv[1:]:
        run(by_name[name])


if __name__ == "__main__":
    main()
