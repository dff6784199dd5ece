"""A transaction layer on a clock that a test moves."""

from tests.unit.sip.messages import changed, wire
from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.reader import read_message
from vedette.sip.transaction.layer import ClientTransaction, RequestFinished, ServerTransaction, TransactionLayer
from vedette.sip.transaction.timers import Timers

UDP = Flow("udp", "192.0.2.10", 5062)
TCP = Flow("tcp", "192.0.2.10", 40000, 3)


class Clocked:
    """A layer, the time, and what left it at which time."""

    def __init__(self, *, max_completed: int = 100_000) -> None:
        self.layer = TransactionLayer(Timers(), max_completed=max_completed)
        self.now = 0.0
        self.sent: list[tuple[float, Flow, bytes]] = []
        self.finished: list[RequestFinished] = []

    def drain(self) -> list[bytes]:
        """What leaves now."""
        outgoing = self.layer.outgoing()
        self.sent += [(round(self.now, 6), flow, data) for flow, data in outgoing]
        self.finished += self.layer.events()
        return [data for _, data in outgoing]

    def advance(self, until: float) -> None:
        """Let time pass, timer by timer, as an endpoint does."""
        while (deadline := self.layer.next_timer()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.layer.handle_timer(self.now)
            self.drain()
        self.now = until

    def times(self) -> list[float]:
        """When something was sent."""
        return [when for when, _, _ in self.sent]

    def receive(self, asked: Request, source: Flow = UDP) -> ServerTransaction | None:
        """A request arrives."""
        return self.layer.receive_request(asked, source, self.now)

    def respond(self, transaction: ServerTransaction, data: bytes = b"final", *, final: bool = True) -> None:
        """The layer above answers."""
        self.layer.respond(transaction, data, final=final, now=self.now)

    def send(self, branch: str = "z9hG4bKn1", *, flow: Flow = UDP, context: object = None) -> ClientTransaction:
        """A NOTIFY leaves."""
        return self.layer.send_request(
            branch=branch, method="NOTIFY", data=b"NOTIFY", flow=flow, now=self.now, context=context
        )

    def answer(self, status: int = 200, branch: str = "z9hG4bKn1", method: str = "NOTIFY") -> bool:
        """A response arrives; whether it was ours."""
        return self.layer.receive_response(notify_response(status, branch, method), self.now)


def notify_response(status: int = 200, branch: str = "z9hG4bKn1", method: str = "NOTIFY") -> Response:
    """A response to a NOTIFY of ours."""
    rows = changed(("Via", f"SIP/2.0/UDP 192.0.2.1;branch={branch}"), ("CSeq", f"1 {method}"))
    message = read_message(wire(rows, start=f"SIP/2.0 {status} X"))
    assert isinstance(message, Response)
    return message
