"""All transactions of one process (RFC 3261 section 17), without I/O.

Feed it with `receive_request`, `receive_response`, `handle_timer` and the sends; after each call drain `outgoing()`
and `events()` and arm one timer for `next_timer()`. Requests have passed `check`. All that it raises for what the
network sends is SipError, for a response whose Via or CSeq cannot be read.
"""

from collections.abc import Callable
from typing import NamedTuple

from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.transaction import client, server
from vedette.sip.transaction.timers import TimerQueue, Timers
from vedette.sip.via import DEFAULT_PORTS
from vedette.sip.writer import write_response

MergeKey = tuple[str, ...]

# Looking a member up in its class costs as much as a transition.
_SEND, _RESEND, _SEND_TRYING, _START_J = (
    server.Action.SEND, server.Action.RESEND, server.Action.SEND_TRYING, server.Action.START_J
)  # fmt: skip
_RETRANSMIT, _START_K, _REPORT_ERROR = client.Action.RETRANSMIT, client.Action.START_K, client.Action.REPORT_ERROR


class ServerTransaction:
    """A request that has to be answered once; with the final response there, only what tells its copies is kept."""

    __slots__ = ("flow", "key", "merge_key", "request", "response", "state")

    def __init__(self, key: str, merge_key: MergeKey, request: Request, flow: Flow) -> None:
        self.key = key
        self.merge_key = merge_key
        self.request: Request | None = request
        self.flow = flow
        """Where responses go."""
        self.state = server.State.TRYING
        self.response = b""

    @property
    def ongoing(self) -> bool:
        """Whether the final response is still owed."""
        return self.request is not None


class ClientTransaction:
    """A request that we sent; what it carries is dropped at its end, since its timers run on."""

    __slots__ = ("branch", "context", "data", "flow", "interval", "method", "sends", "state")

    def __init__(self, branch: str, method: str, data: bytes, flow: Flow, interval: float, context: object) -> None:
        self.branch = branch
        self.method = method
        self.data = data
        self.flow = flow
        self.interval = interval
        self.context = context
        self.state = client.State.TRYING
        self.sends = 1


class RequestFinished(NamedTuple):
    """A client transaction has come to its end: a final response, or None where there was none in time.

    `transport_error` tells that the request could not be sent, which is no timeout; `context` is what the layer
    above gave to `send_request`.
    """

    transaction: ClientTransaction
    response: Response | None
    transport_error: bool = False
    context: object = None


