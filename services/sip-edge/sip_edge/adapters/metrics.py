"""The metrics of sip-edge."""

from dataclasses import dataclass

from sip_edge.domain.turned_away import TurnedAway
from sip_edge.flows.core_calls import CoreCalls
from sip_edge.flows.foreign_responses import ForeignResponses
from sip_edge.flows.notifies import NotifySender
from sip_edge.flows.outcomes import OutcomeReporter
from sip_edge.flows.requests import RequestFlow
from vedette.rpc.client import Peers
from vedette.runtime.metrics import Kind, Metric
from vedette.transport.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class EdgeParts:
    """What counts."""

    endpoint: Endpoint
    requests: RequestFlow
    calls: CoreCalls
    sender: NotifySender
    reporter: OutcomeReporter
    foreign: ForeignResponses
    turned_away: TurnedAway
    peers: dict[str, Peers]
    """By the service that they are of."""


MEASURES = frozenset({"bans", "locks"})
"""What stands in TurnedAway and is no refusal, but what refusals come from."""


def _turned_away(counted: TurnedAway, *, measures: bool) -> dict[tuple[str, ...], float]:
    return {(name,): float(getattr(counted, name)) for name in counted.__slots__ if (name in MEASURES) is measures}


METRICS: tuple[Metric[EdgeParts], ...] = (
    Metric(
        "vedette_sip_requests_total",
        Kind.COUNTER,
        "SIP requests, each once, however often it was repeated. The method `malformed` stands for what cannot be "
        "read; `other` and `none` for what is not known and not said.",
        lambda edge: edge.requests.received_requests,
        ("method", "event"),
    ),
    Metric(
        "vedette_sip_answers_total",
        Kind.COUNTER,
        "Final responses to them.",
        lambda edge: edge.requests.answered,
        ("method", "event", "code"),
    ),
    Metric(
        "vedette_sip_retransmissions_total",
        Kind.COUNTER,
        "Messages that came again (received), and NOTIFYs that were sent again (sent).",
        lambda edge: {
            ("received",): edge.endpoint.layer.retransmissions_absorbed,
            ("sent",): edge.endpoint.layer.retransmissions_sent,
        },
        ("direction",),
    ),
    Metric(
        "vedette_sip_transactions",
        Kind.GAUGE,
        "Transactions that are kept, those that are over and absorb repetitions among them.",
        lambda edge: len(edge.endpoint.layer),
    ),
    Metric(
        "vedette_sip_requests_waiting",
        Kind.GAUGE,
        "Requests without their final response yet.",
        lambda edge: edge.endpoint.layer.ongoing,
    ),
    Metric(
        "vedette_sip_connections",
        Kind.GAUGE,
        "Connections that are open.",
        lambda edge: {(transport,): count for transport, count in edge.endpoint.connections.items()},
        ("transport",),
    ),
    Metric(
        "vedette_sip_connections_ended_total",
        Kind.COUNTER,
        "Connections that were refused as too many, cut as silent or slow, or ended by TLS in their handshake.",
        lambda edge: {
            ("refused",): edge.endpoint.connections_refused,
            ("cut",): edge.endpoint.connections_cut,
            ("handshake",): edge.endpoint.failed_handshakes,
        },
        ("reason",),
    ),
    Metric(
        "vedette_sip_unreadable_total",
        Kind.COUNTER,
        "What came and is no SIP, or a response that cannot be read.",
        lambda edge: {("not_sip",): edge.endpoint.not_sip, ("response",): edge.endpoint.broken_responses},
        ("kind",),
    ),
    Metric(
        "vedette_sip_datagrams_unsent_total",
        Kind.COUNTER,
        "Datagrams that the kernel did not take.",
        lambda edge: edge.endpoint.datagrams_dropped,
    ),
    Metric(
        "vedette_sip_foreign_responses_total",
        Kind.COUNTER,
        "Responses to NOTIFYs of another edge on the same port that were passed on to it, and those of nobody.",
        lambda edge: {("passed_on",): edge.foreign.passed_on, ("dropped",): edge.foreign.dropped},
        ("what",),
    ),
    Metric(
        "vedette_edge_refused_total",
        Kind.COUNTER,
        "What was turned away before presence-core saw it, by the reason.",
        lambda edge: _turned_away(edge.turned_away, measures=False),
        ("reason",),
    ),
    Metric(
        "vedette_edge_bans_total",
        Kind.COUNTER,
        "Sources that were banned (bans), and users that were locked for a source (locks).",
        lambda edge: _turned_away(edge.turned_away, measures=True),
        ("kind",),
    ),
    Metric(
        "vedette_edge_waiting_seconds",
        Kind.GAUGE,
        "How long a request would wait now for its answer; max_waiting_time is the limit.",
        lambda edge: edge.calls.waiting_time,
    ),
    Metric(
        "vedette_edge_calls_queued",
        Kind.GAUGE,
        "Requests that wait to be sent to presence-core.",
        lambda edge: edge.calls.queued,
    ),
    Metric(
        "vedette_edge_call_batch_size",
        Kind.HISTOGRAM,
        "Requests in one call to presence-core.",
        lambda edge: edge.calls.batches,
    ),
    Metric(
        "vedette_edge_call_wait_seconds",
        Kind.HISTOGRAM,
        "How long the first request of a call had waited for it.",
        lambda edge: edge.calls.waits,
    ),
    Metric(
        "vedette_edge_call_seconds",
        Kind.HISTOGRAM,
        "How long presence-core took to answer a call.",
        lambda edge: edge.calls.round_trips,
    ),
    Metric(
        "vedette_notifies_total",
        Kind.COUNTER,
        "NOTIFYs that ended, by the code of the answer, or `timeout`, `unreachable`, `flow_gone`.",
        lambda edge: edge.sender.outcomes,
        ("event", "outcome"),
    ),
    Metric(
        "vedette_notifies_under_way",
        Kind.GAUGE,
        "NOTIFYs that were taken from a notifier and have not ended.",
        lambda edge: edge.sender.under_way,
    ),
    Metric(
        "vedette_notify_batch_size",
        Kind.HISTOGRAM,
        "NOTIFYs that came at once from a notifier.",
        lambda edge: edge.sender.batches,
    ),
    Metric(
        "vedette_edge_outcomes_waiting",
        Kind.GAUGE,
        "How NOTIFYs ended, as far as no notifier has taken it.",
        lambda edge: edge.reporter.waiting,
    ),
    Metric(
        "vedette_edge_outcomes_lost_total",
        Kind.COUNTER,
        "The same that was dropped, since too much waited.",
        lambda edge: edge.reporter.lost,
    ),
    Metric(
        "vedette_peers_ready",
        Kind.GAUGE,
        "Processes of another service that may be called.",
        lambda parts: {(service,): len(peers.ready()) for service, peers in parts.peers.items()},
        ("service",),
    ),
)
