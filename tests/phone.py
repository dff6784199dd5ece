"""A user agent that does exactly what a test tells it, over its own few lines of SIP.

It shares no code with the stack under test: what it reads, another implementation would read as well.
"""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import pytest

from tests.running_set import RunningSet
from tests.websocket import BINARY, PING, PONG, TEXT, WebSocketClient, frame

PATIENCE = 25.0
"""Seconds; only a failure uses them up."""

COMPACT = {
    "v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "c": "content-type", "l": "content-length",
    "o": "event", "u": "allow-events", "k": "supported", "e": "content-encoding", "s": "subject",
}  # fmt: skip


@dataclass
class Message:
    """A message as text: start line, headers in order, body."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes
    raw: bytes = b""

    @classmethod
    def read(cls, raw: bytes) -> "Message":
        """Split it; no header of ours may be folded."""
        head, separator, body = raw.partition(b"\r\n\r\n")
        assert separator, raw
        start, *lines = head.decode().split("\r\n")
        headers = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, line
            headers.append((COMPACT.get(name.strip().lower(), name.strip().lower()), value.strip()))
        return cls(start, headers, body, raw)

    def all(self, name: str) -> list[str]:
        """The values of a header, one for each row."""
        return [value for key, value in self.headers if key == name.lower()]

    def get(self, name: str) -> str | None:
        """The only value of a header, None where there is none."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        assert value is not None, f"no {name} in\n{self.raw.decode(errors='replace')}"
        return value

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def status(self) -> int:
        """Of a response."""
        assert self.start.startswith("SIP/2.0 "), self.start
        return int(self.start.split(" ")[1])

    @property
    def method(self) -> str:
        """Of a request."""
        return self.start.split(" ")[0]

    @property
    def is_response(self) -> bool:
        """Whether it is one."""
        return self.start.startswith("SIP/2.0 ")

    @property
    def branch(self) -> str:
        """Of the top Via."""
        return parameter(self.all("via")[0], "branch") or ""

    @property
    def to_tag(self) -> str | None:
        """The tag of To."""
        return parameter(self["to"], "tag")

    @property
    def state(self) -> str:
        """The word of Subscription-State."""
        return self["subscription-state"].split(";")[0]


def parameter(value: str, name: str) -> str | None:
    """A header parameter, None where absent."""
    for part in value.rsplit(">", maxsplit=1)[-1].split(";")[1:]:
        key, _, text = part.strip().partition("=")
        if key.lower() == name:
            return text
    return None


def token(prefix: str = "") -> str:
    """Something nobody has used before."""
    return prefix + secrets.token_hex(8)


def pidf(
    entity: str = "sip:alice@example.com", *, basic: str = "open", tuple_id: str = "t1", note: str = ""
) -> bytes:
    """A small presence document."""
    text = f"<note>{note}</note>" if note else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{entity}"><tuple id="{tuple_id}">'
        f"<status><basic>{basic}</basic></status>{text}</tuple></presence>"
    ).encode()


def host_port(host: str, port: int) -> str:
    """As URIs and Via have it: no port where it is 0, as that of a browser."""
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host


@dataclass
class Dialog:
    """What a watcher remembers of a subscription."""

    presentity: str
    call_id: str
    from_tag: str
    cseq: int
    to_tag: str = ""
    target: str = ""
    routes: list[str] = field(default_factory=list)


Answer = Callable[[Message], "int | bytes | Awaitable[int | bytes | None] | None"]


