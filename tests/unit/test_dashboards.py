"""Dashboard, alerts and Prometheus's configuration fit together, and ask for nothing that is not there."""

import re
from itertools import chain

import pytest

from tests.dashboards import PROMETHEUS, alerts, dashboard, expressions, read_yaml
from tests.metrics_page import OF_SERVICE, TABLES
from tests.promql import PromqlError, read
from tests.rfc_coverage import ROOT
from vedette.runtime.metrics import Kind

TARGETS = {"job", "instance"}
"""Labels that Prometheus adds."""


def samples() -> dict[str, set[str]]:
    """The labels of every sample of ours by its name."""
    found: dict[str, set[str]] = {}
    for metric in chain.from_iterable(TABLES.values()):
        labels = {*metric.labels, *TARGETS}
        if metric.kind is Kind.HISTOGRAM:
            found |= {metric.name + end: labels for end in ("_sum", "_count")}
            found[f"{metric.name}_bucket"] = {*labels, "le"}
        else:
            found[metric.name] = labels
    return found


@pytest.mark.parametrize(("place", "expression"), expressions(), ids=lambda text: text[:60])
def test_an_expression_is_one_and_names_what_is_there(place: str, expression: str) -> None:
    found = read(expression)
    known = samples()
    for name, labels in found.metrics.items():
        if name.startswith("vedette_"):
            assert labels <= known[name], place
    ours = [known[name] for name in found.metrics if name in known]
    assert all(found.grouped_by <= labels for labels in ours), place


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    text = " ".join(expression for _, expression in expressions())
    metrics = {metric.name for table in TABLES.values() for metric in table}
    assert {name for name in metrics if name not in text} <= {"vedette_edge_outcomes_lost_total"}


def test_every_alert_says_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")
        assert re.fullmatch(r"\d+[smh]", rule["for"])
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def test_prometheus_reads_every_service_where_compose_has_it() -> None:
    compose = read_yaml(ROOT / "docker-compose.yml")
    jobs = {
        job["job_name"]: (job["dns_sd_configs"][0]["names"], job["dns_sd_configs"][0]["port"])
        for job in read_yaml(PROMETHEUS)["scrape_configs"]
    }
    assert jobs == {service: ([service], 9464) for service in OF_SERVICE}
    for service in OF_SERVICE:
        assert compose["services"][service]["environment"]["VEDETTE_METRICS_PORT"] == "${VEDETTE_METRICS_PORT-9464}"


def test_compose_publishes_metrics_on_loopback_only_and_pins_what_shows_them() -> None:
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    for name in OF_SERVICE:
        assert not any(":9464" in str(port) for port in services[name].get("ports", []))
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["observability"]
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", services[name]["image"])
        for volume in services[name]["volumes"]:
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (ROOT / source).is_dir()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sum(",
        "sum(x))",
        "x[5m]",
        "rate(x)",
        "x{a=b}",
        'x{a="b"',
        "x >",
        "sum by a (x)",
        "x y",
        'x{a=~"("}',
        "5m",
        "$x",
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises((PromqlError, re.error)):
        read(text)
