"""Messages for these tests, and what the library makes of octets."""

from collections.abc import Callable, Iterable

from vedette.sip.address import parse_address
from vedette.sip.errors import NotSipError, SipError
from vedette.sip.event_header import parse_event
from vedette.sip.grammar import split_list
from vedette.sip.media_type import parse_media_type
from vedette.sip.message import Request, Response
from vedette.sip.reader import read_message
from vedette.sip.uri import address_of_record, parse_uri
from vedette.sip.via import parse_via
from vedette.sip.writer import write_response

START = "SUBSCRIBE sip:alice@example.com SIP/2.0"
SUBSCRIBE = (
    ("Via", "SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bKabc1;rport"),
    ("Max-Forwards", "70"),
    ("From", '"Bob" <sip:bob@example.com>;tag=b1'),
    ("To", "<sip:alice@example.com>"),
    ("Call-ID", "c1@192.0.2.10"),
    ("CSeq", "7 SUBSCRIBE"),
    ("Contact", "<sip:bob@192.0.2.10:5062>"),
    ("Event", "presence"),
    ("Expires", "600"),
    ("Content-Length", "0"),
)
"""The header rows of a request that has nothing wrong with it."""

Rows = Iterable[tuple[str, str]]


def changed(*changes: tuple[str, str | None], rows: Rows = SUBSCRIBE) -> list[tuple[str, str]]:
    """The rows with these headers replaced; None takes one away, a new name comes last."""
    new = dict(changes)
    known = [(name, new.get(name, value)) for name, value in rows]
    added = [change for change in changes if change[0] not in dict(rows)]
    return [(name, value) for name, value in (*known, *added) if value is not None]


def wire(rows: Rows = SUBSCRIBE, *, start: str = START, body: bytes = b"") -> bytes:
    """The octets of a message with exactly these rows."""
    lines = [start, *(f"{name}: {value}" for name, value in rows)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def request(*changes: tuple[str, str | None], start: str = START, body: bytes = b"") -> Request:
    """The SUBSCRIBE with these changes, read."""
    rows = changed(*changes)
    message = read_message(wire(rows, start=start, body=body))
    assert isinstance(message, Request)
    return message


def response(start: str = "SIP/2.0 200 OK", *changes: tuple[str, str | None]) -> Response:
    """A response with the rows of the SUBSCRIBE and these changes, read."""
    message = read_message(wire(changed(*changes), start=start))
    assert isinstance(message, Response)
    return message


def outcome(data: bytes, *, stream: bool = False) -> str:
    """`accept`, `reject:` with the status that a request gets, or `drop` for what nobody answers."""
    try:
        message = read_message(data, stream=stream)
    except SipError:
        return "drop"
    if isinstance(message, Request):
        try:
            message.check()
            parse_uri(message.uri)
        except SipError as error:
            return f"reject:{error.status}"
        return "accept"
    try:
        _ = (message.top_via, message.cseq, message.call_id, message.from_, message.to)
    except SipError:
        return "drop"
    return "accept"


def read_all(message: Request | Response) -> list[SipError]:
    """Read every typed field of the message and every value that the server parses; what it complained of."""

    def values(name: str) -> list[str]:
        return [item for row in message.headers.all(name) for item in split_list(row)]

    readings: list[Callable[[], object]] = [
        lambda: message.vias,
        lambda: message.top_via,
        lambda: message.from_,
        lambda: message.to,
        lambda: message.call_id,
        lambda: message.cseq,
        lambda: [parse_via(value) for value in message.vias],
        lambda: [parse_address(item, "Contact") for item in values("contact")],
        lambda: [parse_media_type(item, "Accept") for item in values("accept")],
        lambda: [parse_event(row) for row in message.headers.all("event")],
    ]
    if isinstance(message, Request):
        readings += [
            message.check,
            lambda: message.client_branch,
            lambda: message.event,
            lambda: message.expires,
            lambda: address_of_record(message.uri),
            lambda: address_of_record(message.from_.uri),
        ]
    else:
        readings.append(lambda: message.retry_after)
    complaints: list[SipError] = []
    for read in readings:
        try:
            read()
        except SipError as error:
            complaints.append(error)
    return complaints


def exercise(data: bytes) -> None:
    """Read it as a datagram and as a message of a stream, with all of its fields, and answer it where that can be."""
    for stream in (False, True):
        try:
            message = read_message(data, stream=stream)
        except NotSipError:
            continue
        except SipError:
            assert data.startswith(b"SIP/")
            continue
        complaints = read_all(message)
        assert all(complaint.status in {400, 416, 505} and complaint.reason.isascii() for complaint in complaints)
        if isinstance(message, Request) and not any("Via" in complaint.reason for complaint in complaints):
            written = write_response(message, 400, source=("192.0.2.1", 5060), to_tag="t")
            assert len(written) <= 2 * len(data) + 300, "a response is little longer than its request (SEC-02)"
            try:
                answer = read_message(written)
            except SipError as error:
                if error.reason in {"Too many headers", "Header too long"}:
                    continue  # of what the request had too much of
                raise
            assert isinstance(answer, Response)
            assert answer.top_via.branch == message.top_via.branch
