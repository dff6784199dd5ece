"""The metrics of presence-core."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from presence_core.adapters.announcer import RedisAnnouncer
from presence_core.flows.request_flow import RequestFlow
from vedette.counting import Distribution
from vedette.runtime.metrics import Kind, Metric

Flow = RequestFlow[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class CoreParts:
    """What counts."""

    flows: dict[str, Flow]
    """By the method of their requests."""
    announcer: RedisAnnouncer


def _each(read: Callable[[Flow], float | Distribution]) -> Callable[[CoreParts], dict[Any, float | Distribution]]:
    return lambda core: {(method,): read(flow) for method, flow in core.flows.items()}


METRICS: tuple[Metric[CoreParts], ...] = (
    Metric(
        "vedette_core_replies_total",
        Kind.COUNTER,
        "Requests of the edges and of REST, by the status that they got; 0: nobody knows, the edge asks again.",
        lambda core: {
            (method, str(status)): count
            for method, flow in core.flows.items()
            for status, count in flow.replies.items()
        },
        ("method", "code"),
    ),
    Metric(
        "vedette_core_queued",
        Kind.GAUGE,
        "Requests that wait for a database call (queue_size is the limit).",
        _each(lambda flow: flow.queued),
        ("method",),
    ),
    Metric(
        "vedette_core_batch_size",
        Kind.HISTOGRAM,
        "Requests in a database call (db_batch is the limit).",
        _each(lambda flow: flow.batches),
        ("method",),
    ),
    Metric(
        "vedette_core_wait_seconds",
        Kind.HISTOGRAM,
        "How long the first request of a database call had waited for it.",
        _each(lambda flow: flow.waits),
        ("method",),
    ),
    Metric(
        "vedette_core_call_seconds",
        Kind.HISTOGRAM,
        "How long a database call took, its commit included.",
        _each(lambda flow: flow.calls),
        ("method",),
    ),
    Metric(
        "vedette_core_cache_writes_dropped_total",
        Kind.COUNTER,
        "Entries of the cache that were not written: Redis was away, or too much waited.",
        lambda core: core.announcer.dropped,
    ),
)
