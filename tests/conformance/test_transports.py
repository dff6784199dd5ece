"""Every transport, on IPv4 and IPv6, on the wire (RFC 3261 section 18, RFC 5626, RFC 7118; rows TRN, OUT)."""

import asyncio
import contextlib
import ipaddress
import os
import random
import re
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.certificates import Authority, serial_of, trusting
from tests.conformance.observed import notes, publications, saying, subscription
from tests.conformance.secured import HOSTS, Secured, secured
from tests.conformance.sipp_calls import PRESENCE, run_sipp
from tests.phone import MakePhone, Phone, host_port, learn, opened, parameter, pidf, token
from tests.running_set import RunningSet, split
from tests.wait import until, until_true
from tests.websocket import BINARY, CLOSE, PING, PONG, TEXT, WebSocketClient, frame, opening

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
STREAMS = ("tcp", "tls")
WEBSOCKETS = ("ws", "wss")
WITH_TLS = ("tls", "wss")
MAX_BODY = 131072
MAX_HEAD = 65536


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def everywhere() -> AsyncIterator[Secured]:
    """Two edges that share every port."""
    async with secured("--edges", "2") as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict() -> AsyncIterator[Secured]:
    """One edge with short times, in which a busy machine still shakes hands, and few connections."""
    extra = {
        "VEDETTE_HANDSHAKE_TIMEOUT": "3",
        "VEDETTE_MESSAGE_TIMEOUT": "3",
        "VEDETTE_MAX_CONNECTIONS_PER_SOURCE": "4",
    }
    async with secured(extra=extra) as one:
        yield one


async def until_no_connection(running: RunningSet, *hosts: str) -> None:
    """Return when the edge has a place again for a client on each of these."""
    for host in hosts:

        async def answers(host: str = host) -> bool:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, AssertionError, TimeoutError):
                async with phone_on(running, "tcp", host) as phone:
                    return (await phone.request(options(phone))).status == 200
            return False

        await until(answers, f"a place for {host}")


def options(phone: Phone) -> bytes:
    headers = [
        f"Via: {phone.via()}",
        f"From: <{phone.aor}>;tag={token()}",
        f"To: <{phone.aor}>",
        f"Call-ID: {token()}",
        "CSeq: 1 OPTIONS",
    ]
    return phone.build("OPTIONS", "sip:example.com", headers)


async def is_refused(phone: Phone) -> bool:
    """Whether the server closes the phone's connection without an answer."""
    try:
        await phone.open()
        phone.send(options(phone))
    except (OSError, asyncio.IncompleteReadError):
        return True
    await asyncio.wait_for(phone.closed.wait(), 15)
    return not phone.received


@contextlib.asynccontextmanager
async def phone_on(running: RunningSet, transport: str, host: str | None = None) -> AsyncIterator[Phone]:
    phone = Phone(running.address(transport, host), transport, token("u"), running.context(transport))
    await phone.open()
    try:
        yield phone
    finally:
        await phone.close()


@contextlib.asynccontextmanager
async def browser(running: RunningSet, transport: str, *, opens: bool = True) -> AsyncIterator[WebSocketClient]:
    client = await WebSocketClient.connect(running.address(transport), running.context(transport))
    try:
        if opens:
            await client.open()
        yield client
    finally:
        await client.close()


