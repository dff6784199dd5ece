"""One SIP user: requests with digest, dialogs for NOTIFY."""

import asyncio
import contextlib
import itertools
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from vedette import VERSION
from vedette.sip.address import parse_address
from vedette.sip.digest import Credentials, authorize, choose
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.transaction.layer import RequestFinished
from vedette.sip.transaction.timers import Timers
from vedette.sip.writer import Header, write_request, write_response
from vedette.transport.endpoint import Endpoint
from vedette.transport.tls import TlsContexts

NotifyHandler = Callable[[Request], int]
"""Gets a NOTIFY of its dialog and returns the status to answer."""


class NoAnswerError(Exception):
    """The server did not answer in time, or could not be reached."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go."""

    host: str
    port: int
    transport: str = "udp"

    @property
    def host_and_port(self) -> str:
        """As a URI has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.host_and_port} ({self.transport})"


class UserAgent:
    """Use as an async context manager; the sockets close at its end."""

    def __init__(
        self,
        server: Server,
        *,
        credentials: Credentials | None = None,
        timers: Timers | None = None,
        patience: float = 32.0,
        tls: TlsContexts | None = None,
    ) -> None:
        """`patience`: seconds until a request without an answer is given up, at most Timer F; `tls`: for TLS."""
        self.server = server
        self._credentials = credentials
        self._timers = timers or Timers()
        self._patience = patience
        self._tls = tls
        self._notify_handlers: dict[tuple[str, str], NotifyHandler] = {}
        self._numbers = itertools.count(1)
        self._counts: dict[str, int] = {}
        self._endpoint: Endpoint | None = None
        self._address = ""
        self._server_address = ""

    async def __aenter__(self) -> Self:
        self._server_address = await _resolve(self.server)
        local = _local_address(self._server_address, self.server.port)
        self._endpoint = Endpoint(self, self._timers, tls=self._tls)
        await self._endpoint.open(local, 0)
        host, port = self._endpoint.address
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._endpoint is not None:
            await self._endpoint.close()

    @property
    def address(self) -> str:
        """Our host:port."""
        return self._address

    def contact(self, user: str) -> str:
        """A Contact URI that reaches us by the transport in use."""
        transport = "" if self.server.transport == "udp" else f";transport={self.server.transport}"
        return f"sip:{user}@{self._address}{transport}"

    def listen(self, call_id: str, tag: str, handler: NotifyHandler) -> None:
        """Have `handler` get the NOTIFYs with that Call-ID and To-tag."""
        self._notify_handlers[call_id, tag] = handler

    def forget(self, call_id: str, tag: str) -> None:
        """NOTIFYs of that dialog get 481 from now on."""
        self._notify_handlers.pop((call_id, tag), None)

    async def keep_open(self, every: float) -> None:
        """Ask the server for its OPTIONS every so many seconds, for ever.

        What stands between (NAT, Docker's proxy) forgets a UDP client to whom nobody sends anything for a while, and
        then lets no NOTIFY through (RFC 5626 section 4.4 has the problem; OPTIONS works with every server).
        """
        call_id, tag = secrets.token_hex(12), secrets.token_hex(6)
        for number in itertools.count(1):
            await asyncio.sleep(every)
            headers = [
                ("From", f"<sip:{self._address}>;tag={tag}"),
                ("To", f"<sip:{self.server.host_and_port}>"),
                ("Call-ID", call_id),
            ]
            with contextlib.suppress(NoAnswerError, SipError):
                await self.request("OPTIONS", f"sip:{self.server.host_and_port}", headers, cseq=number)

    async def request(
        self, method: str, uri: str, headers: Sequence[Header], *, cseq: int, body: bytes = b""
    ) -> tuple[Response, int]:
        """The final response and the CSeq it belongs to; a challenge is answered once, with the next CSeq.

        `headers` lacks Via, CSeq and Max-Forwards. Raises NoAnswerError.
        """
        response = await self._send(method, uri, [*headers], cseq, body)
        if response.status not in {401, 407} or self._credentials is None:
            return response, cseq
        asked, answered = (
            ("www-authenticate", "Authorization")
            if response.status == 401
            else ("proxy-authenticate", "Proxy-Authorization")
        )
        challenge = choose(response.headers.all(asked))
        if challenge is None:
            return response, cseq
        count = self._counts[challenge.nonce] = self._counts.get(challenge.nonce, 0) + 1
        value = authorize(
            challenge,
            self._credentials,
            method=method,
            uri=uri,
            body=body,
            cnonce=secrets.token_hex(8),
            count=count,
        )
        return await self._send(method, uri, [*headers, (answered, value)], cseq + 1, body), cseq + 1

    async def _send(self, method: str, uri: str, headers: list[Header], cseq: int, body: bytes) -> Response:
        endpoint = self._open_endpoint()
        branch = f"z9hG4bK{secrets.token_hex(8)}.{next(self._numbers)}"
        transport = self.server.transport
        via = f"SIP/2.0/{transport.upper()} {self._address};branch={branch};rport"
        data = write_request(
            method,
            uri,
            [
                ("Via", via),
                ("Max-Forwards", "70"),
                *headers,
                ("CSeq", f"{cseq} {method}"),
                ("User-Agent", f"vedette/{VERSION}"),
            ],
            body,
        )
        future: asyncio.Future[RequestFinished] = asyncio.get_running_loop().create_future()
        name = self.server.host if transport == "tls" else ""
        flow = Flow(transport, self._server_address, self.server.port, name=name)
        transaction = endpoint.send_request(branch=branch, method=method, data=data, flow=flow, context=future)
        try:
            async with asyncio.timeout(self._patience):
                finished = await future
        except TimeoutError:
            endpoint.layer.abandon(transaction)
            raise NoAnswerError(f"no answer from {self.server} within {self._patience:g} seconds") from None
        if finished.response is None:
            problem = "cannot reach" if finished.transport_error else "no answer from"
            raise NoAnswerError(f"{problem} {self.server}")
        return finished.response

    def _open_endpoint(self) -> Endpoint:
        if self._endpoint is None:
            raise RuntimeError("the user agent is not open")
        return self._endpoint

    # told by the endpoint

    def request_received(self, request: Request, flow: Flow) -> None:
        """A request from the server."""
        endpoint = self._open_endpoint()
        with contextlib.suppress(SipError):
            request.check()
            if request.method == "ACK":
                return
            transaction = endpoint.begin(request, flow)
            if transaction is None:
                return
            status = self._answer(request)
            source = (transaction.flow.host, transaction.flow.port)
            endpoint.respond(transaction, write_response(request, status, source=source, to_tag="ua"))

    def _answer(self, request: Request) -> int:
        if request.method == "OPTIONS":
            return 200
        if request.method != "NOTIFY":
            return 405
        handler = self._notify_handlers.get((request.call_id, request.to.tag or ""))
        return 481 if handler is None else handler(request)

    def request_finished(self, finished: RequestFinished) -> None:
        """A request of ours has ended."""
        future = finished.context
        if isinstance(future, asyncio.Future) and not future.done():
            future.set_result(finished)

    def stray_response(self, response: Response, data: bytes, flow: Flow) -> None:
        """A response that we do not wait for any more."""


async def _resolve(server: Server) -> str:
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise NoAnswerError(f"cannot find {server.host}: {error.strerror}") from None
    except UnicodeError:
        raise NoAnswerError(f"cannot find {server.host}: no host has such a name") from None
    return str(infos[0][4][0])


def _local_address(host: str, port: int) -> str:
    """The address that packets to the server leave from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except OSError as error:
            raise NoAnswerError(f"cannot reach {host}: {error.strerror}") from None
        return str(probe.getsockname()[0])


def remote_tag(response: Response) -> str:
    """The To-tag of a response."""
    return response.to.tag or ""


def contact_uri(response: Response) -> str | None:
    """The Contact URI of a response, None where there is none."""
    value = response.headers.get("contact")
    return None if value is None else parse_address(value, "Contact").uri
