"""The soak judges growth rightly, and a few seconds of it are steady."""

import sys

import pytest

from tests.running_set import RunningSet
from tests.system.mixed_load import MixedLoad, Shown, Source
from tests.system.soak import PART, Minute, Report, play
from tests.system.steadiness import FEWEST, Allowed, trend

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("figures", "growth"),
    [
        ([0, 50, 90, 100, 100, 100, 100, 100], 0),
        ([100, 90, 80, 70, 60, 50, 40, 30], -30),
        ([0, 10, 20, 30, 40, 50, 60, 70], 30),
        ([9, 9, 9, 9, 100, 100, 900, 100, 100, 100], 0),
    ],
)
async def test_growth_is_that_of_the_last_half_and_outliers_do_not_count(figures: list[float], growth: float) -> None:
    seen = trend(figures, Allowed(0, 10))
    assert seen is not None
    assert (round(seen.growth), seen.is_flat) == (growth, growth <= 10)


async def test_growth_may_be_a_part_of_the_figure_or_an_amount_whichever_is_more() -> None:
    rising = [1000.0 + 10 * number for number in range(8)]
    flat = {allowed: trend(rising, allowed) for allowed in (Allowed(0.1, 1), Allowed(0.01, 50), Allowed(0.01, 1))}
    assert [seen is not None and seen.is_flat for seen in flat.values()] == [True, True, False]


async def test_few_figures_have_no_trend() -> None:
    assert trend([1.0] * (2 * FEWEST - 2), Allowed(0, 0)) is None
    assert trend([1.0] * (2 * FEWEST), Allowed(0, 0)) is not None


def soaked(growth: float) -> Report:
    """What eight minutes found in which the outbox grew by so much each minute."""
    figures = {"median PUBLISH": 1.0, "p99 PUBLISH": 2.0, "median NOTIFY": 3.0, "p99 NOTIFY": 4.0, "wal": 5.0}
    minutes = [Minute(60.0 * n, {**figures, "memory core 0": 50.0, "change_event": growth * n}) for n in range(8)]
    return Report(1, peak=300.0, rate=100.0, minutes=minutes)


async def test_the_verdict_of_a_soak_has_its_reasons() -> None:
    report = soaked(1000.0)
    (line,) = report.problems()
    assert line == "change_event grew by 3000.0 over the last half, 2750.0 allowed, median 5500.0 rows"
    assert line in report.as_text()
    assert report.as_text().endswith("verdict: not steady")
    assert report.as_dict()["problems"] == [line]
    steady = soaked(0.0)
    assert steady.problems() == []
    assert "verdict: steady" in steady.as_text()
    assert "peak 300 requests/s, rate 100 requests/s" in steady.as_text()
    steady.wrong.append("7 times PUBLISH 503")
    assert steady.problems() == ["7 times PUBLISH 503"]


async def test_the_clients_of_a_soak_find_out_what_went_wrong(running_set: RunningSet) -> None:
    load = MixedLoad(running_set, 2, seed=1)
    shown = Shown(load.sources[0], "presence")
    load._show(shown, {"a": 2}, 1.0)
    assert load.faults == []
    load._show(shown, {"a": 1}, 2.0)
    assert load.faults == [f"{load.sources[0].aor}: a from 2 back to 1"]
    load.answers.update({"PUBLISH 200": 5, "SUBSCRIBE 202": 1, "PUBLISH 503": 2, "PUBLISH none": 1})
    assert load.refused() == {"PUBLISH 503": 2, "PUBLISH none": 1}
    watch = load.watches[0]
    assert load.differences({}) == []
    watch.dialog = watch.line.dialog(watch.source.aor)
    assert len(load.differences({watch.source.aor: {"a": 1}})) == 1


async def test_the_time_from_publish_to_notify_is_that_of_the_state_which_is_shown(running_set: RunningSet) -> None:
    load = MixedLoad(running_set, 1, seed=1)
    source = load.sources[0]
    assert isinstance(source, Source)
    source.sent.extend([("old", 2, 1.0), ("new", 1, 2.0), ("new", 2, 3.0)])
    shown = Shown(source, "presence")
    load._show(shown, {"new": 1}, 2.5)
    load._show(shown, {"new": 2}, 3.25)
    assert load.latencies() == ([], [0.25])
    assert load.latencies() == ([], [])


async def test_a_soak_of_a_few_seconds_is_steady(running_set: RunningSet) -> None:
    said: list[str] = []
    seconds = 4.0
    report = await play(
        running_set, seconds, said.append, seed=1, presentities=20, warm_up=0.5, calibration=1.0, interval=2.0
    )
    sys.stdout.write("\n".join([*said, report.as_text()]))
    assert report.problems() == []
    assert report.rate == report.peak * PART > 0
    # The machine may be too busy for some of it.
    assert report.late < report.rate * seconds
    assert len(report.minutes) == 2
    figures = report.minutes[-1].figures
    for name in ("memory core 0", "memory core 1", "memory edge 0", "memory notifier 0", "memory postgres 0"):
        assert figures[name] > 1
    assert figures["live presentity"] > 0
    assert figures["median NOTIFY"] > 0
    assert {answer.split()[0] for answer in report.answers} == {"PUBLISH", "SUBSCRIBE"}


async def test_a_watcher_of_watchers_keeps_its_dialog_though_it_is_told_202(running_set: RunningSet) -> None:
    load = MixedLoad(running_set, 1, seed=1)
    try:
        await load.start()
        (reader,) = [watch for watch in load.watches if watch.event == "presence.winfo"]
        assert reader.dialog is not None
        first = reader.dialog.call_id
        await load._subscribe(reader)
        assert reader.dialog.call_id == first
        assert load.answers["SUBSCRIBE 202"] == 2
    finally:
        await load.close()
