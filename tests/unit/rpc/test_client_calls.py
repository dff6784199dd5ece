"""What a call's end means: done, surely not done, or unknown (invariants 1 and 2 rest on it)."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.unit.rpc.serving import TOKEN, crooked, http, peer_of, peers_of, read_request, served
from tests.wait import until_true
from vedette.rpc import client as rpc_client
from vedette.rpc import http_client
from vedette.rpc import server as rpc_server
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peer, TooLargeError
from vedette.rpc.contract import DEADLINE_HEADER, INSTANCE_HEADER, PREFIX
from vedette.rpc.server import NotReadyError, WrongInstanceError, listen
from vedette.rpc.token import RpcToken

PATH = f"{PREFIX}/echo"


async def echo(body: bytes) -> bytes:
    return body


async def not_ready(_: bytes) -> bytes:
    raise NotReadyError


async def wrong_instance(_: bytes) -> bytes:
    raise WrongInstanceError


async def broken(_: bytes) -> bytes:
    raise RuntimeError("a fault of ours")


async def test_a_call_brings_the_answer_back() -> None:
    async with served({PATH: echo}) as here, peer_of(here.address) as (peers, peer):
        assert await peers.call(peer, PATH, b"\x00body", timeout=10) == b"\x00body"
        assert await peers.call(peer, PATH, b"again", timeout=10, instance="served") == b"again"
        assert await peers.call(peer, PATH, b"", timeout=10) == b""


async def test_a_call_says_token_instance_and_deadline() -> None:
    heads: list[bytes] = []

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(4)
        writer.write(http(200, b"ok"))
        await writer.drain()

    async with crooked(treat) as address, peer_of(address) as (peers, peer):
        assert await peers.call(peer, PATH, b"body", timeout=1.5, instance="me") == b"ok"
    lines = {line.lower() for line in heads[0].decode().split("\r\n")}
    assert f"post {PATH} http/1.1" in lines
    assert f"authorization: bearer {TOKEN.current}" in lines
    assert f"{INSTANCE_HEADER}: me" in lines
    assert f"{DEADLINE_HEADER}: 1500" in lines


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """An address where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


async def test_a_refused_connection_is_surely_not_done() -> None:
    with nobody() as address:
        async with peer_of(address) as (peers, peer):
            with pytest.raises(NotDoneError, match=address):
                await peers.call(peer, PATH, b"x", timeout=10)
            with pytest.raises(NotDoneError):
                await peers.ask(peer)


async def test_a_connection_that_is_never_made_is_surely_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "CONNECT_PATIENCE", 0.1)
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # fill its queue: nobody accepts
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with peer_of(f"127.0.0.1:{full.getsockname()[1]}") as (peers, peer):
            with pytest.raises(NotDoneError, match="Timeout"):
                await peers.call(peer, PATH, b"x", timeout=10)


@pytest.mark.parametrize("address", ["", "x y:1", "127.0.0.1:99999", "a:b:c", "http://127.0.0.1:1", "[::1"])
async def test_an_address_that_is_none_is_surely_not_done(address: str) -> None:
    async with peer_of(address) as (peers, peer):
        with pytest.raises(NotDoneError):
            await peers.call(peer, PATH, b"x", timeout=10)


async def test_an_unknown_host_name_is_surely_not_done() -> None:
    async with peer_of("no-such-host.invalid:1") as (peers, peer):
        with pytest.raises(NotDoneError):
            await peers.call(peer, PATH, b"x", timeout=10)


async def test_a_server_that_refuses_is_surely_not_done() -> None:
    handlers = {f"{PREFIX}/{h.__name__}": h for h in (not_ready, wrong_instance, echo)}
    async with served(handlers) as here:
        async with peers_of(here.address) as peers:
            for path, instance, status in [
                ("not_ready", None, 503),
                ("wrong_instance", None, 409),
                ("echo", "another", 409),
            ]:
                with pytest.raises(NotDoneError, match=f"answered {status}"):
                    await peers.call(Peer(here.address), f"{PREFIX}/{path}", b"", timeout=10, instance=instance)
        async with peer_of(here.address, token=RpcToken("wrong" * 8)) as (peers, peer):
            with pytest.raises(NotDoneError, match="answered 401"):
                await peers.call(peer, PATH, b"", timeout=10)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, NotDoneError),
        (401, NotDoneError),
        (409, NotDoneError),
        (413, TooLargeError),
        (503, NotDoneError),
        (201, OutcomeUnknownError),
        (302, OutcomeUnknownError),
        (404, OutcomeUnknownError),
        (429, OutcomeUnknownError),
        (500, OutcomeUnknownError),
        (502, OutcomeUnknownError),
        (504, OutcomeUnknownError),
    ],
)
async def test_only_refusals_of_our_own_server_are_surely_not_done(status: int, error: type[Exception]) -> None:
    calls: list[bytes] = []

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await read_request(reader))
        writer.write(http(status, b"x", more="Location: /elsewhere\r\nConnection: close\r\n"))
        await writer.drain()

    async with crooked(treat) as address, peer_of(address) as (peers, peer):
        with pytest.raises(error, match=f"{address} answered {status}"):
            await peers.call(peer, PATH, b"body", timeout=10)
    assert calls == [b"body"]


