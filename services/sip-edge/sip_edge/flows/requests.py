"""The flow of a request: transaction, admission, authentication, presence-core, response."""

import itertools
import time

import structlog

from sip_edge.domain.admission import FORWARDED, REGISTERS, Next, Refusal, admit, malformed, unavailable
from sip_edge.domain.authentication import ANYBODY, Claim, Sender
from sip_edge.domain.calls import answer, lane_of, read_call, read_register
from sip_edge.domain.local_addresses import LocalAddresses
from sip_edge.domain.log_budget import LogBudget
from sip_edge.domain.request_labels import MALFORMED, NONE, labels_of
from sip_edge.domain.turned_away import TurnedAway
from sip_edge.domain.waiting_time import begins, is_too_long
from sip_edge.flows.authentication import Authentication
from sip_edge.flows.banning import Banning
from sip_edge.flows.core_calls import CoreCalls
from sip_edge.flows.open_subscribes import OpenSubscribes
from sip_edge.flows.retry_after import some_seconds
from vedette.counting import Tally
from vedette.rpc.contract import Call, Reply
from vedette.runtime.journal import NO_JOURNAL, Journal
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request
from vedette.sip.transaction.layer import ServerTransaction, response_flow
from vedette.sip.writer import write_response
from vedette.transport.endpoint import Endpoint

CHALLENGES = frozenset({401, 407})
_TAG = 2**64 - 1
REFUSALS_LOGGED = 60
"""In a minute; what is beyond them is in the metrics."""

log = structlog.get_logger()


