"""The flow of a request: transaction, admission, authentication, presence-core, response."""

import structlog

from sip_edge.domain.admission import FORWARDED, Next, Refusal, admit, malformed
from sip_edge.domain.authentication import ANYBODY, Claim, Sender
from sip_edge.domain.calls import answer, lane_of, read_call
from sip_edge.domain.local_addresses import LocalAddresses
from sip_edge.flows.authentication import Authentication
from sip_edge.flows.core_calls import CoreCalls
from sip_edge.flows.open_subscribes import OpenSubscribes
from vedette.identity import request_key
from vedette.rpc.contract import Reply
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request
from vedette.sip.transaction.layer import ServerTransaction, response_flow
from vedette.sip.writer import write_response
from vedette.transport.endpoint import Endpoint

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
        sender_header: str = "",
    ) -> None:
        """`local_addresses`: what Contact calls us.

        `sender_header`: the header of a PUBLISH that names its sender; empty: none.
        """
        self._authentication = authentication
        self._calls = calls
        self._open_subscribes = open_subscribes
        self._instance = instance
        self._rpc_address = rpc_address
        self._local_addresses = local_addresses
        self._max_body = max_body
        self._max_ongoing = max_ongoing
        self._sender_header = sender_header.lower()
        self._tag_secret = instance.encode()
        self.answered: dict[str, int] = {}
        """Final responses by `METHOD status`."""

    def received(self, endpoint: Endpoint, request: Request, flow: Flow) -> None:
        """A request from the network."""
        try:
            request.check()
        except SipError as error:
            self._refuse_malformed(endpoint, request, flow, error)
            return
        if request.method == "ACK":
            return
        sender = self._authentication.at_once(request, flow) if request.method in FORWARDED else ANYBODY
        if isinstance(sender, Refusal):
            self._refuse_without_state(endpoint, request, flow, sender)
            return
        transaction = endpoint.begin(request, flow)
        if transaction is None:
            return
        if endpoint.layer.is_merged(transaction):
            self._refuse(endpoint, transaction, request, Refusal(482))
            return
        decision = admit(request, max_body=self._max_body)
        if isinstance(decision, Refusal):
            self._refuse(endpoint, transaction, request, decision)
        elif decision is Next.CANCEL:
            found = endpoint.layer.find_cancelled(request)
            self._refuse(endpoint, transaction, request, Refusal(200 if found is not None else 481))
        elif endpoint.layer.ongoing > self._max_ongoing:
            self._refuse(endpoint, transaction, request, Refusal(503, headers=(("Retry-After", "2"),)))
        elif isinstance(sender, Claim):
            self._authenticate(endpoint, transaction, request, flow, sender)
        else:
            self._forward(endpoint, transaction, request, flow, sender)

    async def drain(self) -> None:
        """Return when everything that came has its answer."""
        await self._authentication.drain()
        await self._calls.drain()

    def _authenticate(
        self, endpoint: Endpoint, transaction: ServerTransaction, request: Request, flow: Flow, claim: Claim
    ) -> None:
        def found(sender: Sender | Refusal) -> None:
            if isinstance(sender, Refusal):
                self._refuse(endpoint, transaction, request, sender)
            else:
                self._forward(endpoint, transaction, request, flow, sender)

        self._authentication.ask(request, claim, found)

    def _forward(
        self, endpoint: Endpoint, transaction: ServerTransaction, request: Request, flow: Flow, sender: Sender
    ) -> None:
        try:
            call = read_call(
                request,
                flow,
                local_address=self._local_addresses.towards(flow.transport, flow.host) or "",
                edge_instance=self._instance,
                edge_address=self._rpc_address,
                sender=sender,
                sender_header=self._sender_header,
            )
        except SipError as error:
            self._refuse(endpoint, transaction, request, malformed(error))
            return
        dialog = (request.call_id, request.from_.tag or "")
        subscribes = request.method == "SUBSCRIBE"
        if subscribes:
            self._open_subscribes.opened(dialog)

        def replied(reply: Reply) -> None:
            source = (transaction.flow.host, transaction.flow.port)
            response = answer(request, reply, source=source, to_tag=self._tag(request))
            self._count(request.method, reply.status)
            endpoint.respond(transaction, response)
            if subscribes:
                self._open_subscribes.closed(dialog)

        self._calls.submit(lane_of(call), call, replied)

    def _refuse(self, endpoint: Endpoint, transaction: ServerTransaction, request: Request, refusal: Refusal) -> None:
        self._count(request.method, refusal.status)
        endpoint.respond(transaction, self._write(request, refusal, transaction.flow))

    def _refuse_without_state(self, endpoint: Endpoint, request: Request, flow: Flow, refusal: Refusal) -> None:
        """Answer a stranger without a transaction (RFC 3261 section 22.1): each copy gets an answer of its own.

        What else is wrong with the request comes first.
        """
        decision = admit(request, max_body=self._max_body)
        if isinstance(decision, Refusal):
            refusal = decision
        target = response_flow(request, flow)
        self._count(request.method, refusal.status)
        endpoint.send_stateless(target, self._write(request, refusal, target))

    def _refuse_malformed(self, endpoint: Endpoint, request: Request, flow: Flow, error: SipError) -> None:
        """Answer without a transaction, where it is known where to and the method is not ACK."""
        if request.method == "ACK":
            return
        try:
            if request.vias:
                _ = request.top_via  # one that cannot be read cannot be copied into an answer, on a stream either
            target = response_flow(request, flow)
        except SipError:
            return
        self._count("malformed", error.status)
        endpoint.send_stateless(target, self._write(request, malformed(error), target))

    def _write(self, request: Request, refusal: Refusal, flow: Flow) -> bytes:
        return write_response(
            request,
            refusal.status,
            source=(flow.host, flow.port),
            reason=refusal.reason,
            to_tag=self._tag(request),
            headers=refusal.headers,
        )

    def _tag(self, request: Request) -> str:
        """A To-tag for an answer that makes no dialog: the same for each copy of the request (section 8.2.7)."""
        rows = request.headers.rows
        parts = [rows.get(name, [""])[0] for name in ("call-id", "cseq", "from")]
        return request_key(self._tag_secret, [*parts, *request.vias[:1]]).hex()

    def _count(self, method: str, status: int) -> None:
        name = f"{method} {status}"
        self.answered[name] = self.answered.get(name, 0) + 1