# a subscription's whole life


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_trn_20_trn_25_out_10_out_12_a_watcher_sees_every_state_over_its_own_transport(
    transport: str, host: str, everywhere: Secured, make_phone: MakePhone
) -> None:
    running = everywhere.running
    alice = await make_phone(running, transport=transport, host=host)
    bob = await make_phone(running, transport=transport, host=host)
    ours = host_port(host, running.address(transport)[1])
    dialog = bob.dialog(alice.aor)
    response = await bob.request(bob.subscribe(dialog))
    assert response.status == 200
    suffix = {"udp": "", "wss": ";transport=ws"}.get(transport, f";transport={transport}")
    assert response["contact"].endswith(f"@{ours}{suffix}>")
    via = response.all("via")[0]
    assert parameter(via, "received") == host
    assert (parameter(via, "rport") or "").isdigit()
    learn(dialog, response)
    tag = await alice.published(body=pidf(alice.aor, note="first"))
    notify = await bob.notify_where(saying("first"))
    assert notify.all("via")[0].startswith(f"SIP/2.0/{transport.upper()} {ours};branch=z9hG4bK")
    assert notify.start == f"NOTIFY {bob.contact.strip('<>')} SIP/2.0"
    assert notify["contact"] == response["contact"]
    changed = await alice.request(alice.publish(if_match=tag, body=pidf(alice.aor, note="second")))
    assert changed.status == 200
    await bob.notify_where(saying("second"))
    refreshed = await bob.request(bob.subscribe(dialog))
    assert refreshed.status == 200
    dialog.cseq += 1
    assert (await bob.next_notify()).state == "active"
    removed = await alice.request(alice.publish(if_match=changed["sip-etag"], expires=0))
    assert removed.status == 200
    assert notes((await bob.next_notify()).body) == []
    assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
    assert (await bob.next_notify()).state == "terminated"
    assert bob.nothing_waits()


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
async def test_trn_20_edges_that_share_a_port_each_serve_their_own_connections(
    transport: str, everywhere: Secured, make_phone: MakePhone
) -> None:
    running = everywhere.running
    alice = await make_phone(running)
    phones: list[Phone] = []
    edges: set[str] = set()

    async def both() -> bool:
        """The kernel gives a connection to either of them, by chance."""
        phones.append(await make_phone(running, transport=transport))
        dialog, _ = await phones[-1].subscribed(alice.aor)
        view = await subscription(running, dialog)
        assert view is not None
        edges.add(view["edge"])
        return len(edges) == 2

    await until(both, "both edges have a connection")
    await alice.published(body=pidf(alice.aor, note="to all"))
    for phone in phones:
        await phone.notify_where(saying("to all"))


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_trn_20_out_02_the_connection_of_the_subscribe_is_used_whatever_contact_says(
    transport: str, everywhere: Secured, make_phone: MakePhone
) -> None:
    bob = await make_phone(everywhere.running, transport=transport)
    contact = f"<sip:bob@127.0.0.1:9;transport={transport};ob>"
    response = await bob.request(bob.subscribe(bob.dialog(f"sip:{token('alice')}@example.com"), contact=contact))
    assert response.status == 200
    assert (await bob.next_notify()).start == f"NOTIFY {contact.strip('<>')} SIP/2.0"


async def test_trn_24_a_sips_watcher_gets_a_sips_contact_and_its_notifies_over_tls(
    everywhere: Secured, make_phone: MakePhone
) -> None:
    running = everywhere.running
    bob = await make_phone(running, transport="tls")
    contact = f"<sips:bob@{host_port(*bob.local)}>"
    user = token("alice")
    dialog = bob.dialog(f"sips:{user}@example.com")
    response = await bob.request(bob.subscribe(dialog, contact=contact))
    assert response.status == 200
    assert response["contact"].startswith("<sips:")
    assert response["contact"].endswith(f"@{host_port(*running.address('tls'))}>")
    notify = await bob.next_notify()
    assert notify.start == f"NOTIFY {contact.strip('<>')} SIP/2.0"
    learn(dialog, response)
    alice = await make_phone(running)
    await alice.published(f"sip:{user}@example.com", body=pidf(note="the same resource"))
    await bob.notify_where(saying("the same resource"))
    assert (await bob.request(bob.subscribe(dialog))).status == 200


