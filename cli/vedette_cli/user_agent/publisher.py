"""A publication as its publisher keeps it (RFC 3903 section 4)."""

import secrets

from vedette.sip.grammar import parse_delta_seconds
from vedette.sip.message import Response
from vedette_cli.user_agent.agent import UserAgent

PIDF_TYPE = "application/pidf+xml"


class RefusedError(Exception):
    """The server refused, and trying again the same way is no use; `response` is its answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status} {response.reason}")
        self.response = response


class Publisher:
    """One publication: initial, refresh, modify, remove."""

    def __init__(self, agent: UserAgent, aor: str, *, event: str = "presence") -> None:
        self._agent = agent
        self._aor = aor
        self._event = event
        self._call_id = secrets.token_hex(12)
        self._from_tag = secrets.token_hex(6)
        self._cseq = 0
        self.etag: str | None = None
        """The entity tag, None while nothing is published."""
        self.expires = 0
        """Seconds granted by the last answer."""

    async def publish(self, document: bytes, expires: int, *, content_type: str = PIDF_TYPE) -> Response:
        """Publish a document, over the one before it. Raises RefusedError, NoAnswerError.

        A publication that the server has forgotten (412) is made anew; an interval that it finds too brief (423)
        becomes the one that it names.
        """
        response = await self._send(document, expires, content_type)
        if response.status == 412 and self.etag is not None:
            self.etag = None
            response = await self._send(document, expires, content_type)
        if response.status == 423:
            expires = parse_delta_seconds(response.headers.get("min-expires") or "", "Min-Expires")
            response = await self._send(document, expires, content_type)
        return self._keep(response)

    async def refresh(self, expires: int) -> Response:
        """Extend the publication. Raises RefusedError (412: it is gone), NoAnswerError."""
        return self._keep(await self._send(b"", expires, None))

    async def remove(self) -> Response:
        """Remove the publication. Raises RefusedError, NoAnswerError."""
        response = self._keep(await self._send(b"", 0, None))
        self.etag = None
        return response

    def _keep(self, response: Response) -> Response:
        if not 200 <= response.status < 300:
            raise RefusedError(response)
        self.etag = response.headers.get("sip-etag")
        self.expires = parse_delta_seconds(response.headers.get("expires") or "0", "Expires")
        return response

    async def _send(self, body: bytes, expires: int, content_type: str | None) -> Response:
        headers = [
            ("From", f"<{self._aor}>;tag={self._from_tag}"),
            ("To", f"<{self._aor}>"),
            ("Call-ID", self._call_id),
            ("Event", self._event),
            ("Expires", str(expires)),
        ]
        if self.etag is not None:
            headers.append(("SIP-If-Match", self.etag))
        if body and content_type is not None:
            headers.append(("Content-Type", content_type))
        response, self._cseq = await self._agent.request(
            "PUBLISH", self._aor, headers, cseq=self._cseq + 1, body=body
        )
        return response
