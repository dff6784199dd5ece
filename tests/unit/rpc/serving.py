"""RPC servers on loopback sockets, well-behaved and not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from vedette.rpc.client import Peer, Peers
from vedette.rpc.contract import Hello
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import Handler, HttpServer, listen, rpc_app
from vedette.rpc.token import RpcToken

TOKEN = RpcToken("t" * 32)


def hello(instance: str = "", *, service: str = "test", address: str = "", ready: bool = True) -> Hello:
    """What a process says of itself."""
    return Hello(service, instance, address, "1", 1, "host", 1.0, ready)


@dataclass
class Served:
    """A server of ours."""

    address: str
    me: Hello
    heard: list[Hello] = field(default_factory=list)
    """The hellos it got."""


@asynccontextmanager
async def served(
    handlers: Mapping[str, Handler] | None = None, *, me: Hello | None = None, token: RpcToken = TOKEN
) -> AsyncIterator[Served]:
    """A server with these handlers, stopped at the end; change `me` to change what it says of itself."""
    listener = listen("127.0.0.1", 0)
    here = Served(f"127.0.0.1:{listener.getsockname()[1]}", me or hello("served"))
    app = rpc_app(token=token, who=lambda: here.me, handlers=handlers or {}, heard=here.heard.append)
    server = HttpServer(app, listener)
    await server.start()
    try:
        yield here
    finally:
        await server.stop()


@asynccontextmanager
async def served_together(*handlers: Mapping[str, Handler]) -> AsyncIterator[list[Served]]:
    """A server for each of these; stopped at once, since each takes its moment."""
    stacks = [AsyncExitStack() for _ in handlers]
    try:
        yield [await stack.enter_async_context(served(each)) for stack, each in zip(stacks, handlers, strict=True)]
    finally:
        await asyncio.gather(*(stack.aclose() for stack in stacks))


@asynccontextmanager
async def crooked(
    treat: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The address of a server that treats each connection as it likes; `treat` may read the whole request first."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await treat(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}"
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The body of the request on the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return await reader.readexactly(length)


def http(status: int, body: bytes = b"", *, length: int | None = None, more: str = "") -> bytes:
    """An HTTP response; `length` is said instead of the body's."""
    said = len(body) if length is None else length
    return f"HTTP/1.1 {status} X\r\nContent-Length: {said}\r\n{more}\r\n".encode() + body


@asynccontextmanager
async def peers_of(*addresses: str, token: RpcToken = TOKEN) -> AsyncIterator[Peers]:
    """Peers that know these addresses and have asked none of them yet."""
    peers = Peers(Discovery(",".join(addresses)), token=token, who=lambda: hello("caller", address="127.0.0.1:1"))
    try:
        yield peers
    finally:
        await peers.close()


@asynccontextmanager
async def peer_of(address: str, *, token: RpcToken = TOKEN) -> AsyncIterator[tuple[Peers, Peer]]:
    """A caller and the one peer it calls."""
    async with peers_of(address, token=token) as peers:
        yield peers, Peer(address)
