"""The micro benchmarks measure what they say, and their figures are read, compared and shown."""

import json
import re
from pathlib import Path

import pytest

from bench.micro import baseline, callgrind, ratio, table
from bench.micro.baseline import Baseline, Row
from bench.micro.benchmark import Benchmark, UntrueError, operation
from bench.micro.callgrind import CallgrindError
from bench.micro.memory import octets
from bench.micro.suite import SUITE, chosen

DUMP = """# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 17855
cmd:  python -m bench.micro.counted
part: 2

desc: I1 cache:
desc: Timerange: Basic block 4853541 - 5009917
desc: Trigger: --dump-before=getsid

positions: line
events: Ir
summary: 929775

fn=(6) _PyEval_EvalFrameDefault
16 929775

totals: 929775
"""
ONE = Benchmark("one", lambda _: lambda number: number, lambda result: result >= 0, times=10)
OTHER = Benchmark("other", lambda _: lambda _number: None, lambda result: result is None, times=100)


@pytest.mark.parametrize("benchmark", SUITE, ids=lambda one: one.name)
def test_each_benchmark_does_what_it_measures_whichever_time_it_is(benchmark: Benchmark) -> None:
    work = operation(benchmark, 3)
    assert all(benchmark.is_true(work(number)) for number in range(3))


def test_what_comes_to_something_else_is_not_measured() -> None:
    with pytest.raises(UntrueError, match="other: None"):
        operation(Benchmark("other", OTHER.prepare, lambda result: result is not None), 1)


def test_names_are_different_and_have_their_group_first() -> None:
    names = [benchmark.name for benchmark in SUITE]
    assert len(set(names)) == len(names)
    assert all(re.match(r"[a-z]+: \S", name) for name in names)


def test_benchmarks_are_chosen_by_a_part_of_their_name() -> None:
    assert {benchmark.name.partition(":")[0] for benchmark in chosen(["READER", "rules:"])} == {"reader", "rules"}
    assert chosen([]) == list(SUITE)
    assert chosen(["nothing like it"]) == []


def test_the_count_of_a_mark_is_read_and_that_of_the_end_is_none() -> None:
    assert callgrind.read_dump(DUMP) == 929775
    assert callgrind.read_dump(DUMP.replace("--dump-before=getsid", "Program termination")) is None
    with pytest.raises(CallgrindError, match="no dump of callgrind"):
        callgrind.read_dump("valgrind: no such file")


def test_rounds_are_those_between_the_marks_of_their_benchmark() -> None:
    totals = [9_000_000, 100, 110, 104, 77_000, 5000, 5000, 5000]
    figures, spread = callgrind.by_name([ONE, OTHER], totals)
    assert figures == {"one": 10, "other": 50}
    assert spread == pytest.approx(0.1)
    with pytest.raises(CallgrindError, match="7 marks for 2 benchmarks"):
        callgrind.by_name([ONE, OTHER], totals[:-1])


def test_time_is_told_in_passes_of_a_loop_that_stays_as_it_is() -> None:
    assert ratio.fixed_pass(7) == 8
    loop = Benchmark("loop", lambda _: ratio.fixed_pass, lambda result: result == 8)
    assert set(ratio.measure([loop, ONE])) == {"loop", "one"}


def test_a_baseline_is_kept_and_read(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert baseline.read(path) == Baseline()
    kept = Baseline({"one": 10}, {"one": 0.1}, {"two": 3}, baseline.made_with())
    baseline.write(kept, path)
    assert baseline.read(path) == kept
    assert json.loads(path.read_text(encoding="utf-8"))["instructions"] == {"one": 10}


def test_each_figure_stands_beside_the_kept_one() -> None:
    now, kept = {"same": 10.0, "slower": 15.0, "new": 1.0}, {"slower": 10.0, "same": 10.0, "gone": 5.0}
    rows = baseline.compare(now, kept, some=False)
    assert rows == [Row("same", 10, 10), Row("slower", 15, 10), Row("new", 1, None), Row("gone", None, 5)]
    assert [row.ratio for row in rows] == [1, 1.5, None, None]
    assert baseline.compare({"same": 10}, kept, some=True) == [Row("same", 10, 10)]


def test_the_table_points_out_what_is_more_less_new_and_gone() -> None:
    rows = [Row("a", 1030, 1000), Row("bb", 900, 1000), Row("c", 1010, 1000), Row("d", 1, None), Row("e", None, 1)]
    head, *lines = table.lines(rows, "instructions", 0, 0.02)
    assert head.split() == ["instructions", "kept", "ratio"]
    assert [line.split() for line in lines] == [
        ["a", "1,030", "1,000", "1.030", "more"],
        ["bb", "900", "1,000", "0.900", "less"],
        ["c", "1,010", "1,000", "1.010"],
        ["d", "1", "-", "new"],
        ["e", "-", "1", "gone"],
    ]
    assert len({line.index("1,000") for line in lines[:3]}) == 1


def test_open_transactions_keep_more_than_finished_ones_and_what_they_carry() -> None:
    kept = octets(100)
    assert kept["server transaction, finished"] < kept["server transaction, open"] < 8192
    assert kept["client transaction, finished"] + 1024 < kept["client transaction, open, with a NOTIFY of 1 KiB"]
