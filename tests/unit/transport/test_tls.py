"""TLS: sessions without I/O, certificates that change, and connections on loopback (rows OUT-16, TRN-24, TRN-26)."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.certificates import Authority, Pair, serial_of, trusting
from tests.unit.sip.messages import changed, wire
from tests.unit.transport.wires import HOST, Listener, TcpEnd, connect, listener
from tests.wait import until_true
from vedette.sip.flow import Flow
from vedette.sip.framing import Framed
from vedette.transport.connection import MAX_UNSENT_OCTETS
from vedette.transport.limits import Census, ConnectionLimits
from vedette.transport.streams import StreamTransport
from vedette.transport.tcp import PONG, StreamWire
from vedette.transport.tls import CertificateError, TlsContexts, TlsFiles, TlsSession

REQUEST = wire()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("server", HOST, "sip.example.com")


def contexts(
    server: Pair, authority: Authority, *, client_ca: Path | None = None, require: bool = True
) -> TlsContexts:
    files = TlsFiles(server.certificate, server.key, client_ca=client_ca, ca=authority.file)
    return TlsContexts(files, require_client_certificate=require)


class Recorder:
    """A TLS transport and what it told."""

    def __init__(self, tls: TlsContexts, limits: ConnectionLimits) -> None:
        self.received: list[tuple[Framed, Flow]] = []
        self.failed: list[Flow] = []
        self.answer = b""
        self.transport = StreamTransport(
            "tls",
            make_wire=lambda: StreamWire(max_body=1000),
            received=self.take,
            failed=self.failed.append,
            limits=limits,
            census=Census(limits),
            tls=tls,
        )

    def take(self, framed: Framed, flow: Flow) -> None:
        self.received.append((framed, flow))
        if self.answer:
            self.transport.send(flow, self.answer)

    @property
    def address(self) -> tuple[str, int]:
        return self.transport.addresses[0]

    @property
    def data(self) -> list[bytes]:
        return [framed.data for framed, _ in self.received]


@asynccontextmanager
async def listening(tls: TlsContexts, limits: ConnectionLimits | None = None) -> AsyncIterator[Recorder]:
    recorder = Recorder(tls, limits or ConnectionLimits())
    await recorder.transport.listen(HOST, 0)
    try:
        yield recorder
    finally:
        await recorder.transport.close()


@asynccontextmanager
async def connected(address: tuple[str, int], context: ssl.SSLContext, name: str = HOST) -> AsyncIterator[TcpEnd]:
    end = TcpEnd(*await asyncio.open_connection(*address, ssl=context, server_hostname=name))
    try:
        yield end
    finally:
        await end.close()


# sessions


def run(near: TlsSession, far: TlsSession) -> None:
    """Carry octets between the two until both are silent."""
    while True:
        there, back = near.to_send(), far.to_send()
        if not there and not back:
            return
        if there:
            far.receive(there)
        if back:
            near.receive(back)


def sessions(tls: TlsContexts, name: str = HOST) -> tuple[TlsSession, TlsSession]:
    near = TlsSession(tls.client, server_side=False, name=name)
    far = TlsSession(tls.server, server_side=True)
    near.start()
    run(near, far)
    return near, far


def test_a_session_carries_plain_text_both_ways_and_ends(server: Pair, authority: Authority) -> None:
    near, far = sessions(contexts(server, authority))
    assert near.is_established
    assert far.is_established
    near.send(b"hello " * 20_000)
    sent = near.to_send()
    assert b"".join(far.receive(sent[i : i + 1000]) for i in range(0, len(sent), 1000)) == b"hello " * 20_000
    far.send(b"back")
    assert near.receive(far.to_send()) == b"back"
    near.send(b"last")
    near.close()
    assert far.receive(near.to_send()) == b"last"
    assert far.is_over
    assert far.problem == ""


@pytest.mark.parametrize("name", ["127.0.0.2", "other.example.com"])
def test_trn_24_a_server_that_is_somebody_else_is_not_talked_to(
    name: str, server: Pair, authority: Authority
) -> None:
    near, far = sessions(contexts(server, authority), name)
    assert (near.is_established, near.is_over) == (False, True)
    assert "CERTIFICATE_VERIFY_FAILED" in near.problem
    assert far.is_over


def test_a_server_need_not_prove_itself_where_that_is_said(server: Pair) -> None:
    tls = TlsContexts(TlsFiles(server.certificate, server.key), check_servers=False)
    near, _ = sessions(tls, "other.example.com")
    assert near.is_established


@pytest.mark.parametrize(
    "octets", [b"OPTIONS sip:a SIP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff" * 9]
)
def test_what_is_no_tls_ends_the_session(octets: bytes, server: Pair, authority: Authority) -> None:
    far = TlsSession(contexts(server, authority).server, server_side=True)
    assert far.receive(octets) == b""
    assert far.is_over
    assert far.problem


def test_octets_broken_on_their_way_end_the_session_after_what_was_whole(server: Pair, authority: Authority) -> None:
    near, far = sessions(contexts(server, authority))
    near.send(b"whole")
    whole = near.to_send()
    near.send(b"broken")
    broken = bytearray(near.to_send())
    broken[-1] ^= 1
    assert far.receive(whole + broken) == b"whole"
    assert (far.is_over, bool(far.problem)) == (True, True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_before_1_2_is_refused(version: ssl.TLSVersion, server: Pair, authority: Authority) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = version
    old.load_verify_locations(authority.file)
    near = TlsSession(old, server_side=False, name=HOST)
    far = TlsSession(contexts(server, authority).server, server_side=True)
    near.start()
    run(near, far)
    assert (near.is_established, far.is_established) == (False, False)
    assert far.is_over


# files


def test_a_file_that_is_missing_or_no_pem_is_named(tmp_path: Path, server: Pair, authority: Authority) -> None:
    missing, nonsense = tmp_path / "missing.pem", tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for files, named in (
        (TlsFiles(missing, server.key), missing),
        (TlsFiles(server.certificate, missing), missing),
        (TlsFiles(nonsense, server.key), nonsense),
        (TlsFiles(server.certificate, server.key, client_ca=nonsense), nonsense),
        (TlsFiles(server.certificate, server.key, ca=missing), missing),
    ):
        with pytest.raises(CertificateError, match=str(named)):
            TlsContexts(files)


def test_a_key_of_another_certificate_and_one_with_a_password_are_refused(
    tmp_path: Path, server: Pair, authority: Authority
) -> None:
    other = authority.issue("other", HOST)
    with pytest.raises(CertificateError, match="key values mismatch"):
        TlsContexts(TlsFiles(server.certificate, other.key))
    key = serialization.load_pem_private_key(server.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(CertificateError, match=str(server.certificate)):
        TlsContexts(TlsFiles(server.certificate, locked))


def test_key_and_certificate_may_be_in_one_file(tmp_path: Path, server: Pair, authority: Authority) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(server.certificate.read_bytes() + server.key.read_bytes())
    near, _ = sessions(TlsContexts(TlsFiles(both, ca=authority.file)))
    assert near.is_established


def test_files_that_change_are_noticed_and_bad_ones_leave_what_was_there(
    tmp_path: Path, server: Pair, authority: Authority
) -> None:
    pair = Pair(tmp_path / "certificate.pem", tmp_path / "key.pem")
    replace(pair, server)
    tls = TlsContexts(TlsFiles(pair.certificate, pair.key, ca=authority.file))
    assert not tls.is_outdated()
    before = tls.server
    new = authority.issue("new", HOST)
    pair.certificate.write_bytes(new.certificate.read_bytes())
    assert tls.is_outdated()
    with pytest.raises(CertificateError, match="mismatch"):
        tls.reload()
    assert tls.server is before
    assert tls.is_outdated()
    replace(pair, new)
    tls.reload()
    assert tls.server is not before
    assert not tls.is_outdated()
    pair.key.unlink()
    assert tls.is_outdated()


def replace(pair: Pair, by: Pair) -> None:
    """Put other files in the place of these, at once, as tools do that renew certificates."""
    for path, new in ((pair.certificate, by.certificate), (pair.key, by.key)):
        beside = path.with_suffix(".new")
        beside.write_bytes(new.read_bytes())
        beside.replace(path)


# connections


async def test_out_16_trn_08_20_messages_come_and_answers_go_back_on_the_connection(
    server: Pair, authority: Authority
) -> None:
    async with listening(contexts(server, authority)) as here:
        async with connected(here.address, trusting(authority.file)) as far:
            for start in range(0, len(REQUEST), 50):
                far.send(REQUEST[start : start + 50])
                await far.writer.drain()
            far.send(REQUEST + b"\r\n\r\n" + REQUEST)
            await until_true(lambda: here.data == [REQUEST] * 3, "three messages")
            assert await far.receive(2) == PONG
            flow = here.received[0][1]
            assert (flow.transport, flow.source) == ("tls", far.address)
            here.transport.send(flow, b"over the same")
            here.transport.send(flow._replace(connection=0), b" connection")
            assert await far.receive(24) == b"over the same connection"
        await until_true(lambda: flow in here.failed, "the end of the connection")
        assert len(here.transport) == 0


async def test_out_16_trn_10_after_a_framing_error_the_answer_leaves_then_it_ends(
    server: Pair, authority: Authority
) -> None:
    async with (
        listening(contexts(server, authority)) as here,
        connected(here.address, trusting(authority.file)) as far,
    ):
        far.send(wire(changed(("Content-Length", None))))
        assert await far.end() == b""
        [(framed, _)] = here.received
        assert framed.error is not None


async def test_trn_26_a_handshake_that_does_not_go_on_is_cut(server: Pair, authority: Authority) -> None:
    limits = ConnectionLimits(opening=0.2)
    async with listening(contexts(server, authority), limits) as here:
        for octets in (b"", b"\x16\x03\x01\x02\x00\x01"):
            reader, writer = await asyncio.open_connection(*here.address)
            writer.write(octets)
            end = TcpEnd(reader, writer)
            assert await end.end() == b""
            await end.close()
        assert here.transport.cut == 2
        assert len(here.transport) == 0


async def test_trn_26_an_open_handshake_counts_as_a_connection(server: Pair, authority: Authority) -> None:
    async with listening(contexts(server, authority), ConnectionLimits(per_source=1)) as here:
        _, writer = await asyncio.open_connection(*here.address)
        await until_true(lambda: len(here.transport) == 1, "the first connection")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            async with connected(here.address, trusting(authority.file)):
                pass
        assert here.transport.refused == 1
        writer.close()
        await writer.wait_closed()


async def test_trn_26_a_far_end_that_does_not_read_loses_its_connection(server: Pair, authority: Authority) -> None:
    async with (
        listening(contexts(server, authority)) as here,
        connected(here.address, trusting(authority.file)) as far,
    ):
        far.send(REQUEST)
        await until_true(lambda: here.received, "the message")
        flow = here.received[0][1]
        for _ in range(40):
            here.transport.send(flow, b"x" * (MAX_UNSENT_OCTETS // 4))
        await until_true(lambda: flow in here.failed, "the end of the connection")


async def test_a_connection_shows_the_certificate_of_its_time(
    tmp_path: Path, server: Pair, authority: Authority
) -> None:
    pair = Pair(tmp_path / "certificate.pem", tmp_path / "key.pem")
    replace(pair, server)
    tls = TlsContexts(TlsFiles(pair.certificate, pair.key))
    async with listening(tls) as here, connected(here.address, trusting(authority.file)) as old:
        replace(pair, authority.issue("renewed", HOST))
        tls.reload()
        async with connected(here.address, trusting(authority.file)) as new:
            serials = [serial_of(end.writer.get_extra_info("peercert")) for end in (old, new)]
            assert len(set(serials)) == 2
            old.send(REQUEST)
            await until_true(lambda: here.data == [REQUEST], "a message over the old one")


@pytest.mark.parametrize(
    ("require", "shows", "accepted"),
    [
        (True, "own", True),
        (True, "none", False),
        (True, "foreign", False),
        (False, "own", True),
        (False, "none", True),
        (False, "foreign", False),
    ],
)
async def test_client_certificates(
    *, require: bool, shows: str, accepted: bool, tmp_path: Path, server: Pair, authority: Authority
) -> None:
    clients, strangers = Authority(tmp_path / "clients"), Authority(tmp_path / "strangers")
    context = {
        "own": clients.issue("client").client_context(authority.file),
        "none": trusting(authority.file),
        "foreign": strangers.issue("client").client_context(authority.file),
    }[shows]
    async with listening(contexts(server, authority, client_ca=clients.file, require=require)) as here:
        if accepted:
            async with connected(here.address, context) as far:
                far.send(REQUEST)
                await until_true(lambda: here.data == [REQUEST], "the message")
        else:
            # With TLS 1.3 the client believes to be connected until it reads.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                async with connected(here.address, context) as far:
                    far.send(REQUEST)
                    assert await far.end() == b""
            await until_true(lambda: here.transport.failed_handshakes == 1, "the refusal")
            assert here.data == []


# connections of ours


@asynccontextmanager
async def tls_listener(pair: Pair) -> AsyncIterator[Listener]:
    """Somebody else's TLS server."""
    far = Listener()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = await asyncio.start_server(far.connected, HOST, 0, ssl=context)
    far.address = server.sockets[0].getsockname()[:2]
    try:
        yield far
    finally:
        server.close()
        for end in far.ends:
            await end.close()


