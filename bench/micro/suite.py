"""All micro benchmarks, in the order of a request's way."""

from collections.abc import Sequence

from bench.micro import codec, core, documents, edge, sip
from bench.micro.benchmark import Benchmark

SUITE: tuple[Benchmark, ...] = (
    *sip.BENCHMARKS,
    *edge.BENCHMARKS,
    *core.BENCHMARKS,
    *codec.BENCHMARKS,
    *documents.BENCHMARKS,
)


def chosen(only: Sequence[str]) -> list[Benchmark]:
    """Those whose names have one of these texts in them, whatever its case; all where there is none."""
    wanted = [text.lower() for text in only]
    return [one for one in SUITE if not wanted or any(text in one.name.lower() for text in wanted)]
