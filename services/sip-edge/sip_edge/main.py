"""sip-edge as a process."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Coroutine
from functools import lru_cache

import structlog

from sip_edge.adapters.certificates import read_certificates
from sip_edge.adapters.dns import Dns
from sip_edge.adapters.listeners import Listening, open_listeners
from sip_edge.adapters.metrics import METRICS, EdgeParts
from sip_edge.adapters.nonce_counts import NonceCounts
from sip_edge.adapters.resolver import Resolver
from sip_edge.adapters.rpc import DatagramsHandler, NotifiesHandler, WithdrawalsHandler
from sip_edge.domain.authentication import is_trusted
from sip_edge.domain.local_addresses import LocalAddresses, split_address
from sip_edge.domain.next_hop import NatRules
from sip_edge.domain.nonces import Nonces
from sip_edge.domain.request_rates import RequestRates
from sip_edge.domain.taken_batches import TakenBatches
from sip_edge.domain.turned_away import TurnedAway
from sip_edge.flows.authentication import Authentication
from sip_edge.flows.banning import Banning
from sip_edge.flows.core_calls import CoreCalls
from sip_edge.flows.departure import Departure
from sip_edge.flows.edge import Edge
from sip_edge.flows.foreign_responses import ForeignResponses
from sip_edge.flows.gate import Gate
from sip_edge.flows.locating import Locator
from sip_edge.flows.notifies import NotifySender
from sip_edge.flows.open_subscribes import OpenSubscribes
from sip_edge.flows.outcomes import OutcomeReporter
from sip_edge.flows.requests import RequestFlow
from sip_edge.flows.shared_bans import SharedBans
from sip_edge.flows.users import Users
from sip_edge.settings import EdgeSettings
from vedette import VERSION
from vedette.counting import Tally
from vedette.rpc.client import Peers
from vedette.rpc.contract import DATAGRAMS, NOTIFIES, REGISTERS, REPORT, TRACE, WITHDRAWALS, RegisterBatch
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import HttpServer, rpc_app
from vedette.rpc.token import RpcToken
from vedette.runtime.journal import Journal, TraceHandler
from vedette.runtime.logs import configure
from vedette.runtime.metrics import Metrics
from vedette.runtime.process import Identity, Tasks, announce_ready, run_service, unless_stopped
from vedette.runtime.report import Reporter
from vedette.runtime.settings import load_settings
from vedette.runtime.start import open_listener, read_token, rpc_address, say_remarks
from vedette.sip.transaction.timers import Timers
from vedette.store.redis_link import RedisLink
from vedette.transport.endpoint import Endpoint
from vedette.transport.limits import ConnectionLimits

QUEUE = 8192
DRAIN_REQUESTS = 1.5
HAND_OVER = 0.8
DRAIN_NOTIFIES = 0.5
FINISH = 0.5
DRAIN_OUTCOMES = 0.5
REPORT_INTERVAL = 60.0

log = structlog.get_logger()


def main() -> None:
    """Run sip-edge."""
    settings = load_settings(EdgeSettings)
    identity = Identity("sip-edge")
    configure(
        level=settings.log_level, style=settings.log_format, service=identity.service, instance=identity.instance
    )
    say_remarks(settings)
    run_service(lambda stop: _serve(settings, identity, stop))


async def _serve(settings: EdgeSettings, identity: Identity, stop: asyncio.Event) -> None:
    token = read_token(settings)
    listener = open_listener(settings.rpc_host, settings.rpc_port)
    identity.address = rpc_address(settings, listener)

    cores = Peers(
        Discovery(settings.core_peers), token=token, who=identity.hello, on_change=lambda: calls.peers_changed()
    )
    notifiers = Peers(Discovery(settings.notifier_peers), token=token, who=identity.hello)
    siblings = Peers(Discovery(settings.edge_peers), token=token, who=identity.hello)
    journal = Journal(settings.trace_buffer, verbose=settings.log_level == "debug")
    calls = CoreCalls(cores, max_batch=settings.call_batch, max_queue=QUEUE, journal=journal)
    reporter = OutcomeReporter(notifiers)
    open_subscribes = OpenSubscribes()
    addresses = LocalAddresses()
    systems = [Resolver(_family(host)).resolve for host in settings.sip_hosts]
    names = Dns([split_address(server) for server in settings.dns_server_list], systems)
    locator = Locator(names, reaches=lambda transport, host: addresses.towards(transport, host) is not None)
    sender = NotifySender(
        endpoint=lambda: edge.endpoint(),
        open_subscribes=open_subscribes,
        reporter=reporter,
        locator=locator,
        instance=identity.instance,
        local_addresses=addresses,
        user_agent=f"vedette/{VERSION}",
        max_jobs=settings.max_notifies,
        max_udp_size=settings.max_udp_size,
        nat=NatRules(settings.nat_handling, _trusts(settings)),
        journal=journal,
    )
    turned_away = TurnedAway()
    banning = Banning(
        settings.ban_rules(),
        turned_away,
        is_trusted=_trusts(settings),
        cut=lambda source: edge.endpoint().cut(source),
    )
    authentication = _authentication(settings, token, cores, banning)
    requests = RequestFlow(
        authentication=authentication,
        calls=calls,
        open_subscribes=open_subscribes,
        instance=identity.instance,
        rpc_address=identity.address,
        local_addresses=addresses,
        max_body=settings.max_body_size,
        max_ongoing=settings.max_ongoing,
        max_wait=settings.max_waiting_time / 1000,
        turned_away=turned_away,
        banning=banning,
        sender_header=settings.sender_header,
        journal=journal,
        registrations=_registrations(settings, cores),
    )
    foreign = ForeignResponses(siblings, identity.instance)
    edge = Edge(requests, sender, foreign)
    certificates = read_certificates(settings)
    endpoint = Endpoint(
        edge,
        Timers(settings.t1 / 1000, settings.t2 / 1000, settings.t4 / 1000),
        ends_bounced=True,
        limits=_limits(settings),
        max_body=settings.max_body_size,
        tls=certificates.contexts if certificates is not None else None,
        doorkeeper=Gate(_rates(settings), banning, turned_away, edge.request_refused),
        origins=[origin.strip() for origin in settings.ws_origins.split(",") if origin.strip()],
    )
    edge.attach(endpoint)
    batches = TakenBatches()
    about = Reporter(settings)
    app = rpc_app(
        token=token,
        who=identity.hello,
        handlers={
            NOTIFIES: NotifiesHandler(sender, batches, identity.uptime),
            WITHDRAWALS: WithdrawalsHandler(batches),
            DATAGRAMS: DatagramsHandler(edge),
            REPORT: about,
            TRACE: TraceHandler(journal),
        },
        heard=lambda _hello: None,
    )
    peers = {"presence-core": cores, "notifier": notifiers, "sip-edge": siblings}
    metrics = Metrics(
        settings,
        identity,
        (METRICS, EdgeParts(endpoint, requests, calls, sender, reporter, foreign, turned_away, peers)),
    )
    server = HttpServer(app, listener)
    await asyncio.gather(server.start(), metrics.start())
    # The replicas first: whoever gets an answer from the SIP port may expect service.
    await unless_stopped(asyncio.gather(cores.probe(), notifiers.probe(), siblings.probe()), stop)
    kept: dict[str, Callable[[], Coroutine[None, None, None]]] = {
        "core peers": cores.watch,
        "notifier peers": notifiers.watch,
        "edge peers": siblings.watch,
        "outcomes": reporter.run,
        "event loop": calls.watch_loop,
        "bans": SharedBans(cores, banning).run,
        "metrics": metrics.watch_loop,
        "foreign responses": foreign.run,
        "own report": about.watch,
        "report": lambda: _report(endpoint, requests, sender, foreign, reporter, turned_away),
    }
    if certificates is not None:
        kept["certificates"] = certificates.watch
    tasks = Tasks()
    for name, work in kept.items():
        tasks.keep(name, work)
    ports = await open_listeners(endpoint, settings, addresses)
    identity.ready = True
    _say_ready(settings, identity, metrics, ports)
    await stop.wait()
    log.info("stopping")
    identity.stop()
    if siblings.ready():
        endpoint.leave_to_siblings()
    departure = Departure(notifiers, instance=identity.instance, address=identity.address)
    await _leave(departure, requests, sender, endpoint, reporter)
    await asyncio.gather(server.stop(), metrics.stop())
    await tasks.cancel()
    await asyncio.gather(
        names.close(), authentication.close(), *(of_service.close() for of_service in peers.values())
    )


def _say_ready(settings: EdgeSettings, identity: Identity, metrics: Metrics, ports: Listening) -> None:
    common = {"metrics": metrics.address, "auth": settings.access().mode}
    log.info("ready", rpc=identity.address, **common, **ports.advertised)
    announce_ready(
        settings.ready_fd, address=identity.address, instance=identity.instance, **common, **ports.listening
    )


def _authentication(settings: EdgeSettings, token: RpcToken, cores: Peers, banning: Banning) -> Authentication:
    shared = settings.access().mode == "digest" and settings.redis_url
    return Authentication(
        settings.access(),
        users=Users(cores),
        nonces=Nonces(token.derive("digest nonces")),
        lifetime=settings.nonce_lifetime,
        users_max_age=settings.users_max_age,
        banning=banning,
        counts=NonceCounts(RedisLink(settings.redis_url), settings.nonce_lifetime) if shared else None,
    )


def _registrations(settings: EdgeSettings, cores: Peers) -> CoreCalls | None:
    """Who takes REGISTERs: their queue is their own, and PUBLISH and SUBSCRIBE do not wait for them."""
    if not settings.registrar:
        return None
    return CoreCalls(cores, max_batch=settings.call_batch, max_queue=QUEUE, path=REGISTERS, batch=RegisterBatch)


def _trusts(settings: EdgeSettings) -> Callable[[str], bool]:
    """Whether an address is that of a trusted peer, at the cost of a look-up where it was asked for lately."""
    trusted = settings.access().trusted
    return lru_cache(maxsize=4096)(lambda host: is_trusted(trusted, host))


def _rates(settings: EdgeSettings) -> RequestRates:
    is_exempt = _trusts(settings) if settings.access().trusted else None
    return RequestRates(settings.requests_per_second, settings.max_requests_burst, is_exempt=is_exempt)


def _limits(settings: EdgeSettings) -> ConnectionLimits:
    return ConnectionLimits(
        total=settings.max_connections,
        per_source=settings.max_connections_per_source,
        opening=settings.handshake_timeout,
        message=settings.message_timeout,
        idle=settings.idle_timeout,
    )


async def _leave(
    departure: Departure, requests: RequestFlow, sender: NotifySender, endpoint: Endpoint, reporter: OutcomeReporter
) -> None:
    """Have others serve our dialogs, give what is under way a moment to end, close the sockets."""
    await _within(DRAIN_REQUESTS, requests.drain())
    await _within(HAND_OVER, departure.hand_over())
    await _within(DRAIN_NOTIFIES, sender.drain())
    sender.close()
    await endpoint.close()
    await _within(DRAIN_OUTCOMES, reporter.drain())
    await _within(FINISH, departure.finish())


async def _within(seconds: float, ending: Coroutine[None, None, None]) -> None:
    """Give what is under way a moment to end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ending


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET


