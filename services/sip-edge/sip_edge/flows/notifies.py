"""NOTIFYs on their way out: hold for the 2xx, pace, send, report the outcome."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from sip_edge.domain.branches import make_branch
from sip_edge.domain.local_addresses import LocalAddresses
from sip_edge.domain.next_hop import AUTOMATIC, Destination, NatRules, choose_destination, may_go_over_tcp
from sip_edge.domain.notify import write_notify
from sip_edge.domain.pacing import Pacer
from sip_edge.domain.request_labels import event_label
from sip_edge.flows.locating import Locator, UndecidedError
from sip_edge.flows.open_subscribes import OpenSubscribes
from sip_edge.flows.outcomes import OutcomeReporter
from vedette.counting import SIZES, Distribution, Tally
from vedette.rpc.contract import FLOW_GONE, TIMEOUT, UNREACHABLE, Document, NotifyBatch, NotifyItem, Outcome
from vedette.runtime.journal import NO_JOURNAL, Journal
from vedette.sip.errors import SipError
from vedette.sip.route import RoutedRequest, route_in_dialog
from vedette.sip.transaction.layer import ClientTransaction, RequestFinished
from vedette.transport.endpoint import Endpoint

WINDOW = 64
"""Unanswered NOTIFYs to one address; about what a default receive buffer holds."""
WINDOW_PATIENCE = 0.1
WITHOUT_TCP = 600.0
"""Seconds during which nobody tries again to connect to an address that took no connection."""
MAX_WITHOUT_TCP = 10_000
TRY_NEXT_AFTER = 16
"""Times T1 without a final answer after which the next server of a domain is tried: four fit into Timer F."""
AVOIDED = 60.0
"""Seconds during which a server that did not answer is tried after the others of its domain."""
MAX_AVOIDED = 10_000
UNAVAILABLE = 503
NAMES_RETRY = 10
"""Seconds until a NOTIFY is owed again for whose next hop the name servers had no answer."""

log = structlog.get_logger()

_WITHOUT_ANSWER = {TIMEOUT: "timeout", UNREACHABLE: "unreachable", FLOW_GONE: "flow_gone"}

DialogKey = tuple[int, bytes]
Server = tuple[str, str, int]


@dataclass(slots=True)
class _Job:
    item: NotifyItem
    document: Document | None
    routed: RoutedRequest
    destination: Destination
    others: list[Destination] = field(default_factory=list)
    """Other servers of the same domain, not tried yet."""
    place: int = 0
    transaction: ClientTransaction | None = None
    superseded: bool = False
    because_of_size: bool = False
    """Whether it is under way over TCP although its place is UDP."""


class NotifySender:
    """Sends each NOTIFY of a batch once and reports how it ended; at most one of a dialog is under way."""

    def __init__(
        self,
        *,
        endpoint: Callable[[], Endpoint],
        open_subscribes: OpenSubscribes,
        reporter: OutcomeReporter,
        locator: Locator,
        instance: str,
        local_addresses: LocalAddresses,
        user_agent: str,
        max_jobs: int,
        max_udp_size: int = 1300,
        nat: NatRules = AUTOMATIC,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        """`locator` finds the addresses of host names; `local_addresses` says what Via calls us.

        What has more octets than `max_udp_size` goes over TCP where it may; 0: UDP whatever the size.
        `nat` says who is answered where his SUBSCRIBE came from.
        """
        self._endpoint = endpoint
        self._open_subscribes = open_subscribes
        self._reporter = reporter
        self._locator = locator
        self._instance = instance
        self._local_addresses = local_addresses
        self._user_agent = user_agent
        self._max_jobs = max_jobs
        self._max_udp_size = max_udp_size
        self._nat = nat
        self._journal = journal
        self._without_tcp: dict[tuple[str, int], float] = {}
        """The addresses that did not take a large NOTIFY over TCP, and until when none is tried again."""
        self._avoided: dict[Server, float] = {}
        """The servers that did not answer, and until when they are tried last."""
        self._jobs: dict[DialogKey, _Job] = {}
        self._pacer: Pacer[_Job] = Pacer(window=WINDOW, patience=WINDOW_PATIENCE)
        self._branches = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._lookups: set[asyncio.Task[None]] = set()
        self.closed = False
        """Whether nothing more can be sent."""
        self.outcomes = Tally()
        """How NOTIFYs ended, by event, and by status, `timeout`, `unreachable` or `flow_gone`."""
        self.batches = Distribution(SIZES)
        """How many NOTIFYs came at once from a notifier."""

    @property
    def under_way(self) -> int:
        """NOTIFYs that have been taken and have not ended."""
        return len(self._jobs)

    def take(self, batch: NotifyBatch) -> list[int]:
        """Take a batch; the indexes of the items that cannot be taken now."""
        refused: list[int] = []
        self.batches.add(len(batch.items))
        for index, item in enumerate(batch.items):
            if len(self._jobs) >= self._max_jobs:
                refused.append(index)
                continue
            document = batch.documents[item.document] if item.document >= 0 else None
            self._take_one(item, document)
        self._send_ready()
        return refused

    def _take_one(self, item: NotifyItem, document: Document | None) -> None:
        key = (item.presentity_hash, item.dialog_id)
        older = self._jobs.get(key)
        if older is not None:
            if older.item.cseq >= item.cseq:
                return  # a copy of what is under way
            self._supersede(older)
        try:
            routed = route_in_dialog(item.target, item.record_route)
        except SipError as error:
            log.warning("notify has nowhere to go", call_id=item.call_id, reason=error.reason)
            self._report(item, UNREACHABLE)
            return
        flow = item.flow
        destination = choose_destination(routed, flow, flow_is_open=self._endpoint().is_open(flow), nat=self._nat)
        if destination is None:
            self._report(item, FLOW_GONE if flow.reliable else UNREACHABLE)
            return
        job = _Job(item, document, routed, destination)
        self._jobs[key] = job
        if not self._open_subscribes.hold((item.call_id, item.remote_tag), lambda: self._release(job)):
            self._enqueue(job)
        elif self._journal.on:
            self._journal.one(
                "held", item.call_id, f"NOTIFY {item.cseq}, for the answer to SUBSCRIBE", trace=item.trace
            )

    def _supersede(self, job: _Job) -> None:
        """A newer NOTIFY of the dialog has been committed: whatever became of this one, nobody asks for it."""
        job.superseded = True
        del self._jobs[job.item.presentity_hash, job.item.dialog_id]
        if job.transaction is not None:
            self._endpoint().layer.abandon(job.transaction)
        self._pacer.answered(job.place)

    def _release(self, job: _Job) -> None:
        self._enqueue(job)
        self._send_ready()

    def _enqueue(self, job: _Job) -> None:
        if job.superseded:
            return
        if job.destination.is_address:
            self._pacer.put((job.destination.host, job.destination.port), job)
            return
        task = asyncio.create_task(self._look_up(job))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up(self, job: _Job) -> None:
        try:
            found = await self._locator.locate(job.destination, prefer_ipv6=":" in job.item.flow.host)
        except UndecidedError as error:
            if not job.superseded:
                log.info("next hop is not known yet", host=job.destination.host, reason=str(error))
                self._end(job, UNAVAILABLE, NAMES_RETRY)
            return
        if job.superseded:
            return
        if not found:
            self._end(job, UNREACHABLE)
            return
        now = self._endpoint().now()
        job.destination, *job.others = sorted(found, key=lambda one: self._avoided.get(_server(one), 0.0) > now)
        self._put(job)

    def _put(self, job: _Job) -> None:
        self._pacer.put((job.destination.host, job.destination.port), job)
        self._send_ready()

    def _find_another_way(self, job: _Job) -> None:
        """The connection that the watcher came by has ended: by its Contact or route, where that can be."""
        destination = choose_destination(job.routed, job.item.flow, flow_is_open=False, nat=self._nat)
        if destination is None:
            self._end(job, FLOW_GONE)
            return
        job.destination = destination
        self._release(job)

    def _try_next(self, job: _Job) -> None:
        """The server does not serve: the next one of its domain (RFC 3263 section 4.3), with a new branch."""
        server = _server(job.destination)
        self._avoided.pop(server, None)
        if len(self._avoided) >= MAX_AVOIDED:
            del self._avoided[next(iter(self._avoided))]
        self._avoided[server] = self._endpoint().now() + AVOIDED
        job.destination = job.others.pop(0)
        self._put(job)

    def _too_slow(self, job: _Job, transaction: ClientTransaction) -> None:
        if job.superseded or job.transaction is not transaction or not job.others or self.closed:
            return
        if self._jobs.get((job.item.presentity_hash, job.item.dialog_id)) is not job:
            return
        self._endpoint().layer.abandon(transaction)
        self._pacer.answered(job.place)
        self._try_next(job)

    def _send_ready(self) -> None:
        now = self._endpoint().now()
        self._pacer.expire(now)
        for place, job in self._pacer.take(now):
            if job.superseded:
                self._pacer.answered(place)
                continue
            job.place = place
            self._send(job)
        self._arm(now)

    def _send(self, job: _Job) -> None:
        if not self._send_over(job.destination.transport, job):
            self._pacer.answered(job.place)
            self._end(job, UNREACHABLE)
        elif job.others and job.transaction is not None:
            patience = TRY_NEXT_AFTER * self._endpoint().layer.timers.t1
            asyncio.get_running_loop().call_later(patience, self._too_slow, job, job.transaction)

    def _send_over(self, transport: str, job: _Job) -> bool:
        """Whether we can send over that transport, and have."""
        destination = job.destination
        sent_by = self._local_addresses.towards(transport, destination.host)
        if sent_by is None:
            return False
        branch = make_branch(self._instance, next(self._branches))
        via = f"SIP/2.0/{transport.upper()} {sent_by};branch={branch};rport"
        data = write_notify(job.item, job.document, job.routed, via=via, user_agent=self._user_agent)
        too_large = transport == "udp" and 0 < self._max_udp_size < len(data)
        if too_large and self._may_go_over_tcp(job) and self._send_over("tcp", job):
            return True
        job.because_of_size = transport != destination.transport
        flow = destination.flow()
        if job.because_of_size:
            flow = flow._replace(transport=transport)
        job.transaction = self._endpoint().send_request(
            branch=branch, method="NOTIFY", data=data, flow=flow, context=job
        )
        if self._journal.on:
            item = job.item
            detail = f"NOTIFY {item.cseq} to {flow.transport}:{flow.host}:{flow.port}, {item.subscription_state}"
            self._journal.one("notify", item.call_id, detail, trace=item.trace, dialog=item.local)
        return True

    def _may_go_over_tcp(self, job: _Job) -> bool:
        until = self._without_tcp.get((job.destination.host, job.destination.port))
        if until is not None and until >= self._endpoint().now():
            return False
        return may_go_over_tcp(job.routed, job.item.flow, self._nat)

    def _go_back_to_udp(self, job: _Job) -> None:
        """It could not be sent over TCP: over UDP then, in fragments (section 18.1.1), and the next ones at once."""
        address = (job.destination.host, job.destination.port)
        self._without_tcp.pop(address, None)
        if len(self._without_tcp) >= MAX_WITHOUT_TCP:
            del self._without_tcp[next(iter(self._without_tcp))]
        self._without_tcp[address] = self._endpoint().now() + WITHOUT_TCP
        self._pacer.put(address, job)
        self._send_ready()

    def _arm(self, now: float) -> None:
        """Wake up when places become free that somebody waits for."""
        if self._timer is not None or not self._pacer.waiting:
            return
        expiry = self._pacer.next_expiry()
        delay = max(0.001, (expiry or now) - now)
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._send_ready()

    def finished(self, finished: RequestFinished) -> None:
        """A NOTIFY of ours has ended."""
        job = finished.context
        if not isinstance(job, _Job) or job.superseded:
            return
        if self._journal.on:
            self._write_down_end(job, finished)
        self._pacer.answered(job.place)
        if finished.transport_error and job.because_of_size:
            self._go_back_to_udp(job)
            return
        if finished.transport_error and job.destination.connection:
            self._find_another_way(job)
            return
        if job.others and (finished.response is None or finished.response.status == UNAVAILABLE):
            self._try_next(job)
            return
        if finished.response is not None:
            self._end(job, finished.response.status, finished.response.retry_after)
        else:
            self._end(job, UNREACHABLE if finished.transport_error else TIMEOUT)
        if self._pacer.waiting:
            self._send_ready()

    def sent_again(self, transaction: ClientTransaction) -> None:
        """A NOTIFY of ours was repeated, since no answer has come (Timer E)."""
        job = transaction.context
        if self._journal.on and isinstance(job, _Job):
            detail = f"NOTIFY {job.item.cseq}, sent {transaction.sends} times (Timer E)"
            self._journal.one("again", job.item.call_id, detail, trace=job.item.trace)

    def _write_down_end(self, job: _Job, finished: RequestFinished) -> None:
        item, response = job.item, finished.response
        if response is not None:
            self._journal.one("answered", item.call_id, f"{response.status} to NOTIFY {item.cseq}", trace=item.trace)
        else:
            why = "cannot be sent" if finished.transport_error else "no answer (Timer F)"
            self._journal.one("no answer", item.call_id, f"NOTIFY {item.cseq}: {why}", trace=item.trace)

    def _end(self, job: _Job, status: int, retry_after: int | None = None) -> None:
        key = (job.item.presentity_hash, job.item.dialog_id)
        if self._jobs.get(key) is job:
            del self._jobs[key]
        self._report(job.item, status, retry_after)

    def _report(self, item: NotifyItem, status: int, retry_after: int | None = None) -> None:
        if self.closed:
            return
        self.outcomes.add(event_label(item.event), _WITHOUT_ANSWER.get(status) or str(status))
        self._reporter.report(
            Outcome(
                item.presentity_hash,
                item.dialog_id,
                item.cseq,
                status,
                retry_after,
                item.digest,
                item.changed,
                item.trace,
                item.call_id,
            )
        )

    def close(self) -> None:
        """Take and report nothing more: what breaks because our sockets close tells nothing of its watcher."""
        self.closed = True

    async def drain(self) -> None:
        """Return when nothing is under way."""
        while self._jobs:
            await asyncio.sleep(0.01)


def _server(destination: Destination) -> Server:
    return destination.transport, destination.host, destination.port
