"""The gate: what strangers send too much of is turned away before it is read."""

import time
from collections.abc import Callable

from sip_edge.domain.ban_rules import EXCESS_WEIGHT
from sip_edge.domain.request_rates import CONNECTION_COST, RequestRates, Verdict
from sip_edge.domain.turned_away import TurnedAway
from sip_edge.flows.banning import Banning
from vedette.sip.errors import NotSipError, SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request
from vedette.sip.reader import read_message

_RESPONSE = b"SIP/2.0 "


class Gate:
    """The doorkeeper of the endpoint (see `vedette.transport.doorkeeper`)."""

    def __init__(
        self, rates: RequestRates, banning: Banning, counted: TurnedAway, refuse: Callable[[Request, Flow], None]
    ) -> None:
        """`refuse` answers a request that came too soon."""
        self._rates = rates
        self._banning = banning
        self._counted = counted
        self._refuse = refuse

    @property
    def watches(self) -> bool:
        """Whether there is anybody to keep out."""
        return bool(self._rates.rate) or self._banning.has_bans

    def lets_in(self, data: bytes, flow: Flow) -> bool:
        """Whether a message from there is to be read. Responses are, unless it is banned: NOTIFYs wait for them."""
        if self._banning.has_bans and self._banning.bars(flow.host, datagram=not flow.reliable):
            self._counted.banned_messages += 1
            return False
        if data.startswith(_RESPONSE):
            return True
        verdict = self._rates.take(flow.host, time.monotonic())
        if verdict is Verdict.WITHIN:
            return True
        if verdict is Verdict.REFUSE:
            self._tell(data, flow)
            self._banning.offence(flow, EXCESS_WEIGHT, "too many requests")
        else:
            self._counted.rate_dropped += 1
        return False

    def admits(self, host: str) -> bool:
        """Whether a connection from there may be opened."""
        if self._banning.has_bans and self._banning.bars(host, datagram=False):
            self._counted.banned_connections += 1
            return False
        if self._rates.take(host, time.monotonic(), CONNECTION_COST) is not Verdict.WITHIN:
            self._counted.rate_connections += 1
            return False
        return True

    def unreadable(self, flow: Flow) -> None:
        """What has come from there is nothing that could be read."""
        self._banning.garbage(flow)

    def _tell(self, data: bytes, flow: Flow) -> None:
        """Answer a request over the rate; what is none, or cannot be answered, is dropped like the others."""
        try:
            message = read_message(data)
            if isinstance(message, Request) and message.method != "ACK":
                message.check()
                self._refuse(message, flow)
                self._counted.rate_refused += 1
                return
        except (SipError, NotSipError):
            pass
        self._counted.rate_dropped += 1