class Phone:
    """One socket. Responses go to who waits for the branch; requests are answered by `answer` and queued.

    What it has answered finally it answers again as a transaction does, whoever asks for it: on a busy machine an
    answer may take longer than Timer E, and no test depends on that. Requests that it leaves unanswered are seen
    each time that they come.
    """

    def __init__(
        self, server: tuple[str, int], transport: str, user: str, context: ssl.SSLContext | None = None
    ) -> None:
        """`context` is for the transports with TLS."""
        self.server = server
        self.context = context
        self.transport = transport
        self.user = user
        self.aor = f"sip:{user}@example.com"
        self.local: tuple[str, int] = ("", 0)
        self.source: str | None = None
        """The address that we send from, where it is not left to the system."""
        self.advertised: tuple[str, int] | None = None
        """Where others reach us, if that is not where we are."""
        self.answer: Answer = lambda _: 200
        self.requests: asyncio.Queue[Message] = asyncio.Queue()
        self.received: list[Message] = []
        """Everything that came, in order; without what came again because one of us two was slow."""
        self._answers: dict[bytes, bytes | None] = {}
        """To each request its final answer, None while it is not known."""
        self._repeated: set[str] = set()
        """Branches of the requests that `request` has sent more than once."""
        self._responses: dict[str, asyncio.Queue[Message]] = {}
        self._datagrams: asyncio.DatagramTransport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._websocket: WebSocketClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = asyncio.Event()

    async def open(self) -> None:
        """Bind, and connect where the transport has connections."""
        if self.transport == "udp":
            phone = self

            class Protocol(asyncio.DatagramProtocol):
                def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                    phone._take(data)

            loop = asyncio.get_running_loop()
            self._datagrams, _ = await loop.create_datagram_endpoint(
                Protocol, remote_addr=self.server, local_addr=(self.source, 0) if self.source else None
            )
            self.local = self._datagrams.get_extra_info("sockname")[:2]
        elif self.transport in ("ws", "wss"):
            self._websocket = await WebSocketClient.connect(self.server, self.context)
            self._writer = self._websocket.writer
            self.local = (f"{token('h')}.invalid", 0)
            await self._websocket.open()
            self._spawn(self._read_frames(self._websocket))
        else:
            reader, self._writer = await asyncio.open_connection(
                *self.server, ssl=self.context, local_addr=(self.source, 0) if self.source else None
            )
            self.local = self._writer.get_extra_info("sockname")[:2]
            self._spawn(self._read_stream(reader))

    def abort(self) -> None:
        """Break the connection."""
        assert self._writer is not None
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the socket; nobody answers any more."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._datagrams is not None:
            self._datagrams.close()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def stop_reading(self) -> None:
        """Leave in the socket what comes from now on (TCP); answer nothing any more."""
        for task in list(self._tasks):
            task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        # Not wrapped in another: a task cancelled before its first step would leave the inner coroutine unawaited.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read_stream(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head == b"\r\n\r\n":
                    continue
                message = Message.read(head.lstrip(b"\r\n"))
                self._take(head.lstrip(b"\r\n") + await reader.readexactly(int(message["content-length"])))
        except (asyncio.IncompleteReadError, OSError):
            self.closed.set()

    async def _read_frames(self, websocket: WebSocketClient) -> None:
        try:
            while True:
                opcode, data = await websocket.frame()
                if opcode in (TEXT, BINARY):
                    self._take(data)
                elif opcode == PING:
                    websocket.send(frame(PONG, data))
        except (asyncio.IncompleteReadError, OSError):
            self.closed.set()

    def _take(self, data: bytes) -> None:
        if not data.strip(b"\r\n"):
            return
        message = Message.read(data)
        if message.is_response:
            branch = message.branch if any(name == "via" for name, _ in message.headers) else ""
            if branch not in self._repeated or all(data != earlier.raw for earlier in self.received):
                self.received.append(message)
            self._responses.setdefault(branch, asyncio.Queue()).put_nowait(message)
        elif data not in self._answers:
            self.received.append(message)
            self.requests.put_nowait(message)
            self._answers[data] = None
            self._spawn(self._answer(message))
        elif known := self._answers[data]:
            self.send(known)

    async def _answer(self, request: Message) -> None:
        answer = self.answer(request)
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer is not None:
            data = answer if isinstance(answer, bytes) else self.response(request, answer)
            self.send(data)
            if not data.startswith(b"SIP/2.0 1"):
                self._answers[request.raw] = data
                return
        del self._answers[request.raw]

    def response(self, request: Message, status: int, *extra: str) -> bytes:
        """A response to a request; To gets our tag where it has none."""
        rows = [f"SIP/2.0 {status} Whatever"]
        for name, value in request.headers:
            if name in ("via", "from", "call-id", "cseq"):
                rows.append(f"{name}: {value}")
            elif name == "to":
                rows.append(f"to: {value}" + ("" if parameter(value, "tag") else f";tag={self.user}"))
        return "\r\n".join([*rows, *extra, "content-length: 0", "", ""]).encode()

    # sending

    def send(self, data: bytes) -> None:
        """Put octets on the wire as they are."""
        if self._datagrams is not None:
            self._datagrams.sendto(data)
        elif self._websocket is not None:
            self._websocket.send(frame(TEXT, data))
        else:
            assert self._writer is not None
            self._writer.write(data)

    @property
    def contact(self) -> str:
        """Where we are."""
        suffix = "" if self.transport == "udp" else f";transport={self.transport.replace('wss', 'ws')}"
        return f"<sip:{self.user}@{host_port(*(self.advertised or self.local))}{suffix}>"

    def via(self, branch: str | None = None) -> str:
        """A Via of ours with a new branch."""
        return f"SIP/2.0/{self.transport.upper()} {host_port(*self.local)};branch={branch or token('z9hG4bK')};rport"

    def build(self, method: str, uri: str, headers: list[str], body: bytes = b"") -> bytes:
        """Octets of a request; the headers as given, Content-Length added."""
        rows = [f"{method} {uri} SIP/2.0", *headers, f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(rows).encode() + body

    def publish(
        self,
        uri: str | None = None,
        *,
        body: bytes = b"",
        expires: int | str | None = 600,
        if_match: str | None = None,
        event: str | None = "presence",
        content_type: str | None = "application/pidf+xml",
        extra: tuple[str, ...] = (),
        cseq: int = 1,
        call_id: str | None = None,
        branch: str | None = None,
    ) -> bytes:
        """A PUBLISH."""
        uri = uri or self.aor
        headers = [
            f"Via: {self.via(branch)}",
            "Max-Forwards: 70",
            f"From: <{uri}>;tag={token()}",
            f"To: <{uri}>",
            f"Call-ID: {call_id or token()}",
            f"CSeq: {cseq} PUBLISH",
            *([f"Event: {event}"] if event is not None else []),
            *([f"Expires: {expires}"] if expires is not None else []),
            *([f"SIP-If-Match: {if_match}"] if if_match is not None else []),
            *([f"Content-Type: {content_type}"] if body and content_type is not None else []),
            *extra,
        ]
        return self.build("PUBLISH", uri, headers, body)

    def subscribe(
        self,
        dialog: Dialog,
        *,
        expires: int | str | None = 600,
        event: str | None = "presence",
        accept: str | None = "application/pidf+xml",
        extra: tuple[str, ...] = (),
        body: bytes = b"",
        contact: str | None = None,
        branch: str | None = None,
    ) -> bytes:
        """A SUBSCRIBE with the dialog's CSeq.

        Whoever watches a mailbox, or who watches, does so as the presentity: nobody else may.
        """
        own = event is not None and (event == "message-summary" or event.endswith(".winfo"))
        to = f"<{dialog.presentity}>" + (f";tag={dialog.to_tag}" if dialog.to_tag else "")
        headers = [
            f"Via: {self.via(branch)}",
            "Max-Forwards: 70",
            f"From: <{dialog.presentity if own else self.aor}>;tag={dialog.from_tag}",
            f"To: {to}",
            f"Call-ID: {dialog.call_id}",
            f"CSeq: {dialog.cseq} SUBSCRIBE",
            f"Contact: {contact or self.contact}",
            *([f"Event: {event}"] if event is not None else []),
            *([f"Expires: {expires}"] if expires is not None else []),
            *([f"Accept: {accept}"] if accept is not None else []),
            *[f"Route: {route}" for route in dialog.routes],
            *extra,
        ]
        return self.build("SUBSCRIBE", dialog.target or dialog.presentity, headers, body)

    def dialog(self, presentity: str) -> Dialog:
        """A dialog that is not there yet."""
        return Dialog(presentity, token(), token(), 1)

    # waiting

    async def request(self, data: bytes) -> Message:
        """Send a request, over UDP again each half second; its final response."""
        branch = Message.read(data.split(b"\r\n\r\n")[0] + b"\r\n\r\n").branch
        sent = False
        async with asyncio.timeout(PATIENCE):
            while True:
                self.send(data)
                if sent:
                    self._repeated.add(branch)
                sent = True
                with contextlib.suppress(TimeoutError):
                    while True:
                        response = await self.next_response(branch, 0.5 if self.transport == "udp" else PATIENCE)
                        if response.status >= 200:
                            return response

    async def next_response(self, branch: str, patience: float = PATIENCE) -> Message:
        """The next response of a transaction; TimeoutError where none comes."""
        queue = self._responses.setdefault(branch, asyncio.Queue())
        return await asyncio.wait_for(queue.get(), patience)

    async def next_request(self, patience: float = PATIENCE) -> Message:
        """The next request that came; TimeoutError where none comes."""
        return await asyncio.wait_for(self.requests.get(), patience)

    async def next_notify(self, patience: float = PATIENCE) -> Message:
        """The next NOTIFY."""
        request = await self.next_request(patience)
        assert request.method == "NOTIFY", request.start
        return request

    async def notify_where(self, check: Callable[[Message], bool]) -> Message:
        """The next NOTIFY for which `check` holds; others are passed over."""
        async with asyncio.timeout(PATIENCE):
            while True:
                notify = await self.next_notify()
                if check(notify):
                    return notify

    def nothing_waits(self) -> bool:
        """Whether every request that came was taken out."""
        return self.requests.empty()

    # whole exchanges

    async def published(self, uri: str | None = None, *, body: bytes | None = None, expires: int = 600) -> str:
        """The entity tag of a new publication."""
        response = await self.request(self.publish(uri, body=body or pidf(uri or self.aor), expires=expires))
        assert response.status == 200, response.start
        return response["sip-etag"]

    async def subscribed(self, presentity: str, *, expires: int = 600) -> tuple[Dialog, Message]:
        """A new subscription's dialog and its first NOTIFY."""
        dialog = self.dialog(presentity)
        response = await self.request(self.subscribe(dialog, expires=expires))
        assert response.status == 200, response.start
        learn(dialog, response)
        return dialog, await self.next_notify()


def learn(dialog: Dialog, response: Message) -> None:
    """Complete a dialog from the 2xx to its SUBSCRIBE; the CSeq is moved on for the next one."""
    dialog.to_tag = response.to_tag or ""
    dialog.target = response["contact"].strip("<>")
    dialog.routes = [route for row in reversed(response.all("record-route")) for route in [row]]
    dialog.cseq += 1


@contextlib.asynccontextmanager
async def opened(running: RunningSet, user: str | None = None, transport: str = "udp") -> AsyncIterator[Phone]:
    """A phone for tests that share an event loop of their own."""
    phone = Phone(running.address(transport), transport, user or token("u"), running.context(transport))
    await phone.open()
    try:
        yield phone
    finally:
        await phone.close()


MakePhone = Callable[..., Awaitable[Phone]]


@pytest.fixture
async def make_phone() -> AsyncIterator[MakePhone]:
    """Opens phones: `await make_phone(running_set, user="bob", transport="tcp")`; closed at the end."""
    phones: list[Phone] = []

    async def make(
        running: RunningSet,
        user: str | None = None,
        transport: str = "udp",
        host: str | None = None,
        source: str | None = None,
    ) -> Phone:
        server = running.address(transport, host)
        phone = Phone(server, transport, user or token("u"), running.context(transport))
        phone.source = source
        await phone.open()
        phones.append(phone)
        return phone

    yield make
    for phone in phones:
        await phone.close()


@pytest.fixture
async def udp_phone(running_set: RunningSet, make_phone: MakePhone) -> Phone:
    """A phone on the shared set."""
    return await make_phone(running_set)


@pytest.fixture
async def tcp_phone(running_set: RunningSet, make_phone: MakePhone) -> Phone:
    """A phone on the shared set, over TCP."""
    return await make_phone(running_set, transport="tcp")
