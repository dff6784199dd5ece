"""The edge as the user of its SIP endpoint."""

from sip_edge.flows.foreign_responses import ForeignResponses
from sip_edge.flows.notifies import NotifySender
from sip_edge.flows.requests import RequestFlow
from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.transaction.layer import RequestFinished
from vedette.transport.endpoint import Endpoint


class Edge:
    """Hands what the endpoint receives to the flow that it belongs to."""

    def __init__(self, requests: RequestFlow, notifies: NotifySender, foreign: ForeignResponses) -> None:
        self._requests = requests
        self._notifies = notifies
        self._foreign = foreign
        self._endpoint: Endpoint | None = None

    def attach(self, endpoint: Endpoint) -> None:
        """The endpoint whose user this is."""
        self._endpoint = endpoint
        endpoint.layer.sent_again = self._notifies.sent_again

    def endpoint(self) -> Endpoint:
        """The endpoint; `attach` comes first."""
        if self._endpoint is None:
            raise RuntimeError("the edge has no endpoint yet")
        return self._endpoint

    def request_received(self, request: Request, flow: Flow) -> None:
        """A request from the network."""
        self._requests.received(self.endpoint(), request, flow)

    def request_refused(self, request: Request, flow: Flow) -> None:
        """A request from a source that sends too many."""
        self._requests.refuse_for_now(self.endpoint(), request, flow)

    def request_finished(self, finished: RequestFinished) -> None:
        """A NOTIFY has ended."""
        self._notifies.finished(finished)

    def stray_response(self, response: Response, data: bytes, flow: Flow) -> None:
        """A response to another process's NOTIFY, or to none."""
        self._foreign.pass_on(response, data, flow)