async def test_dlg_18_trn_24_who_asks_for_sips_over_udp_gets_a_sips_contact_that_leads_to_us(
    everywhere: Secured, make_phone: MakePhone
) -> None:
    bob, over_tls = await make_phone(everywhere.running), await make_phone(everywhere.running, transport="tls")
    dialog = bob.dialog(f"sips:{token('alice')}@example.com")
    response = await bob.request(bob.subscribe(dialog))
    assert response.status == 200
    learn(dialog, response)
    notify = await bob.next_notify()
    assert response["contact"] == notify["contact"]
    assert response["contact"].startswith("<sips:")
    assert response["contact"].endswith(f"@{host_port(*everywhere.running.address('tls'))}>")
    dialog.cseq += 1
    assert (await over_tls.request(over_tls.subscribe(dialog))).status == 200
    await over_tls.next_notify()


async def test_trn_24_a_sips_contact_behind_udp_gets_its_notify_by_tls_or_not_at_all(
    everywhere: Secured, make_phone: MakePhone
) -> None:
    bob = await make_phone(everywhere.running)
    plain = await make_phone(everywhere.running)
    contact = f"<sips:bob@{host_port(*plain.local)}>"
    response = await bob.request(bob.subscribe(bob.dialog(f"sip:{token('a')}@example.com"), contact=contact))
    assert response.status == 200
    dialog = bob.dialog("")
    learn(dialog, response)

    async def given_up() -> bool:
        return await subscription(everywhere.running, dialog) is None

    await until(given_up, "the subscription that cannot be served ends")
    assert plain.nothing_waits()
    assert bob.nothing_waits()


@pytest.mark.parametrize("transport", WEBSOCKETS)
async def test_out_05_out_12_a_browser_that_lost_its_connection_is_owed_its_state_until_it_comes_back(
    transport: str, everywhere: Secured, make_phone: MakePhone
) -> None:
    running = everywhere.running
    alice = await make_phone(running)
    async with phone_on(running, transport) as before:
        dialog, _ = await before.subscribed(alice.aor)
    tag = await alice.published(body=pidf(alice.aor, note="nobody sees this"))

    async def waits() -> bool:
        view = await subscription(running, dialog)
        assert view is not None, "the subscription has ended"
        return view["notify_version"] == 0 and not view["notify_outstanding"]

    await until(waits, "the NOTIFY waits")
    changed = await alice.request(alice.publish(if_match=tag, body=pidf(alice.aor, note="meanwhile")))
    assert changed.status == 200
    async with phone_on(running, transport) as after:
        assert (await after.request(after.subscribe(dialog))).status == 200
        assert notes((await after.next_notify()).body) == ["meanwhile"]
        dialog.cseq += 1
        await alice.request(alice.publish(if_match=changed["sip-etag"], body=pidf(alice.aor, note="and on")))
        await after.notify_where(saying("and on"))


# streams


@pytest.mark.parametrize("transport", STREAMS)
async def test_trn_08_trn_11_trn_12_out_03_out_16_framing_and_pings_are_those_of_tcp(
    transport: str, everywhere: Secured
) -> None:
    async with phone_on(everywhere.running, transport) as phone:
        context = everywhere.running.context(transport)
        reader, writer = await asyncio.open_connection(*everywhere.running.address(transport), ssl=context)
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(2), 15) == b"\r\n"
        requests = [options(phone) for _ in range(3)]
        whole = b"\r\n" + requests[0] + b"\r\n" + requests[1] + requests[2]
        for start in range(0, len(whole), 97):
            writer.write(whole[start : start + 97])
            await writer.drain()
        for _ in requests:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
            assert head.startswith(b"SIP/2.0 200 ")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("transport", STREAMS)
