"""Messages that other people wrote: RFC 4475, RFC 5118, printed examples, phones, captures, test suites, fuzzers.

Every file of these folders is read, and what the library makes of it is compared with what the index accepts. Where
the index judges by another rule than ours, the file stands in DECIDED with the outcome and the reason.
"""

import re

import pytest

from tests.unit.sip.messages import outcome, read_all
from tests.vectors import Vector, needs_vectors, vectors
from vedette.sip.errors import SipError
from vedette.sip.framing import Framed, KeepAlive, StreamFramer
from vedette.sip.message import Request, Response
from vedette.sip.reader import read_message
from vedette.sip.transaction.layer import TransactionLayer
from vedette.sip.transaction.timers import Timers

MANDATORY = {"via", "from", "to", "call-id", "cseq"}

DECIDED = {
    "captures/sdp-000-udp-INVITE.bin": ("reject:400", "From begins with a backslash: 400 is allowed (MSG-31)"),
    "captures/sip_header_multi_val-000-udp-INVITE.bin": ("reject:400", "the same From (MSG-31)"),
    "captures/sipwise-incoming_shared_line-sipp_scenario_responder01-03-sent-ACK.sip": (
        "reject:400",
        "an ACK whose CSeq says SUBSCRIBE (MSG-33); nobody answers an ACK",
    ),
    "doc-examples/asterisk_documentation-PJSIP-Large-Messages-L14-NOTIFY.sip": (
        "reject:400",
        "its Via has lost transport and host",
    ),
    "fuzz-seeds/pjsip-sip/tel_uri_basic.sip": ("reject:416", "tel: is no scheme of ours (UAS-04)"),
    "rfc-examples/rfc3428-L581-RESP200.sip": ("drop", "its From has an empty parameter"),
    "rfc-examples/rfc4660-L1024-NOTIFY.sip": ("reject:400", "the RFC prints `tag:` for `tag=`"),
    "rfc-examples/rfc4660-L1090-NOTIFY.sip": ("reject:400", "the RFC prints `tag:` for `tag=`"),
    "rfc-examples/rfc4660-L730-NOTIFY.sip": ("reject:400", "the RFC prints `tag:` for `tag=`"),
    "rfc-examples/rfc4660-L808-NOTIFY.sip": ("reject:400", "the RFC prints `tag:` for `tag=`"),
    "rfc4475/regbadct.dat": ("accept", "only Contact is at fault, which REGISTER is not read for: `parse_address`"),
    "sip/jain-torture/006.sip": ("accept", "?headers of a Request-URI are ignored (MSG-29)"),
    "sip/jain-torture/014.sip": ("reject:400", "the empty line after its headers has a blank in it"),
    "sip/jain-torture/019.sip": ("reject:416", "the index judges the parser, the server knows no such scheme"),
    "sip/jain-torture/022.sip": ("reject:416", "the same"),
    "sip/jain-torture/024.sip": ("accept", "an unknown method is no malformed request: 501 (UAS-03)"),
    "sip/jain-torture/054.sip": ("accept", "Call-Info is not read (MSG-11), Contact only where it is needed"),
    "sip/jain-torture/359.sip": (
        "reject:400",
        "without the empty line of RFC 4475 it has two start lines",
    ),
    "sip/jain-torture/364.sip": ("drop", "its space was left as a mark-up word"),
    "sip/jain-torture/061.sip": ("reject:505", "its version is the fault (MSG-32)"),
    "sip/jain-torture/376.sip": ("accept", "Date is not read (MSG-11, MSG-30)"),
    "sip/jain-torture/387.sip": ("reject:416", "the same as 019"),
    "sip/jain-torture/392.sip": ("reject:400", "two Call-IDs (MSG-39)"),
    "sip/sems/rfc3261_20_16_cseq_large_number.sip": ("reject:400", "a CSeq above 2^31 (MSG-26)"),
    "sip/sems/rfc3261_8_1_1_3_from_missing_tag_rejected.sip": ("accept", "a From without tag is RFC 2543's (MSG-42)"),
}


def as_sent(vector: Vector) -> bytes:
    """The message as its sender would have sent it: what printing or quoting it took away is put back.

    RFCs print `Content-Length: ...`, and test suites leave out the empty line that their harness adds.
    """
    data = vector.data
    lint = vector.facts.get("lint") or {}
    if lint.get("no_header_terminator") and not vector.path.startswith("rfc4475/"):
        end = b"\r\n" if b"\r\n" in data else b"\n"
        data = data.rstrip(b"\r\n") + end + end
    if "content_length_bad" in lint:
        body = data.partition(b"\r\n\r\n")[2]
        data = re.sub(rb"(?im)^((?:content-length|l)[ \t]*:)[^\r\n]*", rb"\g<1> %d" % len(body), data, count=1)
    return data


