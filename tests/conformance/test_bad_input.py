"""What is not SIP, or is broken: dropped, or refused with a reason, and without effect (groups MSG, TRN, SEC)."""

import asyncio
import contextlib
import re
import socket

import pytest

from tests.conformance.observed import publications, subscriptions
from tests.conformance.rewriting import with_row, with_uri, with_value, without
from tests.conformance.stream import stream_to
from tests.phone import MakePhone, Message, Phone, pidf, token
from tests.running_set import RunningSet
from tests.vectors import Vector, needs_vectors, vectors

KEEP_ALIVES = (b"\r\n", b"\r\n\r\n", b"\0\0", b"\0\0\0\0", b"\r\n" * 50, b"\n", b" ")
NOT_SIP = (
    b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
    b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNTS: ssdp:alive\r\n\r\n",
    b"\x80\x00\x00\x01\x00\x00\x00\xa0\xde\xad\xbe\xef" + bytes(160),
    b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"hello\r\n\r\n",
    b"\xff" * 1500,
    b"SUBSCRIBE\r\n\r\n",
    b"SUBSCRIBE sip:alice@example.com\r\n\r\n",
    b"SUBSCRIBE sip:alice@example.com SIP/2.0x\r\n\r\n",
    b"\r\n\r\nSUBSCRIBE",
)
NO_ANSWERABLE_REQUEST = (
    b"SIP/2.0 200 OK\r\n\r\n",
    b"SIP/2.0 4294967301 better not break\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKx\r\n\r\n",
    b"SIP/2.0 200\r\nVia: SIP/2.0/UDP 127.0.0.1\r\nCSeq: 1 NOTIFY\r\n\r\n",
    b"SIP/3.0 200 OK\r\n\r\n",
    b"SUBSCRIBE sip:alice@example.com SIP/2.0\r\n\r\n",
    b"SUBSCRIBE sip:alice@example.com SIP/2.0\r\nVia: nonsense\r\n\r\n",
    b"SUBSCRIBE sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:99999;branch=z9hG4bKx\r\n\r\n",
)


async def lives_of_edges(running: RunningSet) -> list[tuple[int, int]]:
    """Which processes the edges are, and how often they were started again."""
    return [(row["pid"], row["restarts"]) for row in await running.processes("edge")]


async def answers_still(phone: Phone) -> Message:
    """The answer to a request that is in order; whatever else was to be answered has been by then."""
    response = await phone.request(phone.publish(body=pidf()))
    assert response.status == 200
    return response


async def answer_to(phone: Phone, data: bytes, branch: str) -> Message:
    """The answer to a request that the phone itself could not read."""
    phone.send(data)
    return await phone.next_response(branch)


