"""A subscription as the user agent keeps it (RFC 6665 section 4.1), against a server that answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.phone import Message, pidf
from tests.scripted_server import ScriptedServer, reply
from vedette.sip.errors import SipError
from vedette.sip.message import Request
from vedette.sip.reader import read_message
from vedette_cli.user_agent.agent import Server, UserAgent
from vedette_cli.user_agent.publisher import RefusedError
from vedette_cli.user_agent.watcher import Notification, Watcher, read_notification

ALICE = "sip:alice@example.com"
BOB = "sip:bob@example.com"
OK = ("Expires: 600", "Contact: <sip:presence@127.0.0.1:5999>")


def notify_with(*headers: str, body: bytes = b"") -> Request:
    rows = [
        "NOTIFY sip:bob@127.0.0.1 SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1",
        "From: <sip:alice@example.com>;tag=a",
        "To: <sip:bob@example.com>;tag=b",
        "Call-ID: c",
        "CSeq: 7 NOTIFY",
        *headers,
        f"Content-Length: {len(body)}",
    ]
    request = read_message("\r\n".join([*rows, "", ""]).encode() + body)
    assert isinstance(request, Request)
    return request


STATES: list[tuple[str, tuple[str, int | None, str | None, int | None]]] = [
    ("active;expires=599", ("active", 599, None, None)),
    ("Active ; Expires=599", ("active", 599, None, None)),
    ("pending", ("pending", None, None, None)),
    ("terminated;reason=timeout", ("terminated", None, "timeout", None)),
    ("terminated;reason=probation;retry-after=30", ("terminated", None, "probation", 30)),
    ("terminated;retry-after=0;reason=giveup;x=y", ("terminated", None, "giveup", 0)),
    ("active;expires=4294967295", ("active", 2**32 - 1, None, None)),
    ("something-new", ("something-new", None, None, None)),
]


@pytest.mark.parametrize(("value", "expected"), STATES)
def test_subscription_state_is_read(value: str, expected: tuple[str, int | None, str | None, int | None]) -> None:
    found = read_notification(notify_with(f"Subscription-State: {value}", "Content-Type: text/plain", body=b"hello"))
    assert (found.state, found.expires, found.reason, found.retry_after) == expected
    assert (found.cseq, found.content_type, found.body) == (7, "text/plain", b"hello")


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("Subscription-State: active;expires=soon",),
        ("Subscription-State: terminated;retry-after=-1",),
        ("Subscription-State: active;expires=",),
        ("Subscription-State: active;expires=4294967296",),
    ],
)
def test_a_notify_whose_subscription_state_cannot_be_read_is_an_error(headers: tuple[str, ...]) -> None:
    with pytest.raises(SipError):
        read_notification(notify_with(*headers))


def accepting(request: Message) -> bytes:
    """200 to everything."""
    return reply(request, 200, *OK)


@asynccontextmanager
async def watching(
    script: Callable[[Message], bytes | None] = accepting, transport: str = "udp"
) -> AsyncIterator[tuple[ScriptedServer, Watcher, list[Notification]]]:
    async with ScriptedServer(script).running() as server:
        host, _, port = server.address.partition(":")
        seen: list[Notification] = []
        async with UserAgent(Server(host, int(port), transport), patience=10) as agent:
            yield server, Watcher(agent, ALICE, BOB, seen.append), seen


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_subscribe_refresh_and_unsubscribe_are_one_dialog(transport: str) -> None:
    async with watching(transport=transport) as (server, watcher, _):
        await watcher.subscribe(600)
        assert watcher.expires == 600
        await watcher.subscribe(500)
        await watcher.unsubscribe()
    first, second, third = server.requests
    assert first.start == f"SUBSCRIBE {ALICE} SIP/2.0"
    assert second.start == third.start == "SUBSCRIBE sip:presence@127.0.0.1:5999 SIP/2.0"
    assert first["to"] == f"<{ALICE}>"
    assert second["to"] == third["to"] == f"<{ALICE}>;tag=server"
    assert [m["expires"] for m in server.requests] == ["600", "500", "0"]
    assert [m["cseq"] for m in server.requests] == ["1 SUBSCRIBE", "2 SUBSCRIBE", "3 SUBSCRIBE"]
    assert {m["accept"] for m in server.requests} == {"application/pidf+xml"}
    for name in ("from", "call-id", "contact", "event"):
        assert len({m[name] for m in server.requests}) == 1, name
    assert first["from"].startswith(f"<{BOB}>;tag=")
    contact = first["contact"]
    assert contact.startswith("<sip:bob@127.0.0.1:")
    assert contact.endswith(";transport=tcp>" if transport == "tcp" else ">")
    assert ("transport=" in contact) == (transport == "tcp")


async def test_a_423_is_obeyed_with_what_it_names() -> None:
    def script(request: Message) -> bytes:
        if int(request["expires"]) < 1800:
            return reply(request, 423, "Min-Expires: 1800")
        return reply(request, 200, "Expires: 1800", OK[1])

    async with watching(script) as (server, watcher, _):
        await watcher.subscribe(60)
        assert watcher.expires == 1800
    assert [m["expires"] for m in server.requests] == ["60", "1800"]


@pytest.mark.parametrize("status", [302, 403, 404, 406, 481, 489, 503])
async def test_other_answers_are_refusals(status: int) -> None:
    async with watching(lambda request: reply(request, status)) as (_, watcher, _):
        with pytest.raises(RefusedError, match=f"{status}"):
            await watcher.subscribe(600)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_notifies_are_told_in_the_order_of_their_cseq_and_answered(transport: str) -> None:
    async with watching(transport=transport) as (server, watcher, seen):
        await watcher.subscribe(600)
        subscribe = server.requests[0]
        answers = []
        for cseq, state in ((5, "active;expires=600"), (6, "active;expires=500"), (9, "active;expires=9")):
            branch = server.notify(subscribe, cseq, state, pidf(note=str(cseq)))
            answers.append((await server.response(branch)).status)
        assert answers == [200, 200, 200]
        assert [(n.cseq, n.state, n.expires) for n in seen] == [
            (5, "active", 600),
            (6, "active", 500),
            (9, "active", 9),
        ]
        assert b"<note>9</note>" in seen[-1].body
        old = server.notify(subscribe, 8, "active;expires=1")
        assert (await server.response(old)).status == 500
        same = server.notify(subscribe, 9, "active;expires=1")
        assert (await server.response(same)).status == 500
        assert len(seen) == 3


async def test_a_retransmitted_notify_is_answered_again_and_told_once() -> None:
    async with watching() as (server, watcher, seen):
        await watcher.subscribe(600)
        branch = server.notify(server.requests[0], 1, "active;expires=600")
        await server.response(branch)
        server.notify(server.requests[0], 1, "active;expires=600", branch=branch)
        await server.got(lambda s: len(s.responses) == 2)
        assert [response.status for response in server.responses] == [200, 200]
        assert len(seen) == 1


async def test_a_notify_that_overtakes_the_2xx_is_taken() -> None:
    held: list[Message] = []

    def script(request: Message) -> bytes | None:
        held.append(request)
        server.notify(request, 1, "active;expires=600", pidf(note="early"))
        return None

    async with watching(script) as (server, watcher, seen):
        server.script = script
        subscribing = asyncio.create_task(watcher.subscribe(600))
        await server.got(lambda s: s.responses)
        assert server.responses[0].status == 200
        assert b"early" in seen[0].body
        server.answer(held[0], reply(held[0], 200, *OK))
        await subscribing


async def test_after_the_end_is_told_the_watcher_knows() -> None:
    async with watching() as (server, watcher, seen):
        await watcher.subscribe(600)
        await server.response(server.notify(server.requests[0], 1, "terminated;reason=probation;retry-after=7"))
        assert watcher.terminated
        assert (seen[0].reason, seen[0].retry_after) == ("probation", 7)


@pytest.mark.parametrize("value", ["", "active;expires=soon"])
async def test_a_notify_without_sense_is_answered_with_400(value: str) -> None:
    async with watching() as (server, watcher, seen):
        await watcher.subscribe(600)
        assert (await server.response(server.notify(server.requests[0], 1, value))).status == 400
        assert (await server.response(server.notify(server.requests[0], 1, "active"))).status == 200
        assert len(seen) == 1


async def test_a_notify_of_nobodys_dialog_is_answered_with_481() -> None:
    async with watching() as (server, watcher, seen):
        await watcher.subscribe(600)
        subscribe = server.requests[0]
        stranger = Message(subscribe.start, [(n, v + "x" if n == "from" else v) for n, v in subscribe.headers], b"")
        assert (await server.response(server.notify(stranger, 1, "active"))).status == 481
        watcher.close()
        assert (await server.response(server.notify(subscribe, 1, "active"))).status == 481
        assert seen == []


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("INVITE", 405), ("MESSAGE", 405)])
async def test_other_requests_are_answered_without_ado(method: str, status: int) -> None:
    async with watching() as (server, watcher, _):
        await watcher.subscribe(600)
        branch = server.notify(server.requests[0], 1, "active", method=method)
        assert (await server.response(branch)).status == status
