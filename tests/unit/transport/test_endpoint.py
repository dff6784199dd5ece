"""An endpoint on loopback: sockets, transactions and the timer together (RFC 3261 sections 17 and 18)."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.unit.sip.messages import changed, wire
from tests.unit.transport.wires import HOST, closed_port, connect, has_ipv6, listener, udp_end
from tests.wait import until_true
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.reader import read_message
from vedette.sip.transaction.layer import RequestFinished, ServerTransaction, response_flow
from vedette.sip.transaction.timers import Timers
from vedette.sip.writer import write_response
from vedette.transport.endpoint import Endpoint
from vedette.transport.limits import ConnectionLimits

QUICK = Timers(t1=0.01, t2=0.04, t4=0.01)
CALM = Timers(t1=0.1, t2=0.4, t4=0.01)
"""With these Timer F leaves a busy machine the time to answer."""
PATIENT = Timers(t1=1000.0, t2=4000.0, t4=1000.0)
"""With these no timer ends while a test runs."""

VIA = "SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKabc1;rport"
REQUEST = wire(changed(("Via", VIA)))


class User:
    """Above the endpoint: records everything and answers requests with `answer`, where it is set."""

    def __init__(self) -> None:
        self.requests: list[tuple[Request, Flow]] = []
        self.begun: list[ServerTransaction | None] = []
        self.finished: list[RequestFinished] = []
        self.strays: list[tuple[Response, bytes, Flow]] = []
        self.answer: int | None = 200
        self.then: Callable[[RequestFinished], None] | None = None
        self.endpoint: Endpoint | None = None

    def request_received(self, request: Request, flow: Flow) -> None:
        assert self.endpoint is not None
        self.requests.append((request, flow))
        try:
            request.check()
        except SipError as error:
            target = response_flow(request, flow)
            refusal = write_response(request, error.status, source=target.source, reason=error.reason, to_tag="t1")
            self.endpoint.send_stateless(target, refusal)
            return
        transaction = self.endpoint.begin(request, flow)
        self.begun.append(transaction)
        if transaction is not None and self.answer is not None:
            self.endpoint.respond(transaction, self.response(request, transaction.flow))

    def response(self, request: Request, flow: Flow) -> bytes:
        assert self.answer is not None
        return write_response(request, self.answer, source=flow.source, to_tag=f"t{len(self.requests)}")

    def request_finished(self, finished: RequestFinished) -> None:
        self.finished.append(finished)
        if self.then is not None:
            self.then(finished)

    def stray_response(self, response: Response, data: bytes, flow: Flow) -> None:
        self.strays.append((response, data, flow))


async def open_endpoint(user: User, timers: Timers) -> Endpoint:
    endpoint = Endpoint(user, timers, limits=ConnectionLimits(total=10), max_body=1000)
    user.endpoint = endpoint
    await endpoint.open(HOST, 0)
    return endpoint


@pytest.fixture
def user() -> User:
    return User()


@pytest.fixture
async def quick(user: User) -> AsyncIterator[Endpoint]:
    endpoint = await open_endpoint(user, QUICK)
    yield endpoint
    await endpoint.close()


@pytest.fixture
async def calm(user: User) -> AsyncIterator[Endpoint]:
    endpoint = await open_endpoint(user, CALM)
    yield endpoint
    await endpoint.close()


@pytest.fixture
async def patient(user: User) -> AsyncIterator[Endpoint]:
    endpoint = await open_endpoint(user, PATIENT)
    yield endpoint
    await endpoint.close()


def notify(address: tuple[str, int], branch: str = "z9hG4bKn1") -> bytes:
    rows = changed(("Via", f"SIP/2.0/UDP {address[0]}:{address[1]};branch={branch}"), ("CSeq", "1 NOTIFY"))
    return wire(rows, start="NOTIFY sip:bob@127.0.0.1 SIP/2.0")


def answer_to(data: bytes, status: int = 200) -> bytes:
    request = read_message(data)
    assert isinstance(request, Request)
    return write_response(request, status, source=(HOST, 9), to_tag="w1")


async def test_trn_01_udp_and_tcp_listen_on_the_same_address(patient: Endpoint, user: User) -> None:
    async with udp_end() as packets, connect(patient.address) as stream:
        packets.send(REQUEST, patient.address)
        assert (await packets.receive()).startswith(b"SIP/2.0 200 OK\r\n")
        stream.send(wire(changed(("Via", "SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKabc2"))))
        assert await stream.receive(14) == b"SIP/2.0 200 OK"
        assert [flow.transport for _, flow in user.requests] == ["udp", "tcp"]


async def test_a_taken_port_is_told_and_nothing_stays_open(patient: Endpoint, user: User) -> None:
    other = Endpoint(user, PATIENT)
    with pytest.raises(OSError, match="in use"):
        await other.open(*patient.address)
    async with listener() as taken_on_tcp:
        with pytest.raises(OSError, match="in use"):
            await other.open(*taken_on_tcp.address)
    await other.open(*taken_on_tcp.address)
    await other.close()


async def test_trn_03_04_txn_01_02_a_repeated_request_gets_the_same_answer(patient: Endpoint, user: User) -> None:
    async with udp_end() as far:
        far.send(REQUEST, patient.address)
        first = await far.receive()
        far.send(REQUEST, patient.address)
        assert await far.receive() == first
        assert f";rport={far.address[1]};received=127.0.0.1".encode() in first.split(b"\r\n")[1]
        assert [begun is None for begun in user.begun] == [False, True]


async def test_txn_01_a_request_repeated_while_its_answer_is_owed_is_absorbed(patient: Endpoint, user: User) -> None:
    user.answer = None
    async with udp_end() as far:
        for _ in range(3):
            far.send(REQUEST, patient.address)
        await until_true(lambda: len(user.begun) == 3, "the requests")
        [transaction] = [begun for begun in user.begun if begun is not None]
        user.answer = 200
        patient.respond(transaction, user.response(user.requests[0][0], transaction.flow))
        await far.receive()
        far.send(REQUEST, patient.address)
        await far.receive()
        assert far.waiting() == []


async def test_txn_12_a_100_leaves_by_itself_when_the_answer_is_late(quick: Endpoint, user: User) -> None:
    user.answer = None
    async with udp_end() as far:
        far.send(REQUEST, quick.address)
        assert (await far.receive()).startswith(b"SIP/2.0 100 Trying\r\n")


async def test_txn_03_a_finished_transaction_is_forgotten_in_time(quick: Endpoint, user: User) -> None:
    async with udp_end() as far:
        far.send(REQUEST, quick.address)
        await far.receive()
        await until_true(lambda: len(quick.layer) == 0, "Timer J")
        far.send(REQUEST, quick.address)
        await until_true(lambda: len(user.requests) == 2, "the request")
        assert user.begun[1] is not None


KEEP_ALIVES = [b"", b"\r\n", b"\r\n\r\n", b"\0", b"\0\0\0\0", b" ", b"\r\n\0 "]
NO_SIP = [b"hello", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x00\x01", b"M-SEARCH * HTTP/1.1\r\n\r\n", b"\0x"]


async def test_trn_13_keep_alives_on_udp_are_ignored(patient: Endpoint, user: User) -> None:
    async with udp_end() as far:
        for data in KEEP_ALIVES:
            far.send(data, patient.address)
        far.send(REQUEST, patient.address)
        await far.receive()
        assert (patient.not_sip, patient.broken_responses, len(user.requests), far.waiting()) == (0, 0, 1, [])


async def test_msg_53_what_is_no_sip_is_counted_and_not_answered(patient: Endpoint, user: User) -> None:
    async with udp_end() as far:
        for data in NO_SIP:
            far.send(data, patient.address)
        far.send(REQUEST, patient.address)
        await far.receive()
        assert (patient.not_sip, len(user.requests), far.waiting()) == (len(NO_SIP), 1, [])


async def test_msg_34_36_broken_responses_are_counted_and_dropped(patient: Endpoint, user: User) -> None:
    broken = [
        b"SIP/2.0 999 Too high\r\n\r\n",
        wire(changed(("CSeq", None)), start="SIP/2.0 200 OK"),
        wire(changed(("Via", None)), start="SIP/2.0 200 OK"),
        wire(changed(("CSeq", "99999999999 NOTIFY"), ("Via", VIA.replace("abc1", "n1"))), start="SIP/2.0 200 OK"),
    ]
    async with udp_end() as far:
        patient.send_request(
            branch="z9hG4bKn1", method="NOTIFY", data=notify(patient.address), flow=Flow("udp", *far.address)
        )
        for data in broken:
            far.send(data, patient.address)
        far.send(REQUEST, patient.address)
        await until_true(lambda: user.requests, "the request behind them")
        assert patient.broken_responses == 3
        assert [response.status for response, _, _ in user.strays] == [200]  # without CSeq, and of no branch of ours
        assert user.finished == []


async def test_txn_10_msg_41_a_response_of_nobody_is_handed_up_and_nothing_sent(
    patient: Endpoint, user: User
) -> None:
    stray = wire(changed(("Via", f"{VIA}, SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKb")), start="SIP/2.0 200 OK")
    async with udp_end() as far:
        far.send(stray, patient.address)
        await until_true(lambda: user.strays, "the response")
        [(response, data, flow)] = user.strays
        assert (response.status, data, flow) == (200, stray, Flow("udp", *far.address))
        assert far.waiting() == []


async def test_txn_06_09_a_notify_is_repeated_until_it_is_answered(calm: Endpoint, user: User) -> None:
    async with udp_end() as far:
        data = notify(calm.address)
        transaction = calm.send_request(
            branch="z9hG4bKn1", method="NOTIFY", data=data, flow=Flow("udp", *far.address), context="dialog"
        )
        assert [await far.receive() for _ in range(2)] == [data] * 2
        far.send(answer_to(data, 481), calm.address)
        far.send(answer_to(data, 481), calm.address)
        await until_true(lambda: user.finished, "the response")
        await until_true(lambda: len(calm.layer) == 0, "Timer K")
        [finished] = user.finished
        assert (finished.transaction, finished.context) == (transaction, "dialog")
        assert finished.response is not None
        assert finished.response.status == 481


async def test_txn_06_08_a_request_that_nobody_answers_ends_without_a_response(quick: Endpoint, user: User) -> None:
    async with udp_end() as far, listener() as stream:
        for branch, flow in (("z9hG4bKu", Flow("udp", *far.address)), ("z9hG4bKt", Flow("tcp", *stream.address))):
            quick.send_request(branch=branch, method="NOTIFY", data=notify(quick.address, branch), flow=flow)
        await until_true(lambda: len(user.finished) == 2, "Timer F")
        assert [(end.response, end.transport_error) for end in user.finished] == [(None, False), (None, False)]
        sends = {end.transaction.branch: end.transaction.sends for end in user.finished}
        assert sends["z9hG4bKt"] == 1
        assert sends["z9hG4bKu"] > 1
        assert len(quick.layer) == 0


only_with_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")


@pytest.mark.parametrize("host", [HOST, pytest.param("::1", marks=only_with_ipv6)])
async def test_trn_22_a_request_over_udp_to_nobody_ends_at_once_and_no_other_does(host: str, user: User) -> None:
    endpoint = Endpoint(user, PATIENT, ends_bounced=True)
    user.endpoint = endpoint
    try:
        await endpoint.open(host, 0)
        nowhere = Flow("udp", *closed_port(host))
        async with udp_end(host) as far:
            somewhere = Flow("udp", *far.address)
            for branch, flow in (("z9hG4bKa", somewhere), ("z9hG4bKb", nowhere), ("z9hG4bKc", somewhere)):
                endpoint.send_request(branch=branch, method="NOTIFY", data=notify((host, 1), branch), flow=flow)
            await until_true(lambda: user.finished, "the failure")
            endpoint.send_request(branch="z9hG4bKd", method="NOTIFY", data=notify((host, 1)), flow=somewhere)
            assert [(end.transaction.branch, end.transport_error) for end in user.finished] == [("z9hG4bKb", True)]
            assert len([await far.receive() for _ in range(3)]) == 3
            assert len(endpoint.layer) == 3
    finally:
        await endpoint.close()


async def test_trn_22_what_bounced_is_found_by_its_branch_or_not_at_all(user: User) -> None:
    endpoint = Endpoint(user, PATIENT, ends_bounced=True)
    user.endpoint = endpoint
    try:
        await endpoint.open(HOST, 0)
        async with udp_end() as far:
            data = notify((HOST, 1))
            endpoint.send_request(branch="z9hG4bKn1", method="NOTIFY", data=data, flow=Flow("udp", *far.address))
            end = data.index(b"z9hG4bKn1") + len(b"z9hG4bKn1")
            for octets in (b"", b"SIP/2.0 200 OK\r\n" + data, data[:end], data.replace(b"n1", b"n12"), b"\xff" * 500):
                endpoint._request_bounced(octets)
            assert user.finished == []
            endpoint._request_bounced(data[: end + 2])
            assert [finished.transport_error for finished in user.finished] == [True]
            endpoint._request_bounced(data)
            assert len(user.finished) == 1
    finally:
        await endpoint.close()


async def test_trn_22_a_request_over_tcp_to_nobody_ends_with_a_transport_error(patient: Endpoint, user: User) -> None:
    patient.send_request(
        branch="z9hG4bKn1", method="NOTIFY", data=notify(patient.address), flow=Flow("tcp", *closed_port())
    )
    await until_true(lambda: user.finished, "the failure")
    assert [(end.response, end.transport_error) for end in user.finished] == [(None, True)]


async def test_trn_22_a_request_whose_connection_ends_has_ended(patient: Endpoint, user: User) -> None:
    async with listener() as far:
        data = notify(patient.address)
        patient.send_request(branch="z9hG4bKn1", method="NOTIFY", data=data, flow=Flow("tcp", *far.address))
        end = await far.accept()
        assert await end.receive(len(data)) == data
        await end.close()
        await until_true(lambda: user.finished, "the failure")
        assert user.finished[0].transport_error


async def test_txn_08_trn_20_a_request_over_the_connection_of_its_watcher_is_answered_there(
    patient: Endpoint, user: User
) -> None:
    async with connect(patient.address) as far:
        far.send(wire(changed(("Via", "SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKabc2"))))
        await until_true(lambda: user.requests, "the request")
        response = await far.reader.readuntil(b"\r\n\r\n")
        assert response.startswith(b"SIP/2.0 200 OK\r\n")
        data = notify(patient.address)
        patient.send_request(branch="z9hG4bKn1", method="NOTIFY", data=data, flow=user.requests[0][1])
        assert await far.receive(len(data)) == data
        far.send(answer_to(data))
        await until_true(lambda: user.finished, "the response")
        assert user.finished[0].response is not None
        assert (len(patient.layer), user.strays) == (0, [])


@pytest.mark.parametrize(
    ("lengths", "status"), [([], b"400"), (["1001"], b"413"), (["3", "4"], b"400"), (["-1"], b"400")]
)
async def test_trn_09_10_msg_25_40_uas_13_a_stream_that_cannot_be_followed_is_answered_and_closed(
    patient: Endpoint, user: User, lengths: list[str], status: bytes
) -> None:
    rows = changed(("Content-Length", None), ("Via", "SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKabc2"))
    async with connect(patient.address) as far:
        far.send(wire([*rows, *(("Content-Length", length) for length in lengths)], body=b"body") + REQUEST)
        answer = await far.end()
        assert answer.startswith(b"SIP/2.0 " + status)
        assert answer.count(b"SIP/2.0 ") == 1 + answer.count(b"Via: SIP/2.0 ")
        assert len(user.requests) == 1
        assert len(patient.layer) == 0


async def test_msg_53_trn_26_a_stream_of_no_sip_is_closed_without_an_answer(patient: Endpoint, user: User) -> None:
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 100_000):
        async with connect(patient.address) as far:
            far.send(data)
            assert await far.end() == b""
    assert (patient.not_sip, user.requests) == (2, [])


async def test_uas_16_each_copy_of_a_malformed_request_is_answered_stateless(patient: Endpoint, user: User) -> None:
    async with udp_end() as far:
        for _ in range(2):
            far.send(wire(changed(("Via", VIA), ("CSeq", "nonsense"))), patient.address)
            assert (await far.receive()).startswith(b"SIP/2.0 400 Malformed CSeq\r\n")
        assert (len(patient.layer), len(user.requests)) == (0, 2)


async def test_a_response_that_another_process_got_ends_our_request(patient: Endpoint, user: User) -> None:
    async with udp_end() as far:
        data = notify(patient.address)
        flow = Flow("udp", *far.address)
        patient.send_request(branch="z9hG4bKn1", method="NOTIFY", data=data, flow=flow)
        patient.receive_foreign(answer_to(data), flow)
        assert [end.response is not None for end in user.finished] == [True]


async def test_a_request_may_be_sent_while_the_end_of_another_is_told(patient: Endpoint, user: User) -> None:
    async with udp_end() as far:
        flow = Flow("udp", *far.address)

        def send(number: int) -> None:
            branch = f"z9hG4bKn{number}"
            patient.send_request(branch=branch, method="NOTIFY", data=notify(patient.address, branch), flow=flow)

        user.then = lambda finished: send(len(user.finished)) if len(user.finished) < 4 else None
        send(0)
        for number in range(4):
            data = await far.receive()
            assert data == notify(patient.address, f"z9hG4bKn{number}")
            far.send(answer_to(data), patient.address)
        await until_true(lambda: len(user.finished) == 4, "all responses")


async def test_txn_21_datagrams_that_arrive_together_are_all_answered(patient: Endpoint, user: User) -> None:
    async with udp_end() as far:
        for number in range(60):
            rows = changed(("Via", VIA.replace("abc1", f"m{number}")), ("Call-ID", f"c{number}"))
            far.send(wire(rows), patient.address)
            far.send(b"rubbish", patient.address)
        answers = [await far.receive() for _ in range(60)]
        assert [f"Call-ID: c{number}\r\n".encode() in answer for number, answer in enumerate(answers)] == [True] * 60
        assert (patient.not_sip, len(patient.layer)) == (60, 60)


async def test_the_end_of_an_endpoint_ends_its_timer_and_its_sockets(user: User) -> None:
    endpoint = await open_endpoint(user, QUICK)
    async with udp_end() as far, connect(endpoint.address) as stream:
        flow = Flow("udp", *far.address)
        endpoint.send_request(branch="z9hG4bKn1", method="NOTIFY", data=notify(endpoint.address), flow=flow)
        await endpoint.close()
        assert await stream.end() == b""
        repeated = endpoint.layer.retransmissions_sent
        other = await open_endpoint(user, QUICK)
        other.send_request(branch="z9hG4bKn2", method="NOTIFY", data=notify(other.address), flow=flow)
        await until_true(lambda: user.finished, "Timer F of a request sent later")
        assert [end.transaction.branch for end in user.finished] == ["z9hG4bKn2"]
        assert endpoint.layer.retransmissions_sent == repeated
        await other.close()
