"""The tables of metrics keep Prometheus's rules, and become samples that its parser reads."""

import re
from itertools import chain

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sip_edge.domain.request_labels import event_label, method_label
from tests.metrics_page import OF_SERVICE, TABLES
from vedette.counting import Distribution
from vedette.runtime.metrics import Kind, Metric, Metrics
from vedette.runtime.process import Identity
from vedette.runtime.settings import ServiceSettings

ALL = list(chain.from_iterable(TABLES.values()))


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_a_name_says_what_kind_it_is(metric: Metric[object]) -> None:
    assert re.fullmatch(r"vedette_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith(("_seconds", "_size"))
    assert not {"le", "job", "instance"} & set(metric.labels), "Prometheus's own"
    assert metric.meaning.endswith(".")


@pytest.mark.parametrize("service", OF_SERVICE)
def test_no_service_has_a_metric_twice(service: str) -> None:
    names = [metric.name for table in OF_SERVICE[service] for metric in TABLES[table]]
    assert sorted(set(names)) == sorted(names)


def test_values_become_samples() -> None:
    distribution = Distribution((0.5, 1))
    distribution.add(0.7)
    source = {("a",): 3.0, ('b"\n',): 4.0}
    table: tuple[Metric[None], ...] = (
        Metric("vedette_things_total", Kind.COUNTER, "Things.", lambda _: source, ("kind",)),
        Metric("vedette_level", Kind.GAUGE, "Level.", lambda _: 7),
        Metric("vedette_unknown", Kind.GAUGE, "Not known now.", lambda _: None),
        Metric("vedette_took_seconds", Kind.HISTOGRAM, "Took.", lambda _: distribution),
    )
    text = Metrics(ServiceSettings(), Identity("test"), (table, None)).text().decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["vedette_things_total", "a"] == 3
    assert found["vedette_things_total", 'b"\n'] == 4
    assert found["vedette_level",] == 7
    assert not any(name == "vedette_unknown" for name, *_ in found)
    assert [found["vedette_took_seconds_bucket", le] for le in ("0.5", "1.0", "+Inf")] == [0, 1, 1]
    assert (found["vedette_took_seconds_count",], found["vedette_took_seconds_sum",]) == (1, 0.7)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (None, "none"), ("presence", "presence"), ("Presence ; id=3", "presence"),
        ("presence.winfo", "presence.winfo"), ("dialog;sla", "dialog"), ("x" * 9999, "other"), ("", "other"),
    ],
)  # fmt: skip
def test_strangers_make_no_labels(value: str | None, label: str) -> None:
    assert event_label(value) == label
    assert method_label("X" * 9) == "other"