async def test_trn_20_24_messages_to_an_address_share_the_connection_that_the_first_opens(
    server: Pair, authority: Authority
) -> None:
    async with listening(contexts(server, authority)) as here, tls_listener(server) as far:
        flow = Flow("tls", *far.address)
        for part in (b"one ", b"two "):
            here.transport.send(flow, part)
        end = await far.accept()
        assert await end.receive(8) == b"one two "
        here.transport.send(flow, b"three")
        assert await end.receive(5) == b"three"
        end.send(REQUEST)
        await until_true(lambda: here.data == [REQUEST], "a message on the connection that was opened")
        assert (len(here.transport), here.failed) == (1, [])


async def test_trn_24_the_certificate_has_to_hold_the_name_that_was_looked_up(
    server: Pair, authority: Authority
) -> None:
    async with listening(contexts(server, authority)) as here, tls_listener(server) as far:
        good, bad = (Flow("tls", *far.address, 0, name) for name in ("sip.example.com", "other.example.com"))
        here.transport.send(good, b"hello")
        assert await (await far.accept()).receive(5) == b"hello"
        here.transport.send(bad, b"hello")
        await until_true(lambda: bad in here.failed, "the refusal")
        assert good not in here.failed


async def test_trn_22_a_far_end_without_tls_fails_its_flow(server: Pair, authority: Authority) -> None:
    async with listening(contexts(server, authority)) as here, listener() as plain:
        flow = Flow("tls", *plain.address)
        here.transport.send(flow, b"hello")
        (await plain.accept()).send(b"SIP/2.0 200 OK\r\n\r\n")
        await until_true(lambda: flow in here.failed, "the failure")
        assert len(here.transport) == 0


async def test_trn_07_a_message_that_comes_with_the_end_of_the_handshake_is_answered(
    server: Pair, authority: Authority
) -> None:
    tls = contexts(server, authority)
    async with listening(tls) as here, connect(here.address) as far:
        near = TlsSession(tls.client, server_side=False, name=HOST)
        near.start()
        far.send(near.to_send())
        while not near.is_established:
            near.receive(await far.reader.read(65536))
        near.send(REQUEST)
        here.answer = b"answer"
        far.send(near.to_send())
        plain = b""
        while not plain:
            plain = near.receive(await asyncio.wait_for(far.reader.read(65536), 15))
        assert plain == b"answer"
