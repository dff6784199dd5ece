"""A publication as the user agent keeps it (RFC 3903 section 4), against a server that answers as it is told."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.phone import Message
from tests.scripted_server import ScriptedServer, reply
from vedette.sip.errors import SipError
from vedette.sip.transaction.timers import Timers
from vedette_cli.user_agent.agent import NoAnswerError, Server, UserAgent
from vedette_cli.user_agent.publisher import Publisher, RefusedError

ALICE = "sip:alice@example.com"


def script(*answers: tuple[int, tuple[str, ...]]) -> ScriptedServer:
    """A server that gives these answers, one after the other."""
    left: Iterator[tuple[int, tuple[str, ...]]] = iter(answers)

    def answer(request: Message) -> bytes:
        status, headers = next(left)
        return reply(request, status, *headers)

    return ScriptedServer(answer)


def ok(etag: str, expires: int = 600) -> tuple[int, tuple[str, ...]]:
    return 200, (f"SIP-ETag: {etag}", f"Expires: {expires}")


@asynccontextmanager
async def publishing(server: ScriptedServer, transport: str = "udp") -> AsyncIterator[Publisher]:
    async with server.running():
        host, _, port = server.address.partition(":")
        async with UserAgent(Server(host, int(port), transport), timers=Timers(0.05, 0.2, 0.5), patience=5) as agent:
            yield Publisher(agent, ALICE)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_initial_refresh_modify_and_remove_use_the_newest_tag(transport: str) -> None:
    server = script(ok("a"), ok("b"), ok("c", 300), ok("c.removed", 0))
    async with publishing(server, transport) as publisher:
        await publisher.publish(b"<one/>", 600)
        assert (publisher.etag, publisher.expires) == ("a", 600)
        await publisher.refresh(500)
        assert publisher.etag == "b"
        await publisher.publish(b"<two/>", 400, content_type="application/other")
        assert (publisher.etag, publisher.expires) == ("c", 300)
        await publisher.remove()
        assert [publisher.etag, publisher.expires] == [None, 0]
    assert [message.get("sip-if-match") for message in server.requests] == [None, "a", "b", "c"]
    assert [message.body for message in server.requests] == [b"<one/>", b"", b"<two/>", b""]
    assert [message["expires"] for message in server.requests] == ["600", "500", "400", "0"]
    assert [message.get("content-type") for message in server.requests] == [
        "application/pidf+xml", None, "application/other", None,
    ]  # fmt: skip
    assert [message["cseq"] for message in server.requests] == [f"{number} PUBLISH" for number in range(1, 5)]
    assert len({message["call-id"] for message in server.requests}) == 1
    assert len({message.branch for message in server.requests}) == 4
    for message in server.requests:
        assert message.start == f"PUBLISH {ALICE} SIP/2.0"
        assert message["event"] == "presence"
        assert message["max-forwards"] == "70"
        assert message["to"] == f"<{ALICE}>"
        assert message["from"].startswith(f"<{ALICE}>;tag=")
        assert message["via"].startswith(f"SIP/2.0/{transport.upper()} 127.0.0.1:")


async def test_after_a_412_the_document_is_published_anew() -> None:
    server = script(ok("a"), (412, ()), ok("b"))
    async with publishing(server) as publisher:
        await publisher.publish(b"<one/>", 600)
        await publisher.publish(b"<two/>", 600)
        assert publisher.etag == "b"
    assert [(message.get("sip-if-match"), message.body) for message in server.requests] == [
        (None, b"<one/>"), ("a", b"<two/>"), (None, b"<two/>"),
    ]  # fmt: skip


async def test_a_412_to_an_initial_publish_is_a_refusal() -> None:
    server = script((412, ()))
    async with publishing(server) as publisher:
        with pytest.raises(RefusedError):
            await publisher.publish(b"<one/>", 600)
    assert len(server.requests) == 1


async def test_a_423_is_obeyed_with_what_it_names() -> None:
    server = script((423, ("Min-Expires: 1800",)), ok("a", 1800))
    async with publishing(server) as publisher:
        await publisher.publish(b"<one/>", 60)
        assert (publisher.etag, publisher.expires) == ("a", 1800)
    assert [message["expires"] for message in server.requests] == ["60", "1800"]


async def test_a_412_and_then_a_423_are_obeyed_both() -> None:
    server = script(ok("a"), (412, ()), (423, ("Min-Expires: 90",)), ok("b", 90))
    async with publishing(server) as publisher:
        await publisher.publish(b"<one/>", 600)
        await publisher.publish(b"<two/>", 60)
        assert (publisher.etag, publisher.expires) == ("b", 90)
    assert [message.get("sip-if-match") for message in server.requests] == [None, "a", None, None]


async def test_a_423_that_is_not_satisfied_by_what_it_named_is_a_refusal() -> None:
    server = script((423, ("Min-Expires: 90",)), (423, ("Min-Expires: 180",)))
    async with publishing(server) as publisher:
        with pytest.raises(RefusedError) as refused:
            await publisher.publish(b"<one/>", 60)
    assert refused.value.response.status == 423


@pytest.mark.parametrize("headers", [(), ("Min-Expires: soon",), ("Min-Expires: -1",)])
async def test_a_423_that_names_no_time_cannot_be_read(headers: tuple[str, ...]) -> None:
    async with publishing(script((423, headers))) as publisher:
        with pytest.raises(SipError):
            await publisher.publish(b"<one/>", 60)


@pytest.mark.parametrize("status", [302, 403, 404, 481, 489, 500, 503, 603])
async def test_other_answers_are_refusals_with_status_and_reason(status: int) -> None:
    async with publishing(script((status, ()))) as publisher:
        with pytest.raises(RefusedError, match=f"{status} Whatever") as refused:
            await publisher.publish(b"<one/>", 600)
        assert refused.value.response.status == status
        assert publisher.etag is None


async def test_a_refused_refresh_keeps_the_tag() -> None:
    async with publishing(script(ok("a"), (503, ()), ok("b"))) as publisher:
        await publisher.publish(b"<one/>", 600)
        with pytest.raises(RefusedError):
            await publisher.refresh(600)
        assert publisher.etag == "a"
        await publisher.refresh(600)
        assert publisher.etag == "b"


async def test_a_request_without_answer_is_sent_again_and_given_up() -> None:
    server = ScriptedServer(lambda _: None)
    async with server.running():
        host, _, port = server.address.partition(":")
        async with UserAgent(Server(host, int(port)), timers=Timers(0.01, 0.04, 0.1), patience=30) as agent:
            with pytest.raises(NoAnswerError, match=rf"^no answer from {server.address} \(udp\)$"):
                await Publisher(agent, ALICE).publish(b"<one/>", 600)
        async with UserAgent(Server(host, int(port)), timers=Timers(), patience=0.1) as agent:
            with pytest.raises(NoAnswerError, match=r"within 0.1 seconds"):
                await Publisher(agent, ALICE).publish(b"<one/>", 600)
    assert len(server.requests) == 2


async def test_a_connection_that_ends_without_an_answer_is_told() -> None:
    server = ScriptedServer(lambda _: None)
    async with server.running():
        host, _, port = server.address.partition(":")
        server.script = lambda _: server.hang_up()
        async with UserAgent(Server(host, int(port), "tcp"), patience=20) as agent:
            with pytest.raises(NoAnswerError, match=r"cannot reach"):
                await Publisher(agent, ALICE).publish(b"<one/>", 600)


async def test_a_server_that_is_not_there_is_told() -> None:
    server = ScriptedServer(lambda _: None)
    async with server.running():
        address = server.address
    host, _, port = address.partition(":")
    async with UserAgent(Server(host, int(port), "tcp"), patience=20) as agent:
        with pytest.raises(NoAnswerError, match=rf"^cannot reach {address} \(tcp\)$"):
            await Publisher(agent, ALICE).publish(b"<one/>", 600)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64 + ".example"])
async def test_a_name_that_nobody_has_is_told(host: str) -> None:
    with pytest.raises(NoAnswerError, match=r"^cannot find "):
        async with UserAgent(Server(host, 5060)):
            pass
