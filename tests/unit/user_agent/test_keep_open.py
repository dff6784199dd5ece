"""Holding the way to a UDP client open while nothing is published."""

import asyncio

import pytest

from tests.phone import Message
from tests.scripted_server import ScriptedServer, reply
from vedette_cli.user_agent.agent import Server, UserAgent


@pytest.mark.parametrize("status", [200, 405, 481])
async def test_the_server_is_asked_again_and_again_whatever_it_answers(status: int) -> None:
    def script(request: Message) -> bytes:
        return reply(request, status)

    async with ScriptedServer(script).running() as server:
        host, _, port = server.address.partition(":")
        async with UserAgent(Server(host, int(port))) as agent:
            task = asyncio.create_task(agent.keep_open(0.01))
            await server.got(lambda seen: len(seen.requests) >= 3)
            task.cancel()
    asked = server.requests[:3]
    assert [request.method for request in asked] == ["OPTIONS"] * 3
    assert [request["cseq"] for request in asked] == ["1 OPTIONS", "2 OPTIONS", "3 OPTIONS"]
    assert len({request["call-id"] for request in asked}) == 1
    assert asked[0].start == f"OPTIONS sip:{server.address} SIP/2.0"


async def test_a_server_that_does_not_answer_ends_nothing() -> None:
    async with ScriptedServer(lambda _: None).running() as server:
        host, _, port = server.address.partition(":")
        async with UserAgent(Server(host, int(port)), patience=0.05) as agent:
            task = asyncio.create_task(agent.keep_open(0.01))
            await server.got(lambda seen: len({request["cseq"] for request in seen.requests}) >= 2)
            assert not task.done()
            task.cancel()
