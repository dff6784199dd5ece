"""`/metrics` as Prometheus reads it: tables of metrics, each with the function that reads its number.

The code that works counts in plain numbers; they become samples when somebody asks. A row of a table is what
registers a metric, what `docs/metrics.md` is written from, and what the tests go through.
"""

import asyncio
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.types import Receive, Scope, Send

from vedette import VERSION
from vedette.counting import Distribution
from vedette.rpc.server import HttpServer
from vedette.runtime.logs import LOGGED
from vedette.runtime.process import Identity
from vedette.runtime.settings import ServiceSettings
from vedette.runtime.start import open_listener

LOOP_INTERVAL = 0.1
"""Seconds between two looks at how late the event loop is."""

Source = TypeVar("Source")
Labels = tuple[str, ...]
Value = float | Distribution | Mapping[Any, float | Distribution] | None
"""Without labels one value, else one for each combination of `Labels`; None: nothing is known now, so no sample."""
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Kind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric(Generic[Source]):
    """One metric: its name as it is exposed (`_total`, `_seconds`), what it means, and where its value is."""

    name: str
    kind: Kind
    meaning: str
    read: Callable[[Source], Value]
    labels: Labels = ()

    def family(self, source: Source) -> Family:
        """The samples now."""
        value = self.read(source)
        family = _FAMILIES[self.kind](self.name, self.meaning, labels=self.labels)
        if value is None:
            return family
        for labels, one in value.items() if isinstance(value, Mapping) else [((), value)]:
            if isinstance(family, HistogramMetricFamily):
                assert isinstance(one, Distribution)
                family.add_metric(labels, _cumulative(one), one.total)
            else:
                assert not isinstance(one, Distribution)
                family.add_metric(labels, one)
        return family


_FAMILIES: dict[Kind, Callable[..., Family]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}


def _cumulative(distribution: Distribution) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    count = 0
    for bound, here in zip((*map(str, map(float, distribution.bounds)), "+Inf"), distribution.counts, strict=True):
        count += here
        buckets.append((bound, count))
    return buckets


class Metrics(Collector):
    """The metrics of this process. `start` it, and run `watch_loop` as a task."""

    def __init__(
        self, settings: ServiceSettings, identity: Identity, *tables: tuple[Sequence[Metric[Any]], object]
    ) -> None:
        """`tables`: what is exposed besides what every process has, each with what it is read from."""
        self.identity = identity
        self.lag = Distribution()
        """By how many seconds the event loop was late."""
        self.address = ""
        """host:port where they are read; "" while nowhere."""
        self._host = settings.metrics_host
        self._port = settings.metrics_port
        self._server: HttpServer | None = None
        self._tables: list[tuple[Sequence[Metric[Any]], object]] = [(PROCESS_METRICS, self), *tables]
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def describe(self) -> Iterable[Family]:
        """Nothing: names are told apart by the tests, and reading them now would be too early."""
        return ()

    def collect(self) -> Iterator[Family]:
        """All samples now."""
        for table, source in self._tables:
            for metric in table:
                yield metric.family(source)

    def text(self) -> bytes:
        """All samples now, in Prometheus's text format."""
        return generate_latest(self._registry)

    async def start(self) -> None:
        """Serve `/metrics` on the host and port of the settings, unless there is no port.

        Raises StartError where the address cannot be had.
        """
        if self._port is None:
            return
        listener = open_listener(self._host, self._port)
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.address = f"{host}:{listener.getsockname()[1]}"
        self._server = HttpServer(self._answer, listener)
        await self._server.start()

    async def watch_loop(self) -> None:
        """See how late the event loop is, for ever."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOP_INTERVAL)
            self.lag.add(max(0.0, time.monotonic() - before - LOOP_INTERVAL))

    async def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            await self._server.stop()

    async def _answer(self, scope: Scope, _receive: Receive, send: Send) -> None:
        found = scope["path"] == "/metrics"
        allowed = scope["method"] in {"GET", "HEAD"}
        status = 404 if not found else 200 if allowed else 405
        body = self.text() if status == 200 else b""
        kind = CONTENT_TYPE_LATEST if status == 200 else "text/plain"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


PROCESS_METRICS: tuple[Metric[Metrics], ...] = (
    Metric(
        "vedette_build_info",
        Kind.GAUGE,
        "1, with what runs.",
        lambda metrics: {
            (metrics.identity.service, metrics.identity.instance, VERSION, platform.python_version()): 1
        },
        ("service", "replica", "version", "python"),
    ),
    Metric(
        "vedette_ready", Kind.GAUGE, "Whether others may call this process.", lambda metrics: metrics.identity.ready
    ),
    Metric(
        "vedette_event_loop_lag_seconds",
        Kind.HISTOGRAM,
        "How late the event loop was, looked at ten times a second.",
        lambda metrics: metrics.lag,
    ),
    Metric("vedette_log_lines_total", Kind.COUNTER, "Lines logged, by level.", lambda _metrics: LOGGED, ("level",)),
)
"""Of every process. `process_*` and `python_gc_*` come from prometheus-client."""
