"""The metrics of every process with a database."""

from dataclasses import dataclass

from vedette.runtime.metrics import Kind, Metric
from vedette.store.database import Database
from vedette.store.redis_link import RedisLink


@dataclass(frozen=True, slots=True)
class StoreParts:
    """What counts."""

    database: Database
    link: RedisLink | None = None


METRICS: tuple[Metric[StoreParts], ...] = (
    Metric(
        "vedette_database_available",
        Kind.GAUGE,
        "1: the last call reached Postgres.",
        lambda store: store.database.available,
    ),
    Metric(
        "vedette_database_wait_seconds",
        Kind.HISTOGRAM,
        "How long calls waited for one of the connections of this process (db_connections).",
        lambda store: store.database.waits,
    ),
    Metric(
        "vedette_database_call_seconds",
        Kind.HISTOGRAM,
        "How long calls took from then.",
        lambda store: store.database.calls,
    ),
    Metric(
        "vedette_database_failures_total",
        Kind.COUNTER,
        "Calls that failed: without effect (unavailable), with a value that Postgres does not take (poisoned), or "
        "nobody knows (undecided).",
        lambda store: store.database.failures,
        ("kind",),
    ),
    Metric(
        "vedette_redis_available",
        Kind.GAUGE,
        "1: the last call to Redis was answered, or it is time to try again.",
        lambda store: None if store.link is None else store.link.available,
    ),
)
