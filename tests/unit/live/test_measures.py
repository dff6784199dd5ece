"""Rates and latencies out of what processes count."""

import pytest

from vedette_cli.live.measures import Snapshot, between, read_samples, take

BEFORE = """\
# TYPE vedette_sip_requests_total counter
vedette_sip_requests_total{method="PUBLISH",event="presence"} 10
vedette_sip_requests_total{method="PUBLISH",event="dialog"} 5
vedette_sip_requests_total{method="SUBSCRIBE",event="presence"} 7
# TYPE vedette_publications gauge
vedette_publications{event="presence"} 3
# TYPE vedette_notify_seconds histogram
vedette_notify_seconds_bucket{le="0.1"} 0
vedette_notify_seconds_bucket{le="0.2"} 0
vedette_notify_seconds_bucket{le="+Inf"} 0
vedette_notify_seconds_count 0
vedette_notify_seconds_sum 0
process_cpu_seconds_total 5
"""
AFTER = (
    BEFORE.replace('event="presence"} 10', 'event="presence"} 30')
    .replace('event="dialog"} 5', 'event="dialog"} 6')
    .replace('le="0.1"} 0', 'le="0.1"} 50')
    .replace('le="0.2"} 0', 'le="0.2"} 100')
    .replace('le="+Inf"} 0', 'le="+Inf"} 100')
)


def snapshots(before: str, after: str, seconds: float = 2.0) -> tuple[Snapshot, Snapshot]:
    return Snapshot(10.0, {"a": read_samples(before)}), Snapshot(10.0 + seconds, {"a": read_samples(after)})


def test_rates_are_of_a_second_and_by_label() -> None:
    found = between(*snapshots(BEFORE, AFTER))
    assert found.rates("vedette_sip_requests_total", "method") == {"PUBLISH": 10.5}
    assert found.rates("vedette_sip_requests_total", "event") == {"dialog": 0.5, "presence": 10.0}
    assert found.rate("vedette_sip_requests_total") == 10.5
    assert found.rate("vedette_nothing_total") == 0


def test_latencies_are_quantiles_of_what_came_meanwhile() -> None:
    before, after = snapshots(BEFORE, AFTER)
    assert between(before, after).quantiles("vedette_notify_seconds") == pytest.approx(
        {"p50": 0.1, "p95": 0.19, "p99": 0.198}
    )
    assert between(after, after).quantiles("vedette_notify_seconds") is None
    assert between(before, after).quantiles("vedette_nothing") is None
    slow = AFTER.replace('le="0.2"} 100', 'le="0.2"} 50')
    assert between(*snapshots(BEFORE, slow)).quantiles("vedette_notify_seconds") == {
        "p50": 0.1,
        "p95": 0.2,
        "p99": 0.2,
    }


def test_a_process_that_was_started_anew_has_counted_from_nothing_and_a_new_one_is_left_out() -> None:
    after = Snapshot(12.0, {"a": read_samples(BEFORE), "b": read_samples(AFTER)})
    before = Snapshot(10.0, {"a": read_samples(AFTER)})
    assert between(before, after).rate("vedette_sip_requests_total") == (10 + 5) / 2


def test_gauges_of_all_processes_are_added_and_only_ours_are_read() -> None:
    snapshot = Snapshot(0.0, {"a": read_samples(BEFORE), "b": read_samples(BEFORE)})
    assert snapshot.sum("vedette_publications") == 6
    assert snapshot.sum("vedette_connections") is None
    assert not any(name.startswith("process_") for name, _ in read_samples(BEFORE))


def test_who_does_not_answer_is_left_out() -> None:
    assert take(["127.0.0.1:1", "nonsense"], 0.0).processes == {}
    assert take([], 0.0).processes == {}
