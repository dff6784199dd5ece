"""Instructions for each operation, by Valgrind's callgrind, which counts as many on a busy machine as on an idle one.

One process runs everything (`bench.micro.counted`). Between the rounds it calls `getsid`, which nothing else does.
There callgrind writes down what it has counted since the last time: neither start-up nor preparation is in a figure.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.micro.benchmark import Benchmark

ROUNDS = 3
"""That are counted; one more goes before them, so that the interpreter has specialised its instructions."""
_MARK = "getsid"
_TOTALS = re.compile(r"^totals: ([0-9]+)$", re.MULTILINE)
_TRIGGER = re.compile(r"^desc: Trigger: (.*)$", re.MULTILINE)


class CallgrindError(Exception):
    """Valgrind has not counted what it was to count."""


def is_there() -> bool:
    """Whether Valgrind is installed."""
    return shutil.which("valgrind") is not None


def mark() -> None:
    """Have callgrind write down what it has counted since the last mark."""
    os.getsid(0)


def count(benchmarks: Sequence[Benchmark]) -> tuple[dict[str, int], float]:
    """Instructions for each operation, by name, and by how much the rounds of any of them differ at most.

    Raises CallgrindError.
    """
    with tempfile.TemporaryDirectory(prefix="vedette-micro-") as folder:
        out = Path(folder) / "counts"
        run = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={out}",
                f"--dump-before={_MARK}",
                sys.executable,
                "-m",
                "bench.micro.counted",
                *(benchmark.name for benchmark in benchmarks),
            ],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if run.returncode:
            raise CallgrindError(run.stdout)
        dumps = sorted(out.parent.glob(f"{out.name}.*"), key=lambda path: int(path.suffix[1:]))
        totals = [counted for dump in dumps if (counted := read_dump(dump.read_text(encoding="utf-8"))) is not None]
    return by_name(benchmarks, totals)


def read_dump(text: str) -> int | None:
    """The instructions that a dump has counted; None for one that no mark has brought about.

    Raises CallgrindError for what is no dump.
    """
    trigger, totals = _TRIGGER.search(text), _TOTALS.search(text)
    if trigger is None or totals is None:
        raise CallgrindError(f"no dump of callgrind: {text[:100]!r}")
    return int(totals[1]) if trigger[1] == f"--dump-before={_MARK}" else None


def by_name(benchmarks: Sequence[Benchmark], totals: Sequence[int]) -> tuple[dict[str, int], float]:
    """The figures of benchmarks whose rounds have these totals: for each what came before its rounds, and they.

    Raises CallgrindError where there are more or fewer.
    """
    each = ROUNDS + 1
    if len(totals) != each * len(benchmarks):
        raise CallgrindError(f"{len(totals)} marks for {len(benchmarks)} benchmarks")
    figures: dict[str, int] = {}
    spread = 0.0
    for index, benchmark in enumerate(benchmarks):
        rounds = totals[index * each + 1 : (index + 1) * each]
        figures[benchmark.name] = round(median(rounds) / benchmark.times)
        spread = max(spread, max(rounds) / min(rounds) - 1)
    return figures, spread