async def test_trn_13_msg_34_msg_53_keep_alives_and_what_is_not_sip_get_no_answer(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    for data in (*KEEP_ALIVES, *NOT_SIP, *NO_ANSWERABLE_REQUEST):
        udp_phone.send(data)
    udp_phone.send(b"")
    response = await answers_still(udp_phone)
    assert udp_phone.received == [response]


async def test_msg_33_msg_36_a_mandatory_header_that_is_missing_or_malformed_gets_400_and_is_named(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    for name, values in {
        "From": (None, "", "nonsense", "<sip:a@b", '"open <sip:a@b>;tag=1', "<sip:a@b>;tag=1 x"),
        "To": (None, "", "nonsense", "<>", "<sip:a@b>;;"),
        "Call-ID": (None, "", "a b"),
        "CSeq": (None, "", "1", "x PUBLISH", "-1 PUBLISH", "2147483648 PUBLISH", "1 SUBSCRIBE"),
        "Max-Forwards": ("abc", "-1", "256", "99999999999999999999"),
    }.items():
        for value in values:
            request = udp_phone.publish(body=pidf())
            request = without(request, name) if value is None else with_value(request, name, value)
            response = await udp_phone.request(request)
            assert (name, value, response.status) == (name, value, 400)
            assert name.lower() in response.start.lower()
    await answers_still(udp_phone)
    assert len(await publications(running_set, udp_phone.aor)) == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_msg_24_msg_25_msg_40_a_content_length_that_cannot_be_gets_400(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    for value in ("-1", "abc", "99999999999", "1, 2"):
        phone = await make_phone(running_set, transport=transport)
        response = await phone.request(with_value(phone.publish(body=pidf()), "Content-Length", value))
        assert (value, response.status) == (value, 400)
        assert "Content-Length" in response.start
        if transport == "tcp":
            await asyncio.wait_for(phone.closed.wait(), 15)
    phone = await make_phone(running_set, transport=transport)
    twice = with_row(phone.publish(body=pidf()), "l: 7")
    assert (await phone.request(twice)).status == 400
    assert await publications(running_set, phone.aor) == []


async def test_msg_24_a_datagram_that_ends_before_its_body_does_gets_400(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    request = udp_phone.publish(body=pidf())
    assert (await udp_phone.request(request[:-1])).status == 400
    assert await publications(running_set, udp_phone.aor) == []


async def test_msg_18_octets_after_the_body_of_a_datagram_are_no_message(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    second = udp_phone.publish(body=pidf(note="second"))
    response = await udp_phone.request(udp_phone.publish(body=pidf(note="first")) + second)
    assert response.status == 200
    await answers_still(udp_phone)
    assert len(udp_phone.received) == 2
    assert len(await publications(running_set, udp_phone.aor)) == 2


async def test_msg_28_msg_32_a_request_line_that_is_broken_gets_400_and_another_version_505(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    aor = udp_phone.aor
    for line, status in (
        (f"PUBLISH <{aor}> SIP/2.0", 400),
        (f"PUBLISH {aor};x y SIP/2.0", 400),
        (f"PUBLISH  {aor} SIP/2.0", 400),
        (f'PUBLISH "a"{aor} SIP/2.0', 400),
        ("PUBLISH sip: SIP/2.0", 400),
        ("PUBLISH sip:alice@example.com:99999 SIP/2.0", 400),
        (f"PUBLISH {aor} SIP/7.0", 505),
    ):
        request = udp_phone.publish(body=pidf()).partition(b"\r\n")[2]
        response = await udp_phone.request(line.encode() + b"\r\n" + request)
        assert (line, response.status) == (line, status)
    assert await publications(running_set, udp_phone.aor) == []


async def test_msg_29_headers_in_the_request_uri_are_never_applied(running_set: RunningSet, udp_phone: Phone) -> None:
    request = with_uri(udp_phone.publish(body=pidf(), expires=600), f"{udp_phone.aor}?Expires=0&Event=none")
    response = await udp_phone.request(request)
    assert response.status == 200
    assert response["expires"] == "600"


async def test_msg_50_uas_26_line_ends_inside_a_header_smuggle_nothing(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    request = udp_phone.publish(body=pidf())
    for end in (b"\n", b"\r", b"\n\n", b"\r\r\n"):
        for value in (b"x" + end + b"Expires: 0", b"x" + end + b"Contact: <sip:smuggled@example.net>"):
            data = request.replace(b"Max-Forwards: 70", b"X-Odd: " + value)
            data = with_value(data, "Via", udp_phone.via())
            first = await udp_phone.request(data)
            second = await udp_phone.request(with_value(data, "Via", udp_phone.via()))
            assert first.status == second.status == 400
            for response in (first, second):
                assert not response.all("contact")
                assert b"smuggled" not in response.raw
    assert await publications(running_set, udp_phone.aor) == []


async def test_msg_50_a_message_with_bare_line_feeds_is_treated_the_same_every_time(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    outcomes = set()
    for _ in range(3):
        branch = token("z9hG4bK")
        head, _, body = udp_phone.publish(body=pidf(), branch=branch).partition(b"\r\n\r\n")
        response = await answer_to(udp_phone, head.replace(b"\r\n", b"\n") + b"\n\n" + body, branch)
        outcomes.add(response.status)
    assert len(outcomes) == 1


async def test_msg_02_msg_03_msg_04_msg_10_msg_11_msg_30_a_message_in_every_legal_spelling_is_taken(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    branch = token("z9hG4bK")
    request = udp_phone.publish(body=pidf(), branch=branch)
    rewritten = (
        request.replace(b"From: ", b"fRoM  :\t")
        .replace(b"Event: presence", b"EVENT :\r\n presence")
        .replace(b"Expires: ", b"expires:")
        .replace(b"Call-ID: ", b"Call-ID:   \r\n\t  ")
        .replace(b"Content-Type: ", b"c\t: ")
    )
    for row in (
        "X-Unknown: \u00fcber",
        "Date: Fri, 01 Jan 2010 16:00:00 EST",
        "Warning: nonsense",
        "Reply-To: <<>>",
        "X-Empty:",
        "Organization: a, b;c=d",
    ):
        rewritten = with_row(rewritten, row)
    assert (await answer_to(udp_phone, rewritten, branch)).status == 200
    assert len(await publications(running_set, udp_phone.aor)) == 1


async def test_msg_01_compact_names_mean_the_same(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = f"sip:{token('alice')}@example.com"
    plain = udp_phone.subscribe(udp_phone.dialog(watched), extra=("Supported: timer", "Subject: x"))
    compact = udp_phone.subscribe(udp_phone.dialog(watched), extra=("Supported: timer", "Subject: x"))
    for name, letter in (
        ("Via", "v"), ("From", "f"), ("To", "t"), ("Call-ID", "i"), ("Contact", "m"), ("Content-Length", "l"),
        ("Event", "o"), ("Supported", "k"), ("Subject", "s"),
    ):  # fmt: skip
        assert f"\r\n{name}: ".encode() in compact
        compact = compact.replace(f"\r\n{name}: ".encode(), f"\r\n{letter}: ".encode())
    bodies = []
    for request in (plain, compact):
        response = await udp_phone.request(request)
        assert response.status == 200
        bodies.append((await udp_phone.next_notify()).body)
    assert bodies[0] == bodies[1]
    assert len(await subscriptions(running_set, watched)) == 2


async def test_sec_07_long_and_many_fields_are_bounded(running_set: RunningSet, udp_phone: Phone) -> None:
    for request, status in (
        (udp_phone.publish(body=pidf(), extra=("X-Long: " + "x" * 30_000,)), 400),
        (udp_phone.publish(body=pidf(), extra=tuple(f"X-{n}: y" for n in range(1000))), 400),
        (udp_phone.publish(body=pidf(), extra=tuple(f"X-{n}: y" for n in range(100))), 200),
        (udp_phone.publish(body=pidf(), extra=("X-Long: " + "x" * 4000,)), 200),
    ):
        assert (await udp_phone.request(request)).status == status
    long = f"<sip:{'c' * 4000}@127.0.0.1>"
    response = await udp_phone.request(udp_phone.subscribe(udp_phone.dialog(udp_phone.aor), contact=long))
    assert response.status in {200, 400}
    await answers_still(udp_phone)


# streams


async def test_trn_11_out_03_a_double_crlf_is_answered_by_a_crlf_at_once(running_set: RunningSet) -> None:
    async with stream_to(running_set) as stream:
        for _ in range(3):
            stream.writer.write(b"\r\n\r\n")
            assert await stream.octets(2) == b"\r\n"


async def test_trn_12_msg_49_crlfs_between_messages_are_ignored(running_set: RunningSet, tcp_phone: Phone) -> None:
    async with stream_to(running_set) as stream:
        for before in (b"\r\n", b""):
            stream.writer.write(before + tcp_phone.publish(body=pidf()))
            assert (await stream.message()).status == 200
        stream.writer.write(b"\r\n\r\n" + tcp_phone.publish(body=pidf()))
        assert await stream.octets(2) == b"\r\n"
        assert (await stream.message()).status == 200


async def test_trn_08_messages_are_cut_by_content_length_alone(running_set: RunningSet, tcp_phone: Phone) -> None:
    other = tcp_phone.publish(body=pidf(note="inner"))
    note = "x\r\n\r\n" + other.partition(b"\r\n")[0].decode()
    tricky = tcp_phone.publish(body=pidf(note=note))
    async with stream_to(running_set) as stream:
        together = [tricky, *(tcp_phone.publish(body=pidf()) for _ in range(2))]
        stream.writer.write(b"".join(together))
        assert [(await stream.message()).status for _ in together] == [200, 200, 200]
        request = tcp_phone.publish(body=pidf())
        for octet in request:
            stream.writer.write(bytes([octet]))
            await stream.writer.drain()
        assert (await stream.message()).status == 200
        for cut in range(1, len(request), 97):
            again = tcp_phone.publish(body=pidf())
            stream.writer.write(again[:cut])
            await stream.writer.drain()
            stream.writer.write(again[cut:])
            assert (await stream.message()).status == 200
    assert len(await publications(running_set, tcp_phone.aor)) == 4 + len(range(1, len(request), 97))


async def test_trn_09_trn_10_what_cannot_be_cut_gets_400_and_the_connection_is_closed(
    running_set: RunningSet, tcp_phone: Phone
) -> None:
    for broken in (
        without(tcp_phone.publish(body=pidf()), "Content-Length"),
        with_value(tcp_phone.publish(body=pidf()), "Content-Length", "x"),
        with_row(tcp_phone.publish(body=pidf()), "Content-Length: 1"),
    ):
        async with stream_to(running_set) as stream:
            stream.writer.write(broken + tcp_phone.publish(body=pidf()))
            response = await stream.message()
            assert response.status == 400
            assert "Content-Length" in response.start
            assert await stream.until_closed() == b""
    assert await publications(running_set, tcp_phone.aor) == []


async def test_trn_26_a_head_without_end_or_a_body_over_the_limit_closes_the_connection(
    running_set: RunningSet, tcp_phone: Phone
) -> None:
    async with stream_to(running_set) as stream:
        stream.writer.write(tcp_phone.publish(body=pidf()).partition(b"\r\n\r\n")[0] + b"\r\nX: " + b"x" * 200_000)
        assert await stream.until_closed() == b""
    async with stream_to(running_set) as stream:
        head = with_value(tcp_phone.publish(body=pidf()), "Content-Length", str(2**31)).partition(b"\r\n\r\n")[0]
        stream.writer.write(head + b"\r\n\r\n")
        assert (await stream.message()).status == 413
        assert await stream.until_closed() == b""
    assert await publications(running_set, tcp_phone.aor) == []


async def test_msg_53_what_is_not_sip_on_a_stream_harms_no_other_connection(
    running_set: RunningSet, tcp_phone: Phone
) -> None:
    for data in (*NOT_SIP, *NO_ANSWERABLE_REQUEST):
        async with stream_to(running_set) as stream:
            stream.writer.write(data)
            stream.writer.write_eof()
            assert b" 200 " not in await stream.until_closed()
    await answers_still(tcp_phone)


# other people's messages


FOREIGN = ("sip", "captures", "fuzz-seeds", "rfc4475", "rfc5118", "security", "doc-examples")


def is_message(vector: Vector) -> bool:
    """Whether the file holds what came over a wire, and not XML about it."""
    return not vector.path.endswith(".xml")


def kept_here(data: bytes) -> bytes:
    """The message; but if it subscribes, its NOTIFYs do not go to other people's machines."""
    if not re.match(rb"\s*SUBSCRIBE ", data):
        return data
    data = re.sub(rb"(?im)^(?:contact|m)[ \t]*:[^\r\n]*", b"Contact: <sip:nobody@127.0.0.1:9>", data)
    return re.sub(rb"(?im)^record-route[ \t]*:", b"X-Route:", data)


def foreign_messages() -> list[bytes]:
    return [kept_here(vector.data) for folder in FOREIGN for vector in vectors(folder) if is_message(vector)]


@needs_vectors
async def test_msg_53_msg_51_every_foreign_datagram_leaves_the_edge_at_work_and_each_answer_is_exact(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    messages = foreign_messages()
    assert len(messages) > 1000
    edges = await lives_of_edges(running_set)
    answers: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.setblocking(False)
        for start in range(0, len(messages), 50):
            for data in messages[start : start + 50]:
                sender.sendto(data, running_set.sip)
            phone = await make_phone(running_set)
            await answers_still(phone)
            with contextlib.suppress(BlockingIOError):
                while True:
                    answers.append(sender.recv(65535))
    assert await lives_of_edges(running_set) == edges
    responses = [data for data in answers if data.startswith(b"SIP/2.0 ")]
    assert len(responses) > 50
    for data in responses:
        assert after_exact_message(data) == b"", data


def after_exact_message(data: bytes) -> bytes:
    """What follows the first message, whose every line has to be exact."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    assert separator, data
    rows = head.split(b"\r\n")[1:]
    for row in rows:
        assert re.match(rb"[A-Za-z-]+: ?", row), data
        assert b"\n" not in row, data
        assert b"\r" not in row, data
    (length,) = [int(row.partition(b": ")[2]) for row in rows if row.startswith(b"Content-Length: ")]
    assert len(rest) >= length, data
    return rest[length:]


@needs_vectors
async def test_msg_53_msg_51_every_foreign_message_on_a_stream_leaves_the_edge_at_work_and_each_answer_is_exact(
    running_set: RunningSet, tcp_phone: Phone
) -> None:
    messages = foreign_messages()
    edges = await lives_of_edges(running_set)

    async def send(data: bytes) -> int:
        answers = 0
        async with stream_to(running_set) as stream:
            stream.writer.write(data)
            stream.writer.write_eof()
            came = await stream.until_closed()
            while came := came.lstrip(b"\r\n"):
                came = after_exact_message(came)
                answers += 1
        return answers

    answers = 0
    for start in range(0, len(messages), 50):
        answers += sum(await asyncio.gather(*map(send, messages[start : start + 50])))
    assert answers > 100
    await answers_still(tcp_phone)
    assert await lives_of_edges(running_set) == edges
