"""Messages, calls and documents of the usual size and form; `number` makes each another one than those before."""

from bench import reading
from notifier.domain.claims import Claim
from vedette.identity import presentity_hash, to_tag
from vedette.records import DialogRecord
from vedette.rpc.contract import NotifyItem, PublishCall, SubscribeCall
from vedette.sip.flow import Flow
from vedette.sip.message import Request
from vedette.sip.reader import read_message

PIDF = reading.BODY
ALICE = "sip:alice@example.com"
HASH = presentity_hash(ALICE)
DIALOG_ID = bytes(range(16))
OUR_TAG = to_tag("10", HASH, DIALOG_ID)
LOCAL = "198.51.100.1:5060"
SOURCE = Flow("udp", "192.0.2.10", 5060)
EDGE, EDGE_ADDRESS = "0123456789abcdef", "127.0.0.1:8072"
NOON = 1_780_315_200.0

_SUBSCRIBE = (
    "SUBSCRIBE sip:alice@example.com SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{0:016x};rport\r\n"
    "Max-Forwards: 70\r\n"
    'From: "Bob" <sip:bob@example.net>;tag={0:016x}f\r\n'
    "To: <sip:alice@example.com>\r\n"
    "Call-ID: {0:016x}@192.0.2.10\r\n"
    "CSeq: 1 SUBSCRIBE\r\n"
    "Contact: <sip:bob@192.0.2.10:5060>\r\n"
    "Event: presence\r\n"
    "Expires: 3600\r\n"
    "Accept: application/pidf+xml\r\n"
    "User-Agent: Phone/1.0\r\n"
    "Content-Length: 0\r\n\r\n"
)
_OK_TO_NOTIFY = (
    "SIP/2.0 200 OK\r\n"
    "Via: SIP/2.0/UDP 198.51.100.1:5060;branch={0};rport=5060;received=198.51.100.1\r\n"
    "From: <sip:alice@example.com>;tag={1}\r\n"
    'To: "Bob" <sip:bob@example.net>;tag=b1\r\n'
    "Call-ID: c1@192.0.2.10\r\n"
    "CSeq: 8 NOTIFY\r\n"
    "User-Agent: Phone/1.0\r\n"
    "Content-Length: 0\r\n\r\n"
)


def publish(number: int) -> bytes:
    """An initial PUBLISH."""
    return reading.publish(f"{number:016x}")


def subscribe(number: int) -> bytes:
    """An initial SUBSCRIBE."""
    return _SUBSCRIBE.format(number).encode()


def ok_to_notify(branch: str) -> bytes:
    """What a watcher answers to the NOTIFY with this branch."""
    return _OK_TO_NOTIFY.format(branch, OUR_TAG).encode()


def request(data: bytes) -> Request:
    """The request, read and checked."""
    message = read_message(data)
    assert isinstance(message, Request)
    message.check()
    return message


def publish_call(number: int, *, if_match: str | None = None) -> PublishCall:
    """What the edge makes of an initial PUBLISH, or of a refresh."""
    return PublishCall(
        request_uri=ALICE,
        call_id=f"{number:016x}@192.0.2.10",
        cseq=1,
        from_uri=ALICE,
        from_tag=f"{number:016x}f",
        to_tag="",
        client_branch=f"z9hG4bK{number:016x}",
        event="presence",
        expires="3600",
        if_match=[] if if_match is None else [if_match],
        content_type="application/pidf+xml" if if_match is None else None,
        content_encoding=None,
        body=PIDF if if_match is None else b"",
        trace=f"{EDGE[:6]}{number:x}",
    )


def subscribe_call(number: int) -> SubscribeCall:
    """What the edge makes of an initial SUBSCRIBE."""
    return SubscribeCall(
        request_uri=ALICE,
        call_id=f"{number:016x}@192.0.2.10",
        cseq=1,
        from_uri="sip:bob@example.net",
        from_value='"Bob" <sip:bob@example.net>',
        from_tag=f"{number:016x}f",
        to_value="<sip:alice@example.com>",
        to_tag="",
        client_branch=f"z9hG4bK{number:016x}",
        event="presence",
        expires="3600",
        accept=["application/pidf+xml"],
        contacts=["<sip:bob@192.0.2.10:5060>"],
        record_route=[],
        content_type=None,
        content_disposition=None,
        body=b"",
        user_agent="Phone/1.0",
        flow=SOURCE,
        local_address=LOCAL,
        edge_instance=EDGE,
        edge_address=EDGE_ADDRESS,
        trace=f"{EDGE[:6]}{number:x}",
        tls_address="198.51.100.1:5061",
    )


def dialog(number: int) -> DialogRecord:
    """A watcher of Alice."""
    return DialogRecord(
        presentity_hash=HASH,
        dialog_id=number.to_bytes(16, "big"),
        revision=1,
        presentity_uri=ALICE,
        event="presence",
        event_id="",
        call_id=f"{number:016x}@192.0.2.10",
        to_tag=OUR_TAG,
        from_tag=f"{number:016x}f",
        to_value="<sip:alice@example.com>",
        from_value=f'"Watcher {number}" <sip:watcher{number}@example.net>',
        contact="sip:bob@192.0.2.10:5060",
        record_route=[],
        local_contact=f"sip:presence-{HASH & 0xFFFFFFFF:08x}@{LOCAL}",
        accept="application/pidf+xml",
        edge_instance=EDGE,
        edge_address=EDGE_ADDRESS,
        flow=SOURCE,
        expires=NOON + 600,
        reason="",
        watcher_username=f"watcher{number}",
        watcher_domain="example.net",
    )


def claim(number: int) -> Claim:
    """The NOTIFY that this watcher is owed."""
    return Claim(
        presentity_hash=HASH,
        presentity_uri=ALICE,
        event="presence",
        version=5,
        dialog_id=number.to_bytes(16, "big"),
        cseq=3,
        document_version=5,
        status=1,
        revision=1,
        sent_before=4,
        acked_digest=None,
        since=0,
        until=0,
        whole=False,
        at=NOON,
    )


def notify_item(number: int) -> NotifyItem:
    """The NOTIFY, as the edge gets it."""
    return NotifyItem(
        presentity_hash=HASH,
        dialog_id=number.to_bytes(16, "big"),
        cseq=3,
        document=0,
        call_id=f"{number:016x}@192.0.2.10",
        local=f"<sip:alice@example.com>;tag={OUR_TAG}",
        remote=f'"Watcher {number}" <sip:watcher{number}@example.net>;tag={number:016x}f',
        remote_tag=f"{number:016x}f",
        target="sip:bob@192.0.2.10:5060",
        record_route=[],
        event="presence",
        subscription_state="active;expires=600",
        local_contact=f"sip:presence-{HASH & 0xFFFFFFFF:08x}@{LOCAL}",
        flow=SOURCE,
        digest=DIALOG_ID,
        changed=NOON,
        trace=f"n{number:x}",
    )
