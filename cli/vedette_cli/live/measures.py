"""Rates and latencies of a system: what its processes count at two moments, and what lies between."""

import http.client
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

PATIENCE = 2.0
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCIES = {
    "publish_to_notify_answer": "vedette_notify_seconds",
    "core_call": "vedette_core_call_seconds",
    "deliver": "vedette_deliver_seconds",
    "rest": "vedette_rest_seconds",
}
"""What each is called here, and its histogram."""

Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What processes counted, each for itself, by its address."""

    at: float
    processes: Mapping[str, Samples]

    def sum(self, name: str) -> float | None:
        """A gauge of all processes together; None where none has it."""
        found = [value for samples in self.processes.values() for (one, _), value in samples.items() if one == name]
        return sum(found) if found else None


def read_samples(text: str) -> Samples:
    """The samples in what a process says on /metrics. Raises ValueError where it cannot be read."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("vedette_")
    }


def take(addresses: Iterable[str], at: float) -> Snapshot:
    """What the processes at these addresses (host:port) count now, as far as they answer."""
    wanted = sorted(set(addresses))
    with ThreadPoolExecutor(max_workers=max(1, min(16, len(wanted)))) as pool:
        answers = zip(wanted, pool.map(_metrics_at, wanted), strict=True)
        return Snapshot(at, {address: samples for address, samples in answers if samples is not None})


def _metrics_at(address: str) -> Samples | None:
    host, _, port = address.rpartition(":")
    try:
        with closing(http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)) as connection:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            return read_samples(response.read().decode()) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None


@dataclass(slots=True)
class Between:
    """What happened between two snapshots: increases of counters, all processes together."""

    seconds: float
    increases: dict[tuple[str, Labels], float] = field(default_factory=lambda: defaultdict(float))

    def rates(self, name: str, by: str) -> dict[str, float]:
        """Increases in a second of a counter, by one of its labels; those that did not rise are left out."""
        found: dict[str, float] = defaultdict(float)
        for (one, labels), increase in self.increases.items():
            if one == name and increase:
                found[dict(labels).get(by, "")] += increase / self.seconds
        return {label: round(rate, 2) for label, rate in sorted(found.items())}

    def rate(self, name: str) -> float:
        """Increases in a second of a counter, all its labels together."""
        return round(sum(increase for (one, _), increase in self.increases.items() if one == name) / self.seconds, 2)

    def quantiles(self, histogram: str) -> dict[str, float] | None:
        """Seconds that a share of what was counted took at most; None where nothing was counted."""
        buckets: dict[float, float] = defaultdict(float)
        for (name, labels), increase in self.increases.items():
            if name == f"{histogram}_bucket":
                buckets[float(dict(labels)["le"])] += increase
        bounds = sorted(buckets)
        if not bounds or not buckets[bounds[-1]]:
            return None
        return {name: _quantile(bounds, buckets, share) for name, share in QUANTILES.items()}


def between(before: Snapshot, after: Snapshot) -> Between:
    """What happened from one to the other; a process that was started anew has counted from nothing."""
    found = Between(max(after.at - before.at, 1e-3))
    for address, samples in after.processes.items():
        earlier = before.processes.get(address)
        if earlier is None:
            continue  # how long it has counted is not known
        for key, value in samples.items():
            if not key[0].endswith(("_total", "_bucket", "_count", "_sum")):
                continue
            was = earlier.get(key, 0.0)
            found.increases[key] += value - was if value >= was else value
    return found


def _quantile(bounds: list[float], cumulative: Mapping[float, float], share: float) -> float:
    """As histogram_quantile of Prometheus: within a bucket as if evenly spread; the last bound is the most."""
    rank = share * cumulative[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if cumulative[bound] >= rank:
            if bound == float("inf"):
                return lower
            inside = cumulative[bound] - below
            return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
        lower, below = bound, cumulative[bound]
    return lower
