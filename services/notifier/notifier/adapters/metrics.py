"""The metrics of notifier."""

from dataclasses import dataclass

from notifier.adapters.census import Census
from notifier.adapters.state_reader import StateReader
from notifier.domain.views import Views
from notifier.flows.delivery import Delivery
from notifier.flows.expiry import Expiry
from notifier.flows.settling import Settling
from vedette.rpc.client import Peers
from vedette.runtime.metrics import Kind, Metric


@dataclass(frozen=True, slots=True)
class NotifierParts:
    """What counts."""

    delivery: Delivery
    settling: Settling
    expiry: Expiry
    views: Views
    reader: StateReader
    edges: Peers
    census: Census


_BY_ONE = " Known to one of the notifiers at a time."


METRICS: tuple[Metric[NotifierParts], ...] = (
    Metric(
        "vedette_notify_seconds",
        Kind.HISTOGRAM,
        "From the commit of a PUBLISH to the answer of a watcher that was shown it, by Postgres's clock. Of several "
        "that one NOTIFY brings, the last one counts; a removal, an expiry and the first NOTIFY of a subscription do "
        "not.",
        lambda notifier: notifier.settling.seconds,
    ),
    Metric(
        "vedette_outcomes_total",
        Kind.COUNTER,
        "NOTIFYs that ended, by what became of their subscription: `delivered`, `ended`, `kept`, owed `again` after "
        "Retry-After, `silent`, `waits` for the watcher to come back. An edge may report one twice.",
        lambda notifier: notifier.settling.verdicts,
        ("verdict",),
    ),
    Metric(
        "vedette_outcome_batch_size",
        Kind.HISTOGRAM,
        "NOTIFYs whose end an edge reported in one call.",
        lambda notifier: notifier.settling.batches,
    ),
    Metric(
        "vedette_claimed_total",
        Kind.COUNTER,
        "NOTIFYs that this notifier took to send.",
        lambda notifier: notifier.delivery.claimed,
    ),
    Metric(
        "vedette_suppressed_total",
        Kind.COUNTER,
        "Of these, those that were not sent because their watcher has what they would show.",
        lambda notifier: notifier.delivery.suppressed,
    ),
    Metric(
        "vedette_claim_batch_size",
        Kind.HISTOGRAM,
        "NOTIFYs that were taken in one database call.",
        lambda notifier: notifier.delivery.batches,
    ),
    Metric(
        "vedette_deliver_seconds",
        Kind.HISTOGRAM,
        "How long it took to read, compose and hand over what one call had taken.",
        lambda notifier: notifier.delivery.seconds,
    ),
    Metric(
        "vedette_documents_composed_total",
        Kind.COUNTER,
        "Documents that were composed; watchers who see the same share one.",
        lambda notifier: notifier.views.compositions,
    ),
    Metric(
        "vedette_reads_total",
        Kind.COUNTER,
        "Dialogs and states that were read, by where they were found: in `memory` (or told by the bell), in `redis` "
        "(the cache) or in `postgres` (with fallback2db=0: the store of dialogs).",
        lambda notifier: {(place,): count for place, count in notifier.reader.hits.items()},
        ("place",),
    ),
    Metric(
        "vedette_expired_total",
        Kind.COUNTER,
        "Publications and dialogs that this notifier ended because their time was over.",
        lambda notifier: notifier.expiry.counted,
        ("kind",),
    ),
    Metric(
        "vedette_peers_ready",
        Kind.GAUGE,
        "Processes of another service that may be called.",
        lambda notifier: {("sip-edge",): len(notifier.edges.ready())},
        ("service",),
    ),
    Metric(
        "vedette_publications",
        Kind.GAUGE,
        "Publications that are alive; each census_period, of a large table estimated from a sample." + _BY_ONE,
        lambda notifier: notifier.census.publications,
        ("event",),
    ),
    Metric(
        "vedette_subscriptions",
        Kind.GAUGE,
        "Subscriptions that are alive; counted as the publications. With fallback2db=0 as of the last flush."
        + _BY_ONE,
        lambda notifier: notifier.census.subscriptions,
        ("event", "status"),
    ),
    Metric(
        "vedette_outbox_events",
        Kind.GAUGE,
        "Changes that no notifier has taken although it is time to; 10000 stands for more." + _BY_ONE,
        lambda notifier: _queue(notifier, "events"),
    ),
    Metric(
        "vedette_outbox_oldest_seconds",
        Kind.GAUGE,
        "For how long the oldest of them has been due." + _BY_ONE,
        lambda notifier: _queue(notifier, "oldest"),
    ),
    Metric(
        "vedette_expiries_overdue",
        Kind.GAUGE,
        "What was over two seconds ago or more and has not been ended; 10000 stands for more." + _BY_ONE,
        lambda notifier: {
            (kind,): count
            for kind in ("publications", "subscriptions")
            if (count := _queue(notifier, kind)) is not None
        },
        ("kind",),
    ),
    Metric(
        "vedette_database_lock_waits",
        Kind.GAUGE,
        "Database calls of any process that wait for a lock of another one, looked at each 5 seconds." + _BY_ONE,
        lambda notifier: None if notifier.census.locks is None else notifier.census.locks[0],
    ),
    Metric(
        "vedette_database_lock_wait_longest_seconds",
        Kind.GAUGE,
        "How long the first of them has waited." + _BY_ONE,
        lambda notifier: None if notifier.census.locks is None else notifier.census.locks[1],
    ),
)


def _queue(notifier: NotifierParts, name: str) -> float | None:
    return None if notifier.census.queues is None else notifier.census.queues.get(name)