class TransactionLayer:
    """The set of transactions. `now` is any clock that only goes forward, in seconds."""

    def __init__(self, timers: Timers, *, max_completed: int = 100_000, max_kept: int = 64 * 1024 * 1024) -> None:
        """`max_completed`: finished server transactions kept at most, `max_kept`: octets of their responses.

        The oldest is forgotten first. That costs a repeated request its stored answer, not its effect: requests are
        idempotent behind the edge.
        """
        self.timers = timers
        self._max_completed = max_completed
        self._max_kept = max_kept
        self.kept = 0
        """Octets of the responses of finished server transactions."""
        self._servers: dict[str, ServerTransaction] = {}
        self._merges: dict[MergeKey, ServerTransaction] = {}
        self._clients: dict[str, ClientTransaction] = {}
        self._flows: dict[Flow, dict[str, ClientTransaction]] = {}
        """The client transactions of each flow, by branch."""
        self._server_timers: TimerQueue[ServerTransaction] = TimerQueue()
        self._client_timers: TimerQueue[ClientTransaction] = TimerQueue()
        self._outgoing: list[tuple[Flow, bytes]] = []
        self._events: list[RequestFinished] = []
        self._timeout = timers.transaction_timeout
        self._provisional_after = timers.provisional_after
        self.ongoing = 0
        """Server transactions that still owe a final response."""
        self.retransmissions_absorbed = 0
        self.retransmissions_sent = 0
        self.sent_again: Callable[[ClientTransaction], None] | None = None
        """Told of each request that is sent again."""

    def __len__(self) -> int:
        return len(self._servers) + len(self._clients)

    @property
    def has_work(self) -> bool:
        """Whether there is anything in `outgoing()` or `events()`."""
        return bool(self._outgoing or self._events)

    def outgoing(self) -> list[tuple[Flow, bytes]]:
        """What has to leave now, taken out."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def events(self) -> list[RequestFinished]:
        """What happened for the layer above, taken out."""
        events, self._events = self._events, []
        return events

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None where nothing waits."""
        served, sent = self._server_timers.next_deadline(), self._client_timers.next_deadline()
        if served is None or sent is None:
            return sent if served is None else served
        return min(served, sent)

    # server side

    def receive_request(self, request: Request, source: Flow, now: float) -> ServerTransaction | None:
        """The new transaction of a request that passed `check`, or None: a retransmission, absorbed.

        ACK makes no transaction and must not come here (section 17.1.1.3).
        """
        key = server_key(request)
        known = self._servers.get(key)
        if known is not None:
            self.retransmissions_absorbed += 1
            self._advance_server(known, server.Input.REQUEST, now)
            return None
        merge_key: MergeKey = ()
        if not request.to.tag:
            merge_key = request.from_.tag or "", request.call_id, request.headers.rows["cseq"][0]
        flow = response_flow(request, source)
        transaction = ServerTransaction(key, merge_key, request, flow)
        self._servers[key] = transaction
        self.ongoing += 1
        if merge_key:
            self._merges.setdefault(merge_key, transaction)
        if not flow.reliable:
            self._server_timers.start(self._provisional_after, server.Input.TIMER_PROVISIONAL, transaction, now)
        return transaction

    def is_merged(self, transaction: ServerTransaction) -> bool:
        """Whether another ongoing transaction carries the same request (section 8.2.2.2): answer it with 482."""
        first = self._merges.get(transaction.merge_key) if transaction.merge_key else None
        return first is not None and first is not transaction and first.ongoing

    def find_cancelled(self, cancel: Request) -> ServerTransaction | None:
        """The transaction a CANCEL is for (section 9.2), None where there is none."""
        via = cancel.top_via
        for method in ("PUBLISH", "SUBSCRIBE", "NOTIFY"):
            found = self._servers.get(f"{via.branch}\n{via.sent_by}\n{method}")
            if found is not None:
                return found
        return None

    def respond(self, transaction: ServerTransaction, response: bytes, *, final: bool, now: float) -> None:
        """Send a response; the final one is kept for retransmissions, what comes after it is ignored."""
        happened = server.Input.SEND_FINAL if final else server.Input.SEND_PROVISIONAL
        self._advance_server(transaction, happened, now, response)

    def _advance_server(
        self, transaction: ServerTransaction, happened: server.Input, now: float, response: bytes = b""
    ) -> None:
        transaction.state, actions = server.step(transaction.state, happened)
        for action in actions:
            if action is _SEND:
                transaction.response = response
                self._outgoing.append((transaction.flow, response))
            elif action is _RESEND:
                self._outgoing.append((transaction.flow, transaction.response))
            elif action is _SEND_TRYING:
                self._send_trying(transaction)
            elif action is _START_J:
                self._complete(transaction, now)
        if transaction.state is server.State.TERMINATED:
            self._forget(transaction)

    def _send_trying(self, transaction: ServerTransaction) -> None:
        if transaction.request is not None:
            source = (transaction.flow.host, transaction.flow.port)
            transaction.response = write_response(transaction.request, 100, source=source)
            self._outgoing.append((transaction.flow, transaction.response))

    def _complete(self, transaction: ServerTransaction, now: float) -> None:
        self._settle(transaction)
        if transaction.flow.reliable:
            transaction.state = server.State.TERMINATED
            return
        self.kept += len(transaction.response)
        self._server_timers.start(self._timeout, server.Input.TIMER_J, transaction, now)
        while len(self._servers) - self.ongoing > self._max_completed or self.kept > self._max_kept:
            oldest = self._server_timers.take_oldest(self._timeout, server.Input.TIMER_J)
            if oldest is None:
                break
            self._forget(oldest)

    def _settle(self, transaction: ServerTransaction) -> None:
        """The final response is there, or never will be: the request is not needed any more."""
        if transaction.request is None:
            return
        transaction.request = None
        self.ongoing -= 1
        if transaction.merge_key and self._merges.get(transaction.merge_key) is transaction:
            del self._merges[transaction.merge_key]
        transaction.merge_key = ()

    def _forget(self, transaction: ServerTransaction) -> None:
        if transaction.request is None and not transaction.flow.reliable:
            self.kept -= len(transaction.response)
            transaction.response = b""
        self._settle(transaction)
        if self._servers.get(transaction.key) is transaction:
            del self._servers[transaction.key]

    # client side

    def send_request(
        self, *, branch: str, method: str, data: bytes, flow: Flow, now: float, context: object = None
    ) -> ClientTransaction:
        """Send a request whose top Via has this branch; its end comes out of `events()`."""
        transaction = ClientTransaction(branch, method, data, flow, self.timers.t1, context)
        self._clients[branch] = transaction
        self._flows.setdefault(flow, {})[branch] = transaction
        self._outgoing.append((flow, data))
        if not flow.reliable:
            self._client_timers.start(self.timers.t1, client.Input.TIMER_E, transaction, now)
        self._client_timers.start(self._timeout, client.Input.TIMER_F, transaction, now)
        return transaction

    def receive_response(self, response: Response, now: float) -> bool:
        """Whether the response belongs to a transaction of ours: branch and CSeq method (section 17.1.3)."""
        transaction = self._clients.get(response.branch)
        if transaction is None or response.cseq[1] != transaction.method:
            return False
        happened = client.Input.FINAL if response.status >= 200 else client.Input.PROVISIONAL
        self._advance_client(transaction, happened, now, response)
        return True

    def abandon(self, transaction: ClientTransaction) -> None:
        """Forget a client transaction: no retransmission, no event, its response is nobody's."""
        transaction.state = client.State.TERMINATED
        self._drop(transaction)

    def _drop(self, transaction: ClientTransaction) -> None:
        transaction.data = b""
        transaction.context = None
        if self._clients.get(transaction.branch) is transaction:
            del self._clients[transaction.branch]
        of_flow = self._flows.get(transaction.flow, {})
        if of_flow.get(transaction.branch) is transaction:
            del of_flow[transaction.branch]
            if not of_flow:
                del self._flows[transaction.flow]

    def fail_flow(self, flow: Flow, now: float) -> None:
        """The transport could not send to this flow, or its connection is gone (section 17.1.4)."""
        for transaction in list(self._flows.get(flow, {}).values()):
            self._advance_client(transaction, client.Input.TRANSPORT_ERROR, now)

    def fail_branch(self, branch: str, now: float) -> None:
        """The request with this branch came back from a host where nobody listens; ignored where it is over."""
        transaction = self._clients.get(branch)
        if transaction is not None:
            self._advance_client(transaction, client.Input.TRANSPORT_ERROR, now)

    def fail_request(self, transaction: ClientTransaction, now: float) -> None:
        """The transport could not send this request."""
        self._advance_client(transaction, client.Input.TRANSPORT_ERROR, now)

    def _advance_client(
        self,
        transaction: ClientTransaction,
        happened: client.Input,
        now: float,
        response: Response | None = None,
    ) -> None:
        transaction.state, actions = client.step(transaction.state, happened)
        for action in actions:
            if action is _RETRANSMIT:
                self._retransmit(transaction, now)
            elif action is _START_K:
                transaction.data = b""
                if transaction.flow.reliable:
                    transaction.state = client.State.TERMINATED
                else:
                    self._client_timers.start(self.timers.t4, client.Input.TIMER_K, transaction, now)
            else:
                failed = action is _REPORT_ERROR
                self._events.append(RequestFinished(transaction, response, failed, transaction.context))
                transaction.context = None
        if transaction.state is client.State.TERMINATED:
            self._drop(transaction)

    def _retransmit(self, transaction: ClientTransaction, now: float) -> None:
        if transaction.state is client.State.PROCEEDING:
            transaction.interval = self.timers.t2
        else:
            transaction.interval = min(2 * transaction.interval, self.timers.t2)
        transaction.sends += 1
        self.retransmissions_sent += 1
        if self.sent_again is not None:
            self.sent_again(transaction)
        self._outgoing.append((transaction.flow, transaction.data))
        self._client_timers.start(transaction.interval, client.Input.TIMER_E, transaction, now)

    # time

    def handle_timer(self, now: float) -> None:
        """Time has passed: carry out every timer that has ended, and still matters."""
        for kind, served in self._server_timers.expired(now):
            if (served.state, kind) in server.TRANSITIONS:
                self._advance_server(served, server.Input(kind), now)
        for kind, sent in self._client_timers.expired(now):
            if (sent.state, kind) in client.TRANSITIONS:
                self._advance_client(sent, client.Input(kind), now)


def server_key(request: Request) -> str:
    """What identifies the transaction of a request (section 17.2.3); without the cookie as RFC 2543 had it.

    One string, of which many are kept; no part of it has a line feed, which ends it.
    """
    via = request.top_via
    if via.has_cookie:
        return f"{via.branch}\n{via.sent_by}\n{request.method}"
    parts = (
        request.uri,
        request.to.tag or "",
        request.from_.tag or "",
        request.call_id,
        request.headers.rows["cseq"][0],
        via.text,
    )
    return "\n".join(parts)


def response_flow(request: Request, source: Flow) -> Flow:
    """Where responses to a request from `source` go (section 18.2.2, RFC 3581 section 4).

    On a stream back on the connection. On UDP to the source address, at its port with `rport` and at the sent-by
    port without. `maddr` is not obeyed: it would let anybody point our responses at a third party.
    """
    if source.reliable:
        return source
    via = request.top_via
    port = via.port or DEFAULT_PORTS["UDP"]
    if port == source.port or "rport" in via.parameters:
        return source
    return Flow(source.transport, source.host, port)