async def test_trn_09_trn_10_out_16_what_cannot_be_cut_gets_400_and_the_end(
    transport: str, everywhere: Secured
) -> None:
    async with phone_on(everywhere.running, transport) as phone:
        broken = options(phone).replace(b"Content-Length: 0\r\n", b"")
        phone.send(broken)
        await asyncio.wait_for(phone.closed.wait(), 15)
        assert [message.status for message in phone.received] == [400]


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
@pytest.mark.parametrize("via", ["Via: SIP/2.0/TCP 127.0.0.1;=;", "Via: nonsense"])
async def test_msg_36_a_request_whose_via_cannot_be_read_is_dropped_and_the_connection_goes_on(
    via: str, transport: str, everywhere: Secured
) -> None:
    async with phone_on(everywhere.running, transport) as phone:
        phone.send(re.sub(rb"Via: [^\r]*", via.encode(), options(phone)))
        assert (await phone.request(options(phone))).status == 200
        assert len(phone.received) == 1


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
async def test_msg_36_a_request_without_a_via_gets_400_where_its_connection_leads_back(
    transport: str, everywhere: Secured
) -> None:
    async with phone_on(everywhere.running, transport) as phone:
        phone.send(re.sub(rb"Via: [^\r]*", b"X-Via: SIP/2.0/TCP a", options(phone)))
        await until_true(lambda: phone.received, "an answer without a Via")
        assert (await phone.request(options(phone))).status == 200
        assert [message.status for message in phone.received] == [400, 200]


@dataclass
class Hostile:
    """Octets that are nearly, or not at all, what a transport carries; the same for the same seed."""

    random: random.Random
    phone: Phone

    def message(self) -> bytes:
        octets = bytearray(options(self.phone))
        for _ in range(self.random.randint(0, 5)):
            octets[self.random.randrange(len(octets))] = self.random.randrange(256)
        return bytes(octets)

    def frame(self) -> bytes:
        opcode = self.random.choice((TEXT, BINARY, 0, CLOSE, PING, PONG, 3))
        message = self.message()[: self.random.choice((100, 2000))]
        octets = bytearray(frame(opcode, message, fin=self.random.random() < 0.8, masked=self.random.random() < 0.95))
        if self.random.random() < 0.3:
            octets[self.random.randrange(len(octets))] ^= 1 << self.random.randrange(8)
        return bytes(octets)

    def stream(self, transport: str) -> bytes:
        if self.random.random() < 0.3:
            return self.random.randbytes(self.random.randint(1, 3000))
        is_websocket = transport in WEBSOCKETS
        start = opening() if is_websocket and self.random.random() < 0.8 else b""
        parts = (self.frame() if is_websocket else self.message() for _ in range(self.random.randint(1, 6)))
        return start + b"".join(parts)


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
async def test_trn_26_msg_53_hostile_octets_break_nothing(transport: str, everywhere: Secured) -> None:
    running = everywhere.running
    async with phone_on(running, transport) as phone:
        hostile = Hostile(random.Random(transport), phone)

        async def connection() -> None:
            with_tls = transport in WITH_TLS and hostile.random.random() < 0.7
            octets = hostile.stream(transport)
            part = hostile.random.randint(0, len(octets))
            context = running.context(transport) if with_tls else None
            reader, writer = await asyncio.open_connection(*running.address(transport), ssl=context)
            with contextlib.suppress(OSError):
                writer.write(octets[:part])
                await asyncio.sleep(0)
                writer.write(octets[part:])
                if hostile.random.random() < 0.5:
                    writer.transport.abort()
                elif writer.can_write_eof():
                    writer.write_eof()
                    await asyncio.wait_for(reader.read(), 30)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        for _ in range(10):
            await asyncio.gather(*(connection() for _ in range(20)))
        assert (await phone.request(options(phone))).status == 200
    for log in (running.data / "log").glob("edge-*.log"):
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


# UDP