class RequestFlow:
    """Answers every request exactly once."""

    def __init__(
        self,
        *,
        authentication: Authentication,
        calls: CoreCalls,
        open_subscribes: OpenSubscribes,
        instance: str,
        rpc_address: str,
        local_addresses: LocalAddresses,
        max_body: int,
        max_ongoing: int,
        max_wait: float = 0.0,
        turned_away: TurnedAway | None = None,
        banning: Banning | None = None,
        sender_header: str = "",
        journal: Journal = NO_JOURNAL,
        registrations: CoreCalls | None = None,
    ) -> None:
        """`local_addresses`: what Contact calls us. `max_wait`: seconds a request may wait for its answer; 0: any.

        `sender_header`: the header of a PUBLISH that names its sender; empty: none. `registrations`: who takes
        REGISTERs; None: nobody (405).
        """
        self._authentication = authentication
        self._calls = calls
        self._open_subscribes = open_subscribes
        self._instance = instance
        self._rpc_address = rpc_address
        self._local_addresses = local_addresses
        self._max_body = max_body
        self._max_ongoing = max_ongoing
        self._max_wait = max_wait
        self._turned_away = turned_away or TurnedAway()
        self._banning = banning
        self._sender_header = sender_header.lower()
        self._registrations = registrations
        self._served = FORWARDED if registrations is None else FORWARDED | REGISTERS
        self._journal = journal
        self._traces = itertools.count(1)
        self._log_budget = LogBudget(REFUSALS_LOGGED)
        self.received_requests = Tally()
        """Requests by method and event, each once where there is a transaction; no ACK."""
        self.answered = Tally()
        """Final responses by method, event and status; `malformed` is the method of what cannot be read."""

    def received(self, endpoint: Endpoint, request: Request, flow: Flow) -> None:
        """A request from the network."""
        try:
            request.check()
        except SipError as error:
            self._refuse_malformed(endpoint, request, flow, error)
            return
        if request.method == "ACK":
            return
        decision = admit(request, max_body=self._max_body, registrar=self._registrations is not None)
        if isinstance(decision, Refusal):
            self._refuse_without_state(endpoint, request, flow, decision)
            return
        sender = self._authentication.at_once(request, flow) if request.method in self._served else ANYBODY
        if isinstance(sender, Refusal):
            self._refuse_without_state(endpoint, request, flow, sender)
            return
        transaction = endpoint.begin(request, flow)
        if transaction is None:
            if self._journal.on:
                self._journal.one("repeated", request.call_id, _about(request, flow))
            return
        if self._journal.on:
            self._journal.one("request", request.call_id, _about(request, flow))
        self.received_requests.add(*labels_of(request))
        if endpoint.layer.is_merged(transaction):
            self._refuse(endpoint, transaction, request, Refusal(482))
        elif decision is Next.CANCEL:
            found = endpoint.layer.find_cancelled(request)
            self._refuse(endpoint, transaction, request, Refusal(200 if found is not None else 481))
        elif not self._has_room(endpoint, request):
            self._refuse(endpoint, transaction, request, unavailable(some_seconds()))
        elif isinstance(sender, Claim):
            self._authenticate(endpoint, transaction, request, flow, sender)
        else:
            self._forward(endpoint, transaction, request, flow, sender)

    def refuse_for_now(self, endpoint: Endpoint, request: Request, flow: Flow) -> None:
        """Answer a request that passed `check` with 503, without a transaction."""
        target = response_flow(request, flow)
        self._count_stateless(request, 503)
        endpoint.send_stateless(target, self._write(request, unavailable(some_seconds()), target))

    def _has_room(self, endpoint: Endpoint, request: Request) -> bool:
        """Whether the request would be answered soon."""
        if endpoint.layer.ongoing > self._max_ongoing:
            self._turned_away.unanswerable += 1
            return False
        return self._is_soon(request, self._calls.waiting_time)

    def _is_soon(self, request: Request, wait: float) -> bool:
        """Whether the request may wait so long."""
        if not wait:
            return True
        new = begins(request)
        if not is_too_long(wait, self._max_wait, new=new):
            return True
        if new:
            self._turned_away.waiting_refused_new += 1
        else:
            self._turned_away.waiting_refused_ongoing += 1
        return False

    async def drain(self) -> None:
        """Return when everything that came has its answer."""
        await self._authentication.drain()
        await self._calls.drain()
        if self._registrations is not None:
            await self._registrations.drain()

    def _authenticate(
        self, endpoint: Endpoint, transaction: ServerTransaction, request: Request, flow: Flow, claim: Claim
    ) -> None:
        def found(sender: Sender | Refusal) -> None:
            if isinstance(sender, Refusal):
                self._refuse(endpoint, transaction, request, sender)
            else:
                self._forward(endpoint, transaction, request, flow, sender)

        self._authentication.ask(request, flow, claim, found)

    def _forward(
        self, endpoint: Endpoint, transaction: ServerTransaction, request: Request, flow: Flow, sender: Sender
    ) -> None:
        if request.method in REGISTERS:
            self._register(endpoint, transaction, request, flow, sender)
            return
        trace = f"{self._instance[:6]}{next(self._traces):x}"
        try:
            call = self._read_call(request, flow, sender, trace)
        except SipError as error:
            self._refuse(endpoint, transaction, request, malformed(error))
            return
        lane = lane_of(call)
        if not self._is_soon(request, self._calls.waiting_time_of(lane)):
            self._refuse(endpoint, transaction, request, unavailable(some_seconds()))
            return
        dialog = (request.call_id, request.from_.tag or "")
        subscribes = request.method == "SUBSCRIBE"
        if subscribes:
            self._open_subscribes.opened(dialog)

        def replied(reply: Reply) -> None:
            to_tag = reply.to_tag or self._tag(request)
            response = answer(request, reply, source=transaction.flow.source, to_tag=to_tag)
            self._count(request, reply.status)
            if self._journal.on:
                detail = f"{reply.status} to {request.method} {request.cseq[0]}"
                self._journal.one("answer", request.call_id, detail, trace=trace, dialog=reply.to_tag)
            if reply.status >= 400:
                self._log_refusal(request, reply.status, transaction.flow, trace)
            endpoint.respond(transaction, response)
            if subscribes:
                self._open_subscribes.closed(dialog)

        self._calls.submit(lane, call, replied)

    def _read_call(self, request: Request, flow: Flow, sender: Sender, trace: str) -> Call:
        if request.method == "PUBLISH":
            local_address = tls_address = ""  # nobody is answered there
        else:
            local_address = self._local_addresses.towards(flow.transport, flow.host) or ""
            tls_address = self._local_addresses.towards("tls", flow.host) or ""
        return read_call(
            request,
            flow,
            local_address=local_address,
            edge_instance=self._instance,
            edge_address=self._rpc_address,
            sender=sender,
            sender_header=self._sender_header,
            trace=trace,
            tls_address=tls_address,
        )

    def _register(
        self, endpoint: Endpoint, transaction: ServerTransaction, request: Request, flow: Flow, sender: Sender
    ) -> None:
        try:
            call = read_register(
                request,
                flow,
                local_address=self._local_addresses.towards(flow.transport, flow.host) or "",
                edge_instance=self._instance,
                edge_address=self._rpc_address,
                sender=sender,
            )
        except SipError as error:
            self._refuse(endpoint, transaction, request, malformed(error))
            return

        def replied(reply: Reply) -> None:
            self._count(request, reply.status)
            self._tell_answer(request, reply.status, transaction.flow)
            to_tag = reply.to_tag or self._tag(request)
            endpoint.respond(transaction, answer(request, reply, source=transaction.flow.source, to_tag=to_tag))

        if self._registrations is not None:
            self._registrations.submit(lane_of(call), call, replied)

    def _refuse(self, endpoint: Endpoint, transaction: ServerTransaction, request: Request, refusal: Refusal) -> None:
        self._count(request, refusal.status)
        self._tell_answer(request, refusal.status, transaction.flow)
        endpoint.respond(transaction, self._write(request, refusal, transaction.flow))

    def _refuse_without_state(self, endpoint: Endpoint, request: Request, flow: Flow, refusal: Refusal) -> None:
        """Answer without a transaction (RFC 3261 sections 8.2.7 and 22.1): each copy gets the same answer anew.

        That goes for INVITE, too: nothing is repeated until an ACK comes, which a stranger need not send.
        """
        target = response_flow(request, flow)
        self._count_stateless(request, refusal.status)
        self._tell_answer(request, refusal.status, target)
        endpoint.send_stateless(target, self._write(request, refusal, target))

    def _tell_answer(self, request: Request, status: int, flow: Flow) -> None:
        if self._journal.on:
            self._journal.one("answer", request.call_id, f"{status} to {request.method} {request.cseq[0]}")
        if status >= 400 and status not in CHALLENGES:
            self._log_refusal(request, status, flow, "")

    def _log_refusal(self, request: Request, status: int, flow: Flow, trace: str) -> None:
        if self._log_budget.allows(time.monotonic()):
            log.info(
                "request refused",
                method=request.method,
                status=status,
                call_id=request.call_id,
                aor=request.to.uri,
                source=f"{flow.transport}:{flow.host}:{flow.port}",
                trace=trace,
            )

    def _refuse_malformed(self, endpoint: Endpoint, request: Request, flow: Flow, error: SipError) -> None:
        """Answer without a transaction, where it is known where to and the method is not ACK."""
        if self._banning is not None:
            self._banning.garbage(flow)
        if request.method == "ACK":
            return
        try:
            if request.vias:
                _ = request.top_via  # one that cannot be read cannot be copied into an answer, on a stream either
            target = response_flow(request, flow)
        except SipError:
            return
        self.received_requests.add(MALFORMED, NONE)
        self.answered.add(MALFORMED, NONE, str(error.status))
        endpoint.send_stateless(target, self._write(request, malformed(error), target))

    def _write(self, request: Request, refusal: Refusal, flow: Flow) -> bytes:
        return write_response(
            request,
            refusal.status,
            source=flow.source,
            reason=refusal.reason,
            to_tag=self._tag(request),
            headers=refusal.headers,
        )

    def _tag(self, request: Request) -> str:
        """A To-tag for an answer that makes no dialog: the same for each copy of the request (section 8.2.7)."""
        of = request.headers.get
        via = request.vias[0] if request.vias else ""
        # Python keys the hashes of texts with a secret of the process, and the instance is another one.
        return f"{hash((self._instance, of('call-id'), of('cseq'), of('from'), via)) & _TAG:016x}"

    def _count(self, request: Request, status: int) -> None:
        self.answered.add(*labels_of(request), str(status))

    def _count_stateless(self, request: Request, status: int) -> None:
        """Without a transaction a copy cannot be told from its original: each counts."""
        self.received_requests.add(*labels_of(request))
        self._count(request, status)


def _about(request: Request, flow: Flow) -> str:
    return f"{request.method} {request.cseq[0]} from {flow.transport}:{flow.host}:{flow.port}"
