"""A SIP server that answers as a test scripts it, over UDP and TCP on one port; shares no code with the stack."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine

from tests.phone import Message, parameter, token
from tests.ports import free_port

Send = Callable[[bytes], None]
Script = Callable[[Message], "bytes | None"]


def reply(request: Message, status: int, *headers: str, reason: str = "Whatever", tag: str = "server") -> bytes:
    """A response to a request."""
    rows = [f"SIP/2.0 {status} {reason}"]
    rows += [f"{name}: {value}" for name, value in request.headers if name in ("via", "from", "call-id", "cseq")]
    rows.append("to: " + request["to"] + ("" if parameter(request["to"], "tag") else f";tag={tag}"))
    return "\r\n".join([*rows, *headers, "content-length: 0", "", ""]).encode()


class ScriptedServer:
    """Answers each new request with what `script` makes of it, and its retransmissions with the same."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.address = ""
        """host:port"""
        self.requests: list[Message] = []
        """Every new request, in order."""
        self.responses: list[Message] = []
        """Every response to a NOTIFY of ours."""
        self._answers: dict[tuple[str, str], bytes | None] = {}
        self._sends: dict[str, Send] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedServer"]:
        """Listen on loopback."""
        server_ = self
        host, port = "127.0.0.1", free_port()  # one that the kernel gives to TCP may be taken for UDP
        stream = await asyncio.start_server(self._serve, host, port)

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                server_._take(data, lambda answer: datagrams.sendto(answer, addr))

        datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(Protocol, local_addr=(host, port))
        self.address = f"{host}:{port}"
        try:
            yield self
        finally:
            datagrams.close()
            stream.close()
            self.hang_up()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lstrip(b"\r\n")
                if head:
                    length = int(Message.read(head)["content-length"])
                    self._take(head + await reader.readexactly(length), writer.write)

    def _take(self, data: bytes, send: Send) -> None:
        message = Message.read(data)
        if message.is_response:
            self.responses.append(message)
        else:
            key = (message.branch, message.method)
            if key not in self._answers:
                self.requests.append(message)
                self._sends[message["call-id"]] = send
                self._answers[key] = self.script(message)
            answer = self._answers[key]
            if answer is not None:
                send(answer)
        self._spawn(self._notify_waiters())

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify_waiters(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def got(self, check: Callable[["ScriptedServer"], object]) -> None:
        """Return when `check` holds of what came so far."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: bool(check(self)))

    async def request(self, number: int) -> Message:
        """The request with that number, from 0."""
        await self.got(lambda _: len(self.requests) > number)
        return self.requests[number]

    def notify(
        self,
        subscribe: Message,
        cseq: int,
        subscription_state: str,
        body: bytes = b"",
        *,
        branch: str = "",
        method: str = "NOTIFY",
    ) -> str:
        """Send a NOTIFY (or another request) in the dialog of a SUBSCRIBE; its branch."""
        branch = branch or token("z9hG4bK")
        via = subscribe["via"].split()[0]
        target = subscribe["contact"].strip("<>")
        rows = [
            f"{method} {target} SIP/2.0",
            f"Via: {via} {self.address};branch={branch}",
            "Max-Forwards: 70",
            f"From: {subscribe['to'].partition(';tag=')[0]};tag=server",
            f"To: {subscribe['from']}",
            f"Call-ID: {subscribe['call-id']}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{self.address}>",
            "Event: presence",
            f"Subscription-State: {subscription_state}",
            *(["Content-Type: application/pidf+xml"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self._sends[subscribe["call-id"]]("\r\n".join([*rows, "", ""]).encode() + body)
        return branch

    def answer(self, request: Message, data: bytes) -> None:
        """Answer a request that the script left without an answer."""
        self._sends[request["call-id"]](data)

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()

    async def response(self, branch: str) -> Message:
        """The response to the NOTIFY with that branch."""
        await self.got(lambda _: any(response.branch == branch for response in self.responses))
        return next(response for response in self.responses if response.branch == branch)


# digest, computed anew from RFC 7616 section 3.4

HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


def digest_response(
    algorithm: str,
    *,
    user: str,
    realm: str,
    password: str,
    method: str,
    uri: str,
    nonce: str,
    qop: str | None = None,
    nc: str = "",
    cnonce: str = "",
    body: bytes = b"",
) -> str:
    """The response that a client with that password gives."""

    def hashed(data: bytes) -> str:
        return hashlib.new(HASHES[algorithm.removesuffix("-sess")], data).hexdigest()

    first = hashed(f"{user}:{realm}:{password}".encode())
    if algorithm.endswith("-sess"):
        first = hashed(f"{first}:{nonce}:{cnonce}".encode())
    second = f"{method}:{uri}"
    if qop == "auth-int":
        second += f":{hashed(body)}"
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    return hashed(f"{first}:{middle}:{hashed(second.encode())}".encode())


_PAIR = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))')


def credentials(value: str) -> dict[str, str]:
    """The fields of a Digest header, quotes taken off."""
    scheme, _, rest = value.partition(" ")
    assert scheme == "Digest"
    return {name: re.sub(r"\\(.)", r"\1", quoted) if quoted else plain for name, quoted, plain in _PAIR.findall(rest)}


def is_right(request: Message, header: str, password: str) -> bool:
    """Whether the credentials of a request prove that password."""
    fields = credentials(request[header])
    expected = digest_response(
        fields.get("algorithm", "MD5"),
        user=fields["username"],
        realm=fields["realm"],
        password=password,
        method=request.method,
        uri=fields["uri"],
        nonce=fields["nonce"],
        qop=fields.get("qop"),
        nc=fields.get("nc", ""),
        cnonce=fields.get("cnonce", ""),
        body=request.body,
    )
    return fields["response"] == expected and fields["uri"] == request.start.split(" ")[1]