async def _report(
    endpoint: Endpoint,
    requests: RequestFlow,
    sender: NotifySender,
    foreign: ForeignResponses,
    reporter: OutcomeReporter,
    turned_away: TurnedAway,
) -> None:
    """Log what has been counted, every minute in which it changed."""
    before: dict[str, object] = {}
    while True:
        await asyncio.sleep(REPORT_INTERVAL)
        counted: dict[str, object] = {
            "answered": _by_name(requests.answered),
            "notifies": _by_name(sender.outcomes),
            "not_sip": endpoint.not_sip,
            "broken_responses": endpoint.broken_responses,
            "retransmissions_absorbed": endpoint.layer.retransmissions_absorbed,
            "retransmissions_sent": endpoint.layer.retransmissions_sent,
            "foreign_responses": foreign.passed_on,
            "stray_responses": foreign.dropped,
            "outcomes_lost": reporter.lost,
            "connections_refused": endpoint.connections_refused,
            "connections_cut": endpoint.connections_cut,
            "failed_handshakes": endpoint.failed_handshakes,
            "turned_away": turned_away.as_dict(),
        }
        if counted != before:
            log.info("counted", **counted)
            before = counted


def _by_name(tally: Tally) -> dict[str, int]:
    return {" ".join(labels): count for labels, count in tally.items()}