def by_index(vector: Vector) -> set[str]:
    """The outcomes of this library that satisfy the index."""
    lint = vector.facts.get("lint") or {}
    length = lint.get("content_length") or {}
    cut_short = length.get("header", 0) > length.get("actual", 0)
    lacks = MANDATORY & set(lint.get("missing", ()))
    if cut_short or (lacks and {"accept", "response-example"} & set(vector.expected)):
        return {"drop" if vector.data.startswith(b"SIP/2.0 ") else "reject:400"}  # MSG-24, MSG-36
    found: set[str] = set()
    for token in vector.expected:
        kind, _, status = token.partition(":")
        if kind in {"accept", "response-example"} or (kind in {"response", "reject"} and status in LATER):
            found.add("accept")
        elif kind in {"response", "reject"}:
            found |= {f"reject:{status}", "drop"}
        elif kind == "discard":
            found |= {"drop", "accept"}
        else:
            raise AssertionError(f"an outcome that this test does not know: {token}")
    return found


LATER = {"200", "202", "401", "405", "406", "412", "415", "420", "423", "481", "483", "489"}
"""What a server decides after it has read the request."""

ROBUSTNESS = {"parse-no-crash", "reject-no-crash", "reject-or-ignore-no-crash", "stream-segment"}
FOLDERS = (
    "rfc4475", "rfc5118", "rfc-examples", "doc-examples", "client", "captures", "sip", "fuzz-seeds", "security",
)  # fmt: skip
MESSAGES = [
    vector
    for folder in FOLDERS
    for vector in vectors(folder)
    if vector.path.endswith((".dat", ".sip", ".bin", ".msg")) and vector.facts["kind"] not in {"body", "uri-list"}
]
JUDGED = [vector for vector in MESSAGES if not ROBUSTNESS & set(vector.expected)]


@needs_vectors
@pytest.mark.parametrize("vector", JUDGED, ids=str)
def test_msg_53_messages_of_others_are_read_as_the_index_expects(vector: Vector) -> None:
    decided = DECIDED.get(vector.path)
    assert outcome(as_sent(vector)) in ({decided[0]} if decided else by_index(vector))


@needs_vectors
@pytest.mark.parametrize("path", DECIDED)
def test_each_decision_is_about_a_file_on_which_the_index_differs(path: str) -> None:
    [vector] = [vector for vector in JUDGED if vector.path == path]
    assert DECIDED[path][0] not in by_index(vector)


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in MESSAGES if "reject-no-crash" in v.expected], ids=str)
def test_msg_53_what_broke_other_parsers_is_refused(vector: Vector) -> None:
    assert outcome(vector.data) != "accept"


@needs_vectors
@pytest.mark.parametrize("vector", MESSAGES, ids=str)
def test_msg_53_no_message_of_others_makes_a_reader_fail(vector: Vector) -> None:
    for data in (vector.data, as_sent(vector)):
        for stream in (False, True):
            try:
                message = read_message(data, stream=stream)
            except SipError:
                continue
            assert {complaint.status for complaint in read_all(message)} <= {400, 416, 505}


@needs_vectors
@pytest.mark.parametrize("vector", MESSAGES, ids=str)
def test_trn_08_messages_of_others_are_framed_the_same_however_the_stream_is_cut(vector: Vector) -> None:
    data = as_sent(vector)
    whole = StreamFramer().receive(data)
    framer = StreamFramer()
    cut = [item for start in range(0, len(data), 7) for item in framer.receive(data[start : start + 7])]
    assert [told(item) for item in cut] == [told(item) for item in whole]


def told(item: Framed | KeepAlive) -> tuple[object, ...]:
    """What a framer told, in a form that compares."""
    return (item.data, item.error and item.error.reason) if isinstance(item, Framed) else (item,)


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in MESSAGES if "discard" in v.expected], ids=str)
def test_msg_34_msg_41_a_response_to_discard_reaches_no_transaction_and_sends_nothing(vector: Vector) -> None:
    layer = TransactionLayer(Timers())
    try:
        message = read_message(vector.data)
        ours = isinstance(message, Response) and layer.receive_response(message, 0.0)
    except SipError:
        ours = False
    assert (ours, layer.outgoing(), layer.events(), len(layer)) == (False, [], [], 0)


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in MESSAGES if v.path.startswith("client/")], ids=str)
def test_every_field_of_the_requests_of_real_phones_can_be_read(vector: Vector) -> None:
    message = read_message(vector.data)
    assert isinstance(message, Request)
    assert read_all(message) == []
