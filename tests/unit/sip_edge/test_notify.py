"""The NOTIFY on the wire (rows NOT-07, NOT-08, NOT-28, DLG; clients.md 5 and 6)."""

from typing import Any

import pytest
import sipmessage
from msgspec.structs import replace

from sip_edge.domain.notify import write_notify
from tests.phone import Message
from vedette.rpc.contract import Document, NotifyItem
from vedette.sip.flow import Flow
from vedette.sip.route import route_in_dialog

ITEM = NotifyItem(
    presentity_hash=1,
    dialog_id=b"d",
    cseq=8,
    document=0,
    call_id="call-1",
    local="<sip:alice@example.com>;tag=ours",
    remote='"Bob" <sip:bob@example.net>;tag=theirs',
    remote_tag="theirs",
    target="sip:bob@192.0.2.7:5062;ob",
    record_route=[],
    event="presence;id=7",
    subscription_state="active;expires=599",
    local_contact="sip:presence-1@192.0.2.1:5060",
    flow=Flow("udp", "192.0.2.7", 5062),
)
VIA = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKe.1;rport"
PIDF = Document("application/pidf+xml", "<presence>ä</presence>".encode())


def octets(document: Document | None = PIDF, **fields: Any) -> bytes:
    item = replace(ITEM, **fields)
    routed = route_in_dialog(item.target, item.record_route)
    return write_notify(item, document, routed, via=VIA, user_agent="Vedette/1")


def test_not_07_not_28_and_dlg_08_every_header_that_a_notify_needs() -> None:
    message = Message.read(octets())
    assert message.start == "NOTIFY sip:bob@192.0.2.7:5062;ob SIP/2.0"
    assert dict(message.headers) == {
        "via": VIA,
        "max-forwards": "70",
        "from": "<sip:alice@example.com>;tag=ours",
        "to": '"Bob" <sip:bob@example.net>;tag=theirs',
        "call-id": "call-1",
        "cseq": "8 NOTIFY",
        "contact": "<sip:presence-1@192.0.2.1:5060>",
        "event": "presence;id=7",
        "subscription-state": "active;expires=599",
        "user-agent": "Vedette/1",
        "content-type": "application/pidf+xml",
        "content-length": str(len(PIDF.body)),
    }
    assert message.body == PIDF.body
    assert message.headers[0][0] == "via"


def test_not_08_and_clients_5_without_a_document_there_is_no_type_and_a_content_length_of_0() -> None:
    message = Message.read(octets(None))
    assert "Content-Type" not in message
    assert message["Content-Length"] == "0"
    assert message.body == b""


@pytest.mark.parametrize("version", [0, 9, 10, 2**31 - 1])
def test_win_06_the_number_of_a_dialogs_document_is_put_in_where_it_belongs(version: int) -> None:
    document = Document("application/watcherinfo+xml", b'<watcherinfo version="" state="full"/>', 22)
    message = Message.read(octets(document, version=version))
    assert message.body == b'<watcherinfo version="%d" state="full"/>' % version
    assert message["content-length"] == str(len(message.body))


def test_dlg_a_loose_route_set_stands_in_route_in_its_order() -> None:
    message = Message.read(octets(record_route=["<sip:p1;lr>", "<sip:p2;lr>"]))
    assert message.start == "NOTIFY sip:bob@192.0.2.7:5062;ob SIP/2.0"
    assert message.all("Route") == ["<sip:p1;lr>", "<sip:p2;lr>"]


def test_dlg_a_strict_first_hop_is_the_request_uri_and_the_target_goes_last() -> None:
    message = Message.read(octets(record_route=["<sip:p1>", "<sip:p2;lr>"]))
    assert message.start == "NOTIFY sip:p1 SIP/2.0"
    assert message.all("Route") == ["<sip:p2;lr>", "<sip:bob@192.0.2.7:5062;ob>"]


@pytest.mark.parametrize("document", [PIDF, None])
def test_not_26_another_reader_reads_the_same(document: Document | None) -> None:
    message = sipmessage.Message.parse(octets(document, record_route=["<sip:p1.example.net;lr>"]))
    assert isinstance(message, sipmessage.Request)
    assert (message.method, str(message.uri)) == ("NOTIFY", "sip:bob@192.0.2.7:5062;ob")
    assert message.cseq is not None
    assert (message.cseq.sequence, message.cseq.method) == (8, "NOTIFY")
    assert message.from_address is not None
    assert message.to_address is not None
    assert message.from_address.parameters["tag"] == "ours"
    assert message.to_address.parameters["tag"] == "theirs"
    assert [str(route.uri) for route in message.route] == ["sip:p1.example.net;lr"]
    assert message.body == (document.body if document else b"")


def test_octets_that_are_no_utf_8_go_out_as_they_came() -> None:
    assert b'To: "B\xf6b" <sip:bob@example.net>' in octets(remote='"B\uf7f6b" <sip:bob@example.net>')