@pytest.mark.parametrize("host", HOSTS)
async def test_trn_14_a_stun_request_on_the_sip_port_is_told_where_it_came_from(
    host: str, everywhere: Secured
) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(everywhere.running.address("udp", host))
        transaction = os.urandom(12)
        client.send(b"\0\1\0\0\x21\x12\xa4\x42" + transaction)
        loop = asyncio.get_running_loop()
        answer = await asyncio.wait_for(loop.sock_recv(client, 2000), 15)
        address, port = client.getsockname()[:2]
    assert (answer[:2], answer[8:20]) == (b"\1\1", transaction)
    mask = b"\x21\x12\xa4\x42" + transaction
    unhidden = bytes(a ^ b for a, b in zip(answer[28:], mask, strict=False))
    assert int.from_bytes(answer[26:28], "big") ^ 0x2112 == port
    assert str(ipaddress.ip_address(unhidden)) == address


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_trn_19_a_large_response_stays_on_the_transport_of_its_request(
    transport: str, everywhere: Secured
) -> None:
    async with phone_on(everywhere.running, transport) as phone:
        # A response copies the Vias, so this one is as large as the request.
        vias = "".join(f"Via: SIP/2.0/UDP p{n}.example.net;branch=z9hG4bK{'x' * 200}{n}\r\n" for n in range(20))
        response = await phone.request(options(phone).replace(b"From: ", vias.encode() + b"From: ", 1))
        assert (response.status, len(response.all("via"))) == (200, 21)
        assert len(response.raw) > 4000


# TLS


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("transport", WITH_TLS)
async def test_out_16_tls_below_1_2_and_plain_text_are_refused(transport: str, everywhere: Secured) -> None:
    address = everywhere.running.address(transport)
    old = trusting(everywhere.authority.file)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(*address, ssl=old)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"OPTIONS sip:example.com SIP/2.0\r\n\r\n")
    came = await asyncio.wait_for(reader.read(), 15)
    assert not came.startswith(b"SIP/2.0")
    writer.close()
    await writer.wait_closed()


