"""The RPC server, spoken to over HTTP by a client that knows nothing of ours."""

import asyncio
import math
import socket
import sys
from collections.abc import Mapping

import aiohttp
import msgspec
import pytest

from tests.unit.rpc.serving import TOKEN, hello, served
from tests.wait import until_true
from vedette.rpc import server as rpc_server
from vedette.rpc.contract import DEADLINE_HEADER, HELLO, INSTANCE_HEADER, PREFIX, Hello, RequestBatch
from vedette.rpc.deadline import deadline
from vedette.rpc.server import HttpServer, NotReadyError, WrongInstanceError, listen, rpc_app
from vedette.rpc.token import RpcToken

PATH = f"{PREFIX}/echo"
GOOD = {"Authorization": f"Bearer {TOKEN.current}"}


async def echo(body: bytes) -> bytes:
    return body


async def not_ready(_: bytes) -> bytes:
    raise NotReadyError


async def wrong_instance(_: bytes) -> bytes:
    raise WrongInstanceError


async def broken(_: bytes) -> bytes:
    raise RuntimeError("a fault of ours")


async def reading(body: bytes) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(body, type=RequestBatch))


async def post(address: str, path: str, body: bytes = b"", headers: Mapping[str, str] = GOOD) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.post(
        f"http://{address}{path}", data=body, headers=headers, allow_redirects=False
    ) as response:  # fmt: skip
        return response.status, await response.read()


CALLERS: list[tuple[dict[str, str], int]] = [
    (GOOD, 200),
    ({}, 401),
    ({"Authorization": ""}, 401),
    ({"Authorization": "Bearer wrong"}, 401),
    ({"Authorization": f"Bearer {TOKEN.current}x"}, 401),
    ({"X-Authorization": f"Bearer {TOKEN.current}"}, 401),
    ({**GOOD, INSTANCE_HEADER: "served"}, 200),
    ({**GOOD, INSTANCE_HEADER: "before"}, 409),
    ({**GOOD, INSTANCE_HEADER: ""}, 409),
    ({INSTANCE_HEADER: "before"}, 401),
]


async def test_a_call_needs_the_token_and_the_instance_that_was_meant() -> None:
    calls: list[bytes] = []

    async def handler(body: bytes) -> bytes:
        calls.append(body)
        return b"done"

    async with served({PATH: handler}) as here:
        for headers, status in CALLERS:
            answer = await post(here.address, PATH, repr(headers).encode(), headers)
            assert answer == (status, b"done" if status == 200 else b""), headers
    assert calls == [repr(headers).encode() for headers, status in CALLERS if status == 200]


async def test_an_answer_leaves_in_one_piece() -> None:
    segments_with_data = slice(152, 156)  # tcpi_data_segs_in of struct tcp_info
    async with served({PATH: echo}) as here:
        host, port = here.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        token = f"authorization: Bearer {TOKEN.current}"
        head = f"POST {PATH} HTTP/1.1\r\nhost: h\r\n{token}\r\ncontent-length: 4\r\n\r\n"
        for number in range(1, 4):
            writer.write(head.encode() + b"body")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(4) == b"body"
            info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
            assert int.from_bytes(info[segments_with_data], sys.byteorder) == number
        writer.close()


async def test_hello_needs_the_token_too() -> None:
    body = msgspec.msgpack.encode(hello("caller"))
    async with served() as here:
        assert (await post(here.address, HELLO, body, {}))[0] == 401
        assert here.heard == []
        status, answer = await post(here.address, HELLO, body)
        assert (status, msgspec.msgpack.decode(answer, type=Hello)) == (200, here.me)
        assert here.heard == [hello("caller")]


async def test_the_previous_token_is_accepted_while_the_token_is_rotated() -> None:
    async with served({PATH: echo}, token=RpcToken("n" * 32, TOKEN.current)) as here:
        assert await post(here.address, PATH, b"x") == (200, b"x")
        assert (await post(here.address, PATH, b"x", {"Authorization": f"Bearer {'n' * 32}"}))[0] == 200
        assert (await post(here.address, PATH, b"x", {"Authorization": f"Bearer {'o' * 32}"}))[0] == 401


