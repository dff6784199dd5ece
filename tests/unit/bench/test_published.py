"""What is kept of a run, judged and drawn."""

from pathlib import Path

import pytest

from bench import charts, document
from bench.connections import ConnectionMemory
from bench.document import Document, Facts
from bench.fan_out import FanOut
from bench.goals import Verdict, judge_ratio, standings
from bench.measurement import Peak
from bench.mixed import Mixed
from bench.phones import Load
from bench.plan import Plan
from bench.replicas import ReplicaCost
from bench.stored_dialogs import StoredCost

FACTS = Facts(
    at="2026-11-29T02:40:00+00:00",
    command="python -m bench",
    processor="2 x Example",
    kernel="6.1",
    python="3.11.7",
    vedette="0.2.0 (abc)",
    kamailio="kamailio 5.6.3",
    postgres={"server_version": "18.4", "fsync": "on"},
    commit_ms=0.2,
    load_average=0.1,
)
PLAN = Plan(4.0, 1000, 5, 0.0, 300, 5000, 20, 200.0, 60.0, (1000, 1_000_000), 500.0, 10_000)


def load(median: float | None, p99: float | None) -> Load:
    return Load(200.0, 100, 0, 0, 1.0, 2.0, 100, 0 if p99 else 2, median, p99, 50.0, 1.0, 100, 0.1)


def peak(rate: int) -> Peak:
    return Peak(rate, 5.0, {"edge": 0.2, "postgres": 0.1}, {"edge": 0.1, "postgres": 0.1})


def whole() -> Document:
    costs = [{"edge": 0.10}, {"edge": 0.11}]
    return Document(
        FACTS,
        PLAN,
        one_watcher={"vedette": load(3.0, 16.0), "memory": load(1.0, 2.0)},
        publish={"vedette": peak(7000), "stored": peak(2000), "database-only": peak(1900), "memory": peak(7500)},
        refresh={"vedette": peak(7000), "stored": peak(1000)},
        modify={"vedette": peak(7000), "stored": peak(2000)},
        subscribe={"vedette": peak(3000), "database-only": peak(300), "memory": peak(6000)},
        fan_out={
            "vedette": FanOut(1000, 9000.0, 110.0, 5.0, 0),
            "database-only": FanOut(1000, 100.0, 9999.0, 5.0, 3),
        },
        mixed={
            "vedette": Mixed(5000, 20, 100_000, "SUBSCRIBE", 90.0, load(8.0, 40.0), costs[0], *_grown()),
            "database-only": Mixed(5000, 20, 100_000, "SQL", 9.0, load(9000.0, None), {"kamailio": 9.0}, *_grown()),
        },
        stored_dialogs=[
            StoredCost(size, cost, cost, {"edge": 0.0}, load(3.0, 9.0), load(3.0, 9.0))
            for size, cost in zip(PLAN.sizes, costs, strict=True)
        ],
        replicas=[
            ReplicaCost(count, count, {"edge": cost}, {"edge": 0.0}, load(3.0, 9.0))
            for count, cost in ((1, 1.0), (2, 1.3), (4, 1.2))
        ],
        connections=ConnectionMemory(10_000, {"edge": 0}, {"edge": 10_000 * 2048}),
        transactions={"server transaction, open": 4000, "server transaction, finished": 800},
        seconds={"publish, vedette": 70.0},
        failed={"fan-out, memory": "FanOutError: nobody | was\ntold"},
    )


def _grown() -> tuple[dict[str, int], dict[str, int]]:
    before = dict.fromkeys(("edge", "core", "notifier", "kamailio"), 2**26)
    return before, {role: octets + 2**20 for role, octets in before.items()}


def test_what_was_kept_is_read_as_it_was(tmp_path: Path) -> None:
    document.write(whole(), tmp_path / "new" / "run.json")
    assert document.read(tmp_path / "new" / "run.json") == whole()


@pytest.mark.parametrize(
    ("ratio", "floor", "verdict"),
    [
        (4.0, 3.0, Verdict.GOAL),
        (3.9, 3.0, Verdict.FLOOR),
        (2.9, 3.0, Verdict.MISSED),
        (3.9, None, Verdict.MISSED),
    ],
)
def test_a_ratio_reaches_its_goal_its_floor_or_neither(ratio: float, floor: float | None, verdict: Verdict) -> None:
    assert judge_ratio(ratio, 4.0, floor) is verdict


def test_each_goal_is_judged_by_the_figures_of_the_run() -> None:
    assert [(row.ratio, row.verdict) for row in standings(whole())] == [
        ("3.50", Verdict.FLOOR),
        ("0.93", Verdict.FLOOR),
        ("7.00", Verdict.GOAL),
        ("3.50", Verdict.MISSED),
        ("10.00", Verdict.GOAL),
        ("0.50", Verdict.MISSED),
        ("90.00", Verdict.GOAL),
        ("-", Verdict.UNKNOWN),
        ("3.00", Verdict.GOAL),
        ("8.00", Verdict.MISSED),
        ("-", Verdict.GOAL),
        ("-", Verdict.STATED),
        ("1.10", Verdict.GOAL),
        ("1.10", Verdict.GOAL),
        ("1.30", Verdict.MISSED),
        ("-", Verdict.STATED),
        ("-", Verdict.STATED),
        ("-", Verdict.STATED),
    ]


def test_notifies_that_never_came_miss_a_goal_of_time() -> None:
    found = whole()
    found.mixed["vedette"] = Mixed(5000, 20, 1, "SUBSCRIBE", 9.0, load(8.0, None), {}, *_grown())
    (row,) = (row for row in standings(found) if row.work.startswith("mixed"))
    assert (row.figure, row.verdict) == ("never beside never", Verdict.MISSED)


def test_nothing_is_judged_of_a_run_without_figures() -> None:
    assert {row.verdict for row in standings(Document(FACTS, PLAN))} == {Verdict.UNKNOWN}


def test_a_run_is_drawn_and_its_page_names_every_picture(tmp_path: Path) -> None:
    files = charts.publish(whole(), "run", tmp_path)
    pictures = [path.name for path in files if path.suffix == ".png"]
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert len(pictures) == 8
    assert all(f"({name})" in text for name in pictures)
    assert (
        "| initial PUBLISH, durable | Kamailio stored | at least 4 times (3) | 7,000/s beside 2,000/s | 3.50 |"
        in text
    )
    assert "No figures of fan-out, memory: FanOutError: nobody | was told" in text


def test_a_run_without_figures_has_a_page_and_no_pictures(tmp_path: Path) -> None:
    assert [path.name for path in charts.publish(Document(FACTS, PLAN), "run", tmp_path)] == ["run.json", "README.md"]
