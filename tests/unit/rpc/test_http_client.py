"""Connections of the RPC client: which are used again, and which never are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.unit.rpc.serving import http, read_request
from tests.wait import until_true
from vedette.rpc import http_client
from vedette.rpc.http_client import BrokenOffError, HttpClient, NotConnectedError


@dataclass
class Recorder:
    """A server that answers each request with its body, and keeps what its connections were used for."""

    more: str = ""
    before: bytes = b""
    after: bytes = b""
    address: str = ""
    requests: list[list[bytes]] = field(default_factory=list)
    """Of each connection."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    """Of those that are open."""

    async def treat(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        self.requests.append(mine)
        self.writers.append(writer)
        try:
            while True:
                body = await read_request(reader)
                mine.append(body)
                if body != b"silence":
                    writer.write(self.before + http(200, body, more=self.more) + self.after)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.writers.remove(writer)
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def recorder(
    host: str = "127.0.0.1", *, more: str = "", before: bytes = b"", after: bytes = b""
) -> AsyncIterator[tuple[Recorder, HttpClient]]:
    """Such a server, and a client."""
    here = Recorder(more, before, after)
    server = await asyncio.start_server(here.treat, host, 0)
    port = server.sockets[0].getsockname()[1]
    here.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    client = HttpClient({"Authorization": "Bearer x"})
    try:
        yield here, client
    finally:
        await client.close()
        server.close()
        await until_true(lambda: not here.writers, "all connections have ended")


async def post(client: HttpClient, here: Recorder, body: bytes, *, timeout: float = 10) -> bytes:
    status, answer = await client.post(here.address, "/echo", body, timeout=timeout, headers={})
    assert status == 200
    return answer


async def test_a_connection_that_is_closing_is_not_used() -> None:
    async with recorder() as (here, client):
        await post(client, here, b"1")
        (idle,) = client._idle[here.address]
        assert idle._transport is not None
        idle._transport.abort()  # its end is told in the next turn of the loop
        assert await post(client, here, b"2") == b"2"
        assert here.requests == [[b"1"], [b"2"]]
        with pytest.raises(NotConnectedError):
            await idle.exchange(b"", 0.0)


async def test_an_answer_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "LARGEST_ANSWER", 10)
    async with recorder() as (here, client):
        assert await post(client, here, b"x" * 10) == b"x" * 10
        with pytest.raises(BrokenOffError, match="the answer is too large"):
            await post(client, here, b"x" * 11)


async def test_one_connection_serves_calls_that_follow_each_other_and_more_those_at_once() -> None:
    async with recorder() as (here, client):
        for number in range(3):
            assert await post(client, here, b"%d" % number) == b"%d" % number
        assert here.requests == [[b"0", b"1", b"2"]]
        large = b"x" * 300_000
        assert tuple(await asyncio.gather(post(client, here, large), post(client, here, b"other"))) == (
            large,
            b"other",
        )
        assert len(here.requests) == 2


@pytest.mark.parametrize(
    ("more", "after"),
    [("Connection: close\r\n", b""), ("", http(200, b"nobody asked")), ("", b"rubbish")],
    ids=["closes", "says more", "says rubbish"],
)
async def test_a_connection_that_ends_or_says_too_much_is_not_used_again(more: str, after: bytes) -> None:
    async with recorder(more=more, after=after) as (here, client):
        for body in (b"one", b"two"):
            assert await post(client, here, body) == body
        assert here.requests == [[b"one"], [b"two"]]


async def test_a_connection_that_was_closed_while_nobody_used_it_is_not_used_again() -> None:
    async with recorder() as (here, client):
        await post(client, here, b"one")
        here.writers[0].close()
        await until_true(lambda: not client._open, "the end is known")
        assert await post(client, here, b"two") == b"two"


async def test_a_connection_unused_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with recorder() as (here, client):
        await post(client, here, b"one")
        monkeypatch.setattr(http_client, "KEEP_IDLE", -1.0)
        await post(client, here, b"two")
        assert here.requests == [[b"one"], [b"two"]]
        await until_true(lambda: len(client._open) == 1, "the first one is closed")
        client.forget(here.address)
        await until_true(lambda: not client._open, "the other one is closed")


async def test_after_a_call_without_an_answer_its_connection_is_not_used_again() -> None:
    async with recorder() as (here, client):
        await post(client, here, b"first")  # the connection is made before the time of the next call begins
        with pytest.raises(BrokenOffError, match="Timeout"):
            await post(client, here, b"silence", timeout=0.05)
        call = asyncio.create_task(post(client, here, b"silence"))
        await until_true(lambda: here.requests[1:] == [[b"silence"]], "the call has arrived")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await post(client, here, b"third") == b"third"
        assert here.requests == [[b"first", b"silence"], [b"silence"], [b"third"]]


async def test_an_answer_that_only_announces_one_is_passed_over() -> None:
    async with recorder(before=b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n") as (here, client):
        for body in (b"one", b"two"):
            assert await post(client, here, body) == body
        assert here.requests == [[b"one", b"two"]]


async def test_ipv6_addresses_stand_in_brackets() -> None:
    try:
        async with recorder("::1") as (here, client):
            assert await post(client, here, b"x") == b"x"
    except OSError:
        pytest.skip("::1 is no address of this machine")


async def test_the_cause_of_no_connection_is_kept() -> None:
    async with recorder() as (here, client):
        pass
    with pytest.raises(NotConnectedError) as raised:
        await client.post(here.address, "/echo", b"", timeout=20, headers={})
    assert isinstance(raised.value.__cause__, ConnectionRefusedError)