RUBBISH = {
    "empty": b"",
    "no msgpack": b"\xc1",
    "another type": b"text",
    "cut short": b"\x91\x91",
    "another tag": b"\x91\x91\x91\xa1X",
    "no UTF-8 in a call": b"\x91\x91\x9d\xa1P\xa1\xff",
    "no UTF-8 in a hello": b"\x98\xa1\xff",
    "deep": b"\x92" * 5000,
}


async def test_a_body_that_is_no_message_of_the_contract_is_400() -> None:
    async with served({PATH: reading}) as here:
        for what, body in RUBBISH.items():
            assert await post(here.address, PATH, body) == (400, b""), what
            assert (await post(here.address, HELLO, body))[0] == 400, what
        assert here.heard == []
        good = msgspec.msgpack.encode(RequestBatch([]))
        assert await post(here.address, PATH, good) == (200, good)


async def test_fields_that_a_newer_version_added_at_the_end_are_passed_over() -> None:
    async with served() as here:
        newer = msgspec.msgpack.encode([*msgspec.structs.astuple(hello("caller")), "more"])
        assert (await post(here.address, HELLO, newer))[0] == 200
        assert here.heard == [hello("caller")]


async def test_what_handlers_say_becomes_a_status() -> None:
    handlers = {f"{PREFIX}/{h.__name__}": h for h in (not_ready, wrong_instance, broken, echo)}
    async with served(handlers) as here:
        for name, status in (("not_ready", 503), ("wrong_instance", 409), ("broken", 500), ("echo", 200)):
            assert (await post(here.address, f"{PREFIX}/{name}", b"x"))[0] == status
        assert (await post(here.address, f"{PREFIX}/nothing", b"x"))[0] == 404
        assert (await post(here.address, "/docs", b"x"))[0] == 404
        assert (await post(here.address, "/openapi.json", b"x"))[0] == 404


async def test_a_body_over_the_limit_is_413_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_server, "MAX_BODY", 1000)
    async with served({PATH: echo}) as here:
        assert (await post(here.address, PATH, b"x" * 1000))[0] == 200
        assert (await post(here.address, PATH, b"x" * 1001))[0] == 413


@pytest.mark.parametrize(("said", "seconds"), [("1500", 1.5), ("0", 0.0), ("", None), ("soon", None), ("-1", None)])
async def test_a_handler_knows_until_when_its_caller_waits(said: str, seconds: float | None) -> None:
    loop = asyncio.get_running_loop()
    left: list[float] = []

    async def handler(body: bytes) -> bytes:
        left.append(deadline() - loop.time())
        return body

    async with served({PATH: handler}) as here:
        await post(here.address, PATH, b"", GOOD | {DEADLINE_HEADER: said})
        await post(here.address, PATH, b"", GOOD)
    assert left[1] == math.inf
    assert left[0] == math.inf if seconds is None else left[0] <= seconds


async def test_stop_waits_for_the_calls_under_way() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def slow(body: bytes) -> bytes:
        entered.set()
        await go_on.wait()
        return body

    listener = listen("127.0.0.1", 0)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    server = HttpServer(rpc_app(token=TOKEN, who=hello, handlers={PATH: slow}, heard=lambda _: None), listener)
    await server.start()
    call = asyncio.create_task(post(address, PATH, b"x"))
    await entered.wait()
    stopping = asyncio.create_task(server.stop())
    await until_true(lambda: listener.fileno() < 0, "no new call is accepted")
    go_on.set()
    assert await call == (200, b"x")
    await stopping


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_listen_takes_a_free_port_of_either_family_and_refuses_one_that_is_taken(host: str) -> None:
    try:
        first = listen(host, 0)
    except OSError:
        pytest.skip(f"{host} is no address of this machine")
    with first, pytest.raises(OSError, match="in use"):
        listen(host, first.getsockname()[1])
