"""`make micro`: what single functions of the hot path cost, beside the figures that were kept."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, NoReturn

import typer

from bench.micro import baseline, callgrind, memory, ratio, table
from bench.micro.baseline import Baseline
from bench.micro.benchmark import Benchmark
from bench.micro.callgrind import CallgrindError
from bench.micro.suite import chosen


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Those with this text in their name; may come again.")
    ] = None,
    as_ratio: Annotated[
        bool, typer.Option("--ratio", help="In passes of a fixed loop, as where Valgrind is not installed.")
    ] = False,
    in_memory: Annotated[bool, typer.Option("--memory", help="What transactions keep in memory.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Keep figures of all kinds as the baseline.")] = False,
) -> None:
    """Measure, print beside the baseline, and keep as the baseline where that is asked for."""
    benchmarks = chosen(only or [])
    if not benchmarks:
        _fail(f"--only: no benchmark has {' or '.join(only or [])} in its name")
    if write and (only or not callgrind.is_there()):
        _fail("--write keeps figures of all kinds and benchmarks: without --only, and with valgrind installed")
    counts = callgrind.is_there() and not as_ratio
    found = Baseline(
        instructions=_count(benchmarks) if write or (counts and not in_memory) else {},
        passes=ratio.measure(benchmarks) if write or not (counts or in_memory) else {},
        octets=memory.octets() if write or in_memory else {},
        made_with=baseline.made_with(),
    )
    if as_json:
        print(baseline.as_json(found))
    else:
        _print(found, baseline.read(), some=bool(only))
    if write:
        baseline.write(found)


def _count(benchmarks: Sequence[Benchmark]) -> Mapping[str, float]:
    try:
        figures, spread = callgrind.count(benchmarks)
    except CallgrindError as error:
        _fail(str(error))
    print(f"the rounds of a benchmark differ by {100 * spread:.2f} % at most", file=sys.stderr)
    return figures


def _print(found: Baseline, kept: Baseline, *, some: bool) -> None:
    if found.made_with != kept.made_with:
        print(f"The kept figures were made with {_words(kept.made_with)}; this is {_words(found.made_with)}.")
    for now, before, unit, digits, notable in (
        (found.instructions, kept.instructions, "instructions", 0, 0.03),
        (found.passes, kept.passes, "passes of loop", 2, 0.3),
        (found.octets, kept.octets, "octets", 0, 0.02),
    ):
        if now:
            print("\n".join(table.lines(baseline.compare(now, before, some=some), unit, digits, notable)))


def _words(made_with: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in made_with.items()) or "nothing"


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(1)


typer.run(main)