async def test_a_handler_that_fails_leaves_the_outcome_unknown() -> None:
    async with served({PATH: broken}) as here, peer_of(here.address) as (peers, peer):
        with pytest.raises(OutcomeUnknownError, match="500"):
            await peers.call(peer, PATH, b"x", timeout=10)


async def close_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close as soon as somebody connects."""


async def close_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def reset_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def answer_half_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 O")
    await writer.drain()


async def answer_half_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(http(200, b"half", length=8))
    await writer.drain()


async def answer_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"\x00\x01\x02 nonsense\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    "treat",
    [
        close_unread,
        close_after_reading,
        reset_after_reading,
        answer_half_the_head,
        answer_half_the_body,
        answer_nonsense,
    ],
)
async def test_a_connection_that_breaks_under_a_call_leaves_the_outcome_unknown(treat: "object") -> None:
    async with crooked(treat) as address, peer_of(address) as (peers, peer):  # type: ignore[arg-type]
        with pytest.raises(OutcomeUnknownError, match=address):
            await peers.call(peer, PATH, b"x" * 10_000, timeout=10)
        assert peer.in_flight == 0


async def test_a_call_without_an_answer_in_its_time_leaves_the_outcome_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """After its first answer; so the connection is there before anybody's time begins."""
        await read_request(reader)
        writer.write(http(200, b"first"))
        await read_request(reader)
        await over.wait()

    async with crooked(silent) as address, peer_of(address) as (peers, peer):
        assert await peers.call(peer, PATH, b"x", timeout=20) == b"first"
        with pytest.raises(OutcomeUnknownError, match="Timeout"):
            await peers.call(peer, PATH, b"x", timeout=0.1)
        assert await peers.call(peer, PATH, b"x", timeout=20) == b"first"
        monkeypatch.setattr(rpc_client, "PROBE_TIMEOUT", 0.1)
        with pytest.raises(OutcomeUnknownError, match="Timeout"):
            await peers.ask(peer)
        over.set()


@pytest.mark.parametrize("body", [b"", b"\xc1", b"text", b"\x98\xa1\xff"])
async def test_an_answer_to_hello_that_is_none_is_an_unknown_outcome_and_nobody_ready(body: bytes) -> None:
    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(200, body, more="Connection: close\r\n"))
        await writer.drain()

    async with crooked(treat) as address, peers_of(address) as peers:
        with pytest.raises(OutcomeUnknownError):
            await peers.ask(Peer(address))
        await peers.probe()
        assert peers.ready() == []
        assert [peer.failures for peer in peers.known()] == [1]


async def test_a_peer_that_took_no_call_is_not_chosen_until_it_answers_again() -> None:
    changes: list[int] = []
    async with served({PATH: not_ready}) as here, peers_of(here.address) as peers:
        peers._on_change = lambda: changes.append(len(peers.ready()))
        await peers.probe()
        [peer] = peers.ready()
        for _ in range(2):
            with pytest.raises(NotDoneError):
                await peers.call(peer, PATH, b"", timeout=10)
        assert changes == [1, 0]
        assert peers.choose() is None
        await peers.probe()
        assert peers.choose() is peer
        assert changes == [1, 0, 1]


@pytest.mark.parametrize("limited", [rpc_client, rpc_server], ids=["here", "there"])
async def test_a_call_that_is_too_large_says_nothing_about_the_peer(
    limited: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "MAX_BODY", 100)
    async with served({PATH: echo}) as here, peers_of(here.address) as peers:
        await peers.probe()
        [peer] = peers.ready()
        with pytest.raises(TooLargeError):
            await peers.call(peer, PATH, b"x" * 101, timeout=10)
        assert peers.ready() == [peer]
        assert await peers.call(peer, PATH, b"x" * 100, timeout=10) == b"x" * 100


async def test_a_call_whose_outcome_is_unknown_says_nothing_about_the_peer() -> None:
    async with served({PATH: broken}) as here, peers_of(here.address) as peers:
        await peers.probe()
        [peer] = peers.ready()
        with pytest.raises(OutcomeUnknownError):
            await peers.call(peer, PATH, b"", timeout=10)
        assert peers.ready() == [peer]


async def test_calls_in_flight_are_counted_however_they_end() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(body: bytes) -> bytes:
        entered.set()
        await go_on.wait()
        return body

    async with served({PATH: slow}) as here, peer_of(here.address) as (peers, peer):
        call = asyncio.create_task(peers.call(peer, PATH, b"x", timeout=20))
        await entered.wait()
        assert peer.in_flight == 1
        other = asyncio.create_task(peers.call(peer, PATH, b"x", timeout=20))
        await until_true(lambda: peer.in_flight == 2, "the other call is under way")
        other.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await other
        go_on.set()
        assert await call == b"x"
        assert peer.in_flight == 0


def test_listen_is_closed_where_it_cannot_listen() -> None:
    with pytest.raises(OSError, match=r"[Aa]ssign"):
        listen("192.0.2.1", 0)
