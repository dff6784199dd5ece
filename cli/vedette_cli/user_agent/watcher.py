"""A subscription as its subscriber keeps it (RFC 6665 section 4.1)."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from vedette.sip.errors import SipError
from vedette.sip.grammar import parse_delta_seconds, parse_parameters
from vedette.sip.message import Request, Response
from vedette_cli.user_agent.agent import UserAgent, contact_uri, remote_tag
from vedette_cli.user_agent.publisher import RefusedError

PIDF_TYPE = "application/pidf+xml"


@dataclass(frozen=True, slots=True)
class Notification:
    """What one NOTIFY said."""

    cseq: int
    state: str
    """`active`, `pending` or `terminated`."""
    expires: int | None
    reason: str | None
    retry_after: int | None
    content_type: str | None
    body: bytes


class Watcher:
    """One subscription: subscribe, refresh, unsubscribe, and every NOTIFY in the order of its CSeq."""

    def __init__(
        self,
        agent: UserAgent,
        target: str,
        watcher: str,
        on_notify: Callable[[Notification], None],
        *,
        event: str = "presence",
        accept: str | None = PIDF_TYPE,
    ) -> None:
        self._agent = agent
        self._target = target
        self._watcher = watcher
        self._on_notify = on_notify
        self._event = event
        self._accept = accept
        self.call_id = secrets.token_hex(12)
        self.from_tag = secrets.token_hex(6)
        self._to_tag: str | None = None
        self._remote_target: str | None = None
        self._cseq = 0
        self._remote_cseq = 0
        self.expires = 0
        """Seconds granted by the last answer."""
        self.terminated = False
        """Whether a NOTIFY has ended the subscription."""
        agent.listen(self.call_id, self.from_tag, self._notified)

    async def subscribe(self, expires: int) -> Response:
        """Subscribe, or refresh in the dialog. Raises RefusedError, NoAnswerError.

        An interval that the server finds too brief (423) becomes the one that it names.
        """
        response = await self._send(expires)
        if response.status == 423:
            expires = parse_delta_seconds(response.headers.get("min-expires") or "", "Min-Expires")
            response = await self._send(expires)
        if not 200 <= response.status < 300:
            raise RefusedError(response)
        self._to_tag = remote_tag(response)
        self._remote_target = contact_uri(response) or self._remote_target
        self.expires = parse_delta_seconds(response.headers.get("expires") or "0", "Expires")
        return response

    async def unsubscribe(self) -> Response:
        """End the subscription; the last NOTIFY follows. Raises RefusedError, NoAnswerError."""
        return await self.subscribe(0)

    def close(self) -> None:
        """Answer no NOTIFY of this subscription any more."""
        self._agent.forget(self.call_id, self.from_tag)

    async def _send(self, expires: int) -> Response:
        user = self._watcher.partition(":")[2].partition("@")[0] or "watcher"
        to = f"<{self._target}>" + (f";tag={self._to_tag}" if self._to_tag else "")
        headers = [
            ("From", f"<{self._watcher}>;tag={self.from_tag}"),
            ("To", to),
            ("Call-ID", self.call_id),
            ("Contact", f"<{self._agent.contact(user)}>"),
            ("Event", self._event),
            ("Expires", str(expires)),
        ]
        if self._accept is not None:
            headers.append(("Accept", self._accept))
        uri = self._remote_target if self._to_tag and self._remote_target else self._target
        response, self._cseq = await self._agent.request("SUBSCRIBE", uri, headers, cseq=self._cseq + 1)
        return response

    def _notified(self, request: Request) -> int:
        number = request.cseq[0]
        if number <= self._remote_cseq:
            return 500  # out of order (RFC 3261 section 12.2.2)
        try:
            notification = read_notification(request)
        except SipError:
            return 400
        self._remote_cseq = number
        if self._to_tag is None:
            self._to_tag = request.from_.tag  # the NOTIFY has overtaken the 2xx (RFC 6665 section 4.1.2.4)
        self.terminated = notification.state == "terminated"
        self._on_notify(notification)
        return 200


def read_notification(request: Request) -> Notification:
    """What the NOTIFY says; SipError where Subscription-State is missing or malformed."""
    state, _, rest = request.headers.required("subscription-state").partition(";")
    parameters = parse_parameters(f";{rest}" if rest else "", "Subscription-State")
    expires, retry_after = (parameters.get(name) for name in ("expires", "retry-after"))
    return Notification(
        cseq=request.cseq[0],
        state=state.strip().lower(),
        expires=None if expires is None else parse_delta_seconds(expires, "Subscription-State"),
        reason=parameters.get("reason"),
        retry_after=None if retry_after is None else parse_delta_seconds(retry_after, "Subscription-State"),
        content_type=request.headers.get("content-type"),
        body=request.body,
    )
