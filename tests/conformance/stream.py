"""A TCP connection to the edge, octet by octet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.phone import Message
from tests.running_set import RunningSet

PATIENCE = 15.0


class Stream:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def message(self) -> Message:
        """The next message."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(Message.read(head)["content-length"])
            return Message.read(head + await self.reader.readexactly(length))

    async def octets(self, count: int) -> bytes:
        """So many octets."""
        return await asyncio.wait_for(self.reader.readexactly(count), PATIENCE)

    async def until_closed(self) -> bytes:
        """What comes until the other side closes, which it may do with octets of ours unread."""
        came = b""
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(PATIENCE):
                while octets := await self.reader.read(65536):
                    came += octets
        return came


@contextlib.asynccontextmanager
async def stream_to(running: RunningSet) -> AsyncIterator[Stream]:
    """A connection that is closed at the end."""
    reader, writer = await asyncio.open_connection(*running.sip)
    try:
        yield Stream(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
