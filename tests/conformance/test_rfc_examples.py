"""The messages that RFCs print, sent as they are printed."""

import re

import pytest

from tests.conformance.rewriting import with_value
from tests.conformance.stream import Stream, stream_to
from tests.phone import MakePhone, Message, Phone, pidf
from tests.running_set import RunningSet
from tests.vectors import Vector, needs_vectors, vectors

pytestmark = needs_vectors

EXAMPLES = vectors("rfc-examples")
RESPONSES = [vector for vector in EXAMPLES if vector.data.startswith(b"SIP/2.0 ")]
REQUESTS = [vector for vector in EXAMPLES if vector not in RESPONSES]


def printed(vector: Vector) -> bytes:
    """The message; where the RFC prints a symbol, for a length or a document, the thing itself."""
    head, separator, body = vector.data.partition(b"\r\n\r\n")
    assert separator, vector
    if body.startswith(b"["):
        body = pidf()
    return with_value(head + separator + body, "Content-Length", str(len(body)))


def wanted(data: bytes) -> int:
    """What this server has to answer."""
    head = data.partition(b"\r\n\r\n")[0] + b"\r\n"
    if re.search(rb";tag:", head) or not re.search(rb"(?m)^Via:", head):
        return 400  # not what the grammar allows: RFC 4660 writes a colon, other excerpts leave the Via out
    method, uri, _ = head.split(b" ", maxsplit=2)
    if method in {b"SUBSCRIBE", b"PUBLISH"}:
        return _subscribe_or_publish(method, head, uri)
    if method == b"NOTIFY":
        return 420 if re.search(rb"(?m)^Require:", head) else 481
    if method == b"REGISTER":
        # RFC 5626 prints a parameter that is none, which RFC 4475 section 3.1.2.1 has a server refuse.
        return 400 if re.search(rb";\s*;", head) else 200
    return 405


def _subscribe_or_publish(method: bytes, head: bytes, uri: bytes) -> int:
    if re.search(rb"(?m)^To:[^\r\n]*;tag=", head):
        return 481
    if b"@" not in uri:
        return 404
    if method == b"SUBSCRIBE" and re.search(rb"(?m)^Event: *presence\.winfo *[;\r]", head):
        return 202
    return 200 if re.search(rb"(?m)^Event: *(presence|dialog|message-summary) *[;\r]", head) else 489


async def answer_to(stream: Stream, data: bytes) -> Message:
    """The response to a request on the stream."""
    stream.writer.write(data)
    while not (message := await stream.message()).is_response:
        pass
    return message


@pytest.mark.parametrize("vector", REQUESTS, ids=str)
async def test_a_request_of_an_rfc_is_understood(running_set: RunningSet, tcp_phone: Phone, vector: Vector) -> None:
    assert vector.expected == ["accept"]
    data = printed(vector)
    async with stream_to(running_set) as stream:
        if data.startswith(b"ACK "):
            stream.writer.write(data)
        else:
            answer = await answer_to(stream, data)
            assert answer.status == wanted(data)
            if data.startswith(b"SUBSCRIBE ") and answer.status == 200:
                notify = await stream.message()
                assert notify["call-id"] == answer["call-id"]
                # It is over, so that nobody is told of what other examples publish.
                stream.writer.write(tcp_phone.response(notify, 481))
        witness = await answer_to(stream, tcp_phone.publish(body=pidf(), call_id="witness"))
        assert (witness["call-id"], witness.status) == ("witness", 200)


async def test_the_responses_of_rfcs_get_no_answer(running_set: RunningSet, make_phone: MakePhone) -> None:
    assert len(RESPONSES) > 20
    assert len(REQUESTS) + len(RESPONSES) == len(EXAMPLES)
    for transport in ("udp", "tcp"):
        phone = await make_phone(running_set, transport=transport)
        for vector in RESPONSES:
            phone.send(with_value(vector.data, "Content-Length", str(body_length(vector))))
        answer = await phone.request(phone.publish(body=pidf()))
        assert answer.status == 200
        assert phone.received == [answer]


def body_length(vector: Vector) -> int:
    return len(vector.data.partition(b"\r\n\r\n")[2])
