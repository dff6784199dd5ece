"""The client side of RFC 6455 in a few lines of its own, so that it shares no code with the server under test."""

import asyncio
import base64
import hashlib
import secrets
import ssl
import struct
from dataclasses import dataclass

PATIENCE = 15.0
"""Seconds; only a failure uses them up."""
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Answer:
    """What the server says to the opening."""

    status: int
    headers: dict[str, str]


def opening(
    host: str = "127.0.0.1",
    *,
    subprotocol: str | None = "sip",
    key: str = "",
    origin: str | None = None,
    extra: str = "",
) -> bytes:
    """The HTTP request."""
    rows = [
        "GET / HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        f"Sec-WebSocket-Key: {key or base64.b64encode(secrets.token_bytes(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Protocol: {subprotocol}"] if subprotocol is not None else []),
        *([f"Origin: {origin}"] if origin is not None else []),
        *([extra] if extra else []),
        "",
        "",
    ]
    return "\r\n".join(rows).encode()


def frame(opcode: int, data: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """A frame as clients send it."""
    first = (0x80 if fin else 0) | opcode
    mask_bit = 0x80 if masked else 0
    if len(data) < 126:
        head = struct.pack("!BB", first, mask_bit | len(data))
    elif len(data) < 65536:
        head = struct.pack("!BBH", first, mask_bit | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, len(data))
    if not masked:
        return head + data
    mask = secrets.token_bytes(4)
    repeated = mask * (len(data) // 4 + 1)
    return head + mask + bytes(a ^ b for a, b in zip(data, repeated, strict=False))


class WebSocketClient:
    """A connection whose opening is done by `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.address: tuple[str, int] = writer.get_extra_info("sockname")[:2]

    @classmethod
    async def connect(cls, address: tuple[str, int], context: ssl.SSLContext | None = None) -> "WebSocketClient":
        """A connection that nothing was sent on."""
        return cls(*await asyncio.open_connection(*address, ssl=context))

    async def answer(self) -> Answer:
        """The HTTP response to the opening."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        start, *lines = head.strip().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(start.split(" ")[1]), headers)

    async def open(self) -> None:
        """Open it for SIP; AssertionError where the server does not want it."""
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self.send(opening(key=key))
        answer = await self.answer()
        assert answer.status == 101, answer
        assert answer.headers["sec-websocket-protocol"] == "sip"
        accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        assert answer.headers["sec-websocket-accept"] == accept

    def send(self, octets: bytes) -> None:
        """Octets as they are."""
        self.writer.write(octets)

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and content of the next frame, which is whole and not masked."""
        async with asyncio.timeout(PATIENCE):
            first, second = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80, "a server of ours sends whole frames"
            assert not second & 0x80, "a server masks nothing"
            length = second
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def until_closed(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        """Close without a word."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return