async def serial(running: RunningSet, transport: str) -> str:
    """The serial number of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection(*running.address(transport), ssl=running.context(transport))
    found = serial_of(writer.get_extra_info("peercert"))
    writer.close()
    with contextlib.suppress(ssl.SSLError):
        await writer.wait_closed()
    return found


@pytest.mark.parametrize("how", ["file", "signal"])
async def test_a_new_certificate_is_used_without_a_restart_and_nobody_is_cut_off(
    how: str, everywhere: Secured, make_phone: MakePhone
) -> None:
    running = everywhere.running
    alice = await make_phone(running)
    watchers = [await make_phone(running, transport=transport) for transport in WITH_TLS]
    for watcher in watchers:
        await watcher.subscribed(alice.aor)
    before = await serial(running, "tls")
    edges = await running.processes("edge")
    everywhere.replace(everywhere.authority.issue(f"renewed-{how}", *HOSTS))
    if how == "signal":
        for edge in edges:
            os.kill(edge["pid"], signal.SIGHUP)

    async def renewed() -> bool:
        # Often enough to meet both edges.
        shown = [await serial(running, transport) for transport in WITH_TLS * 6]
        return before not in shown and len(set(shown)) == 1

    await until(renewed, "the new certificate is shown by every edge")
    await alice.published(body=pidf(alice.aor, note="still here"))
    for watcher in watchers:
        await watcher.notify_where(saying("still here"))
    assert [edge["pid"] for edge in await running.processes("edge")] == [edge["pid"] for edge in edges]


async def test_a_certificate_that_cannot_be_used_leaves_the_one_before(everywhere: Secured) -> None:
    running = everywhere.running
    before = await serial(running, "tls")
    key = everywhere.files.key.read_bytes()
    everywhere.files.key.write_bytes(b"nonsense")
    logs = [running.data / "log" / f"edge-{index}.log" for index in range(2)]

    async def complained() -> bool:
        return all("certificates cannot be used" in log.read_text() for log in logs)

    await until(complained, "the edges say so")
    assert await serial(running, "tls") == before
    everywhere.files.key.write_bytes(key)


async def test_clients_can_be_asked_for_a_certificate(tmp_path_factory: pytest.TempPathFactory) -> None:
    clients = Authority(tmp_path_factory.mktemp("clients"))
    async with secured("--tls-client-ca", str(clients.file)) as one:
        running, ours = one.running, one.authority.file
        for transport in WITH_TLS:
            server = running.address(transport)
            phone = Phone(server, transport, token("u"), clients.issue("phone").client_context(ours))
            await phone.open()
            assert (await phone.request(options(phone))).status == 200
            await phone.close()
            for context in (trusting(ours), one.authority.issue("stranger").client_context(ours)):
                stranger = Phone(server, transport, token("u"), context)
                assert await is_refused(stranger)
                await stranger.close()
        async with opened(running) as phone:
            assert (await phone.request(options(phone))).status == 200, "UDP has no certificates"


# WebSocket


@pytest.mark.parametrize("transport", WEBSOCKETS)
@pytest.mark.parametrize("offered", [None, "msrp", "xmpp, msrp"])
async def test_out_07_a_client_that_does_not_offer_sip_is_refused(
    offered: str | None, transport: str, everywhere: Secured
) -> None:
    async with browser(everywhere.running, transport, opens=False) as client:
        client.send(opening(subprotocol=offered))
        answer = await client.answer()
        assert answer.status == 400
        assert "sec-websocket-protocol" not in answer.headers
        await client.until_closed()


@pytest.mark.parametrize("transport", WEBSOCKETS)
async def test_out_08_out_09_text_binary_and_fragments_are_one_message_each(
    transport: str, everywhere: Secured, make_phone: MakePhone
) -> None:
    phone = await make_phone(everywhere.running, transport=transport)
    async with browser(everywhere.running, transport) as client:
        for octets in (
            frame(TEXT, options(phone)),
            frame(BINARY, options(phone)),
            frame(TEXT, (half := options(phone))[:40], fin=False) + frame(PING, b"x") + frame(0, half[40:]),
        ):
            client.send(octets)
            opcode, data = await client.frame()
            if opcode == PONG:
                opcode, data = await client.frame()
            assert opcode == TEXT
            assert data.startswith(b"SIP/2.0 200 ")


@pytest.mark.parametrize("transport", WEBSOCKETS)
async def test_out_09_a_document_that_is_not_utf_8_comes_as_binary(
    transport: str, everywhere: Secured, make_phone: MakePhone
) -> None:
    phone = await make_phone(everywhere.running, transport=transport)
    async with browser(everywhere.running, transport) as client:
        # A response copies the From, whatever its octets are.
        request = options(phone).replace(b"From: <", b'From: "\xff" <')
        client.send(frame(TEXT, request))
        assert (await client.frame())[0] == CLOSE, "text has to be UTF-8"
    async with browser(everywhere.running, transport) as client:
        client.send(frame(BINARY, request))
        opcode, data = await client.frame()
        assert data.startswith(b"SIP/2.0 200 ")
        assert (opcode, b"\xff" in data) == (BINARY, True)


@pytest.mark.parametrize("transport", WEBSOCKETS)
@pytest.mark.parametrize(("length", "status"), [(None, 200), ("0", 200), ("5", 400)])
async def test_out_11_content_length_may_be_left_out_and_may_not_be_too_large(
    length: str | None, status: int, transport: str, everywhere: Secured
) -> None:
    async with phone_on(everywhere.running, transport) as phone:
        header = b"" if length is None else f"Content-Length: {length}\r\n".encode()
        response = await phone.request(options(phone).replace(b"Content-Length: 0\r\n", header))
        assert response.status == status
        assert (await phone.request(options(phone))).status == 200, "the connection goes on"


@pytest.mark.parametrize("transport", WEBSOCKETS)
async def test_out_13_both_kinds_of_keep_alive_are_answered(transport: str, everywhere: Secured) -> None:
    async with browser(everywhere.running, transport) as client:
        client.send(frame(PING, b"are you there"))
        assert await client.frame() == (PONG, b"are you there")
        client.send(frame(TEXT, b"\r\n\r\n"))
        assert await client.frame() == (TEXT, b"\r\n")
        client.send(frame(CLOSE, b"\x03\xe8"))
        assert await client.frame() == (CLOSE, b"\x03\xe8")
        assert await client.until_closed() == b""


@pytest.mark.parametrize("transport", WEBSOCKETS)
async def test_trn_26_a_message_over_the_limit_ends_the_connection(transport: str, everywhere: Secured) -> None:
    async with browser(everywhere.running, transport) as client:
        client.send(frame(TEXT, b"x" * (MAX_HEAD + MAX_BODY + 1))[:2000])
        opcode, content = await client.frame()
        assert (opcode, int.from_bytes(content[:2], "big")) == (CLOSE, 1009)


async def test_out_14_scripts_of_other_sites_are_refused_where_sites_are_named() -> None:
    async with secured(extra={"VEDETTE_WS_ORIGINS": "https://app.example.com, https://b.example"}) as one:
        for transport in WEBSOCKETS:
            for origin, status in (
                ("https://app.example.com", 101),
                ("https://b.example", 101),
                ("https://evil.example", 403),
                (None, 403),
            ):
                async with browser(one.running, transport, opens=False) as client:
                    client.send(opening(origin=origin))
                    assert (await client.answer()).status == status


# limits


@pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
@pytest.mark.parametrize("transport", WITH_TLS)
async def test_trn_26_a_handshake_that_stops_is_cut(octets: bytes, transport: str, strict: Secured) -> None:
    reader, writer = await asyncio.open_connection(*strict.running.address(transport))
    writer.write(octets)
    assert await asyncio.wait_for(reader.read(), 15) == b""
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
async def test_trn_26_a_message_that_stops_is_cut(transport: str, strict: Secured) -> None:
    async with phone_on(strict.running, transport) as phone:
        assert (await phone.request(options(phone))).status == 200
        part = options(phone)[:-1]
        if transport in WEBSOCKETS:
            assert phone._writer is not None
            phone._writer.write(frame(TEXT, part)[:-1])
        else:
            phone.send(part)
        await asyncio.wait_for(phone.closed.wait(), 15)


async def test_trn_26_one_source_has_its_share_of_connections_over_all_transports(strict: Secured) -> None:
    running = strict.running
    await until_no_connection(running, *HOSTS)
    async with contextlib.AsyncExitStack() as stack:
        phones = [await stack.enter_async_context(phone_on(running, one)) for one in ("tcp", "tls", "ws", "wss")]
        for phone in phones:
            assert (await phone.request(options(phone))).status == 200
        for transport in ("tcp", "tls", "ws", "wss"):
            fifth = Phone(running.address(transport), transport, token("u"), running.context(transport))
            assert await is_refused(fifth)
            await fifth.close()
        other = await stack.enter_async_context(phone_on(running, "tls", "::1"))
        assert (await other.request(options(other))).status == 200
        for phone in phones:
            assert (await phone.request(options(phone))).status == 200, "those that are there stay"
    await until_no_connection(running, *HOSTS)


# a client of others


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_trn_25_calls_of_sipp_over_ipv6_end_well(everywhere: Secured, tmp_path: Path, transport: str) -> None:
    run = token(f"sipp-{transport}-")
    server = everywhere.running.address(transport, "::1")
    await run_sipp(server, tmp_path, "watch", PRESENCE, transport=transport, run=run, calls=100)
    assert len(await publications(everywhere.running, f"sip:{run}-1@example.com")) == 1


# what people are told


async def test_the_status_says_where_each_transport_is(everywhere: Secured) -> None:
    running = everywhere.running
    status = await running.status()
    assert {name: split(status[name])[0] for name in ("sip", "tls", "ws", "wss")} == dict.fromkeys(
        ("sip", "tls", "ws", "wss"), HOSTS[0]
    )
    table = await running.command("status", "--data", str(running.data))
    for name in ("tls", "ws", "wss"):
        assert f"{name.upper()} {status[name]}" in table
        assert any(line.split() == [name.upper(), status[name]] for line in running.output)
