"""What a micro benchmark is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Work = Callable[[int], object]
"""One operation. It is called with 0, 1, 2 and so on, each once, and says what came of it."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One figure of the suite."""

    name: str
    """`group: what is done`."""
    prepare: Callable[[int], Work]
    """(how many operations there will be) -> the operation, with all that it needs at hand."""
    is_true: Callable[[Any], bool]
    """Whether what came of an operation is what it is to be: else an error path would be measured."""
    times: int = 40
    """Operations in a round."""


class UntrueError(Exception):
    """An operation came to something else than it was to."""


def operation(benchmark: Benchmark, operations: int) -> Work:
    """The operation, prepared so often and tried once. Raises UntrueError where it does not do what it is to do."""
    work = benchmark.prepare(operations + 1)
    result = work(operations)
    if not benchmark.is_true(result):
        raise UntrueError(f"{benchmark.name}: {result!r:.300}")
    return work
