"""From a request to a call and from a reply to a response (rows PUB-19, PUB-21, SUB-01, UAS-16, DLG, MSG-06)."""

import pytest

from sip_edge.domain.calls import answer, lane_of, read_call
from tests.phone import Message
from tests.unit.sip_edge.received import request
from vedette.rpc.contract import PublishCall, Reply, SubscribeCall
from vedette.sip.errors import SipError
from vedette.sip.flow import FORWARDED, Flow
from vedette.sip.message import Request

FLOW = Flow("udp", "192.0.2.7", 5062)
SOURCE = ("192.0.2.99", 40000)
ALICE = "sip:alice@example.com"


def publish_call(received: Request) -> PublishCall:
    call = read_call(received, FLOW, local_address="192.0.2.1:5060", edge_instance="e", edge_address="127.0.0.1:1")
    assert isinstance(call, PublishCall)
    return call


def subscribe_call(received: Request) -> SubscribeCall:
    call = read_call(received, FLOW, local_address="192.0.2.1:5060", edge_instance="e", edge_address="127.0.0.1:1")
    assert isinstance(call, SubscribeCall)
    return call


def test_a_publish_is_passed_on_as_it_came() -> None:
    received = request(
        "PUBLISH",
        "sip:Alice@Example.com;x=1",
        ("Event", "presence;foo"),
        ("Expires", "600 "),
        ("SIP-If-Match", "abc"),
        ("Content-Type", "Application/PIDF+XML ;charset=UTF-8"),
        ("Content-Encoding", "gzip"),
        body=b"\x00body",
    )
    assert publish_call(received) == PublishCall(
        request_uri="sip:Alice@Example.com;x=1",
        call_id="call-1",
        cseq=7,
        from_uri="sip:bob@example.net",
        from_tag="theirs",
        to_tag="",
        client_branch="z9hG4bKphone",
        event="presence;foo",
        expires="600",
        if_match=["abc"],
        content_type="Application/PIDF+XML ;charset=UTF-8",
        content_encoding="gzip",
        body=b"\x00body",
    )


def test_clients_headers_that_are_not_there_are_none() -> None:
    call = publish_call(request("PUBLISH", instead={"From": "sip:bob@example.net"}))
    assert (call.event, call.expires, call.if_match, call.content_type, call.content_encoding) == (
        None, None, [], None, None,
    )  # fmt: skip
    assert (call.from_uri, call.from_tag, call.body) == ("sip:bob@example.net", "", b"")


def test_a_subscribe_is_passed_on_with_where_it_came_from() -> None:
    received = request(
        "SUBSCRIBE",
        ALICE,
        ("Event", "presence;id=1"),
        ("Expires", "600"),
        ("Accept", "application/pidf+xml"),
        ("Accept", "*/*"),
        ("Contact", "<sip:bob@192.0.2.7>"),
        ("Record-Route", "<sip:p1.example.net;lr>, <sip:p2.example.net>"),
        ("Record-Route", '"a, b" <sip:p3.example.net;x="1,2">'),
        ("Content-Disposition", "x;handling=optional"),
        ("Content-Type", "text/plain"),
        ("User-Agent", "Phone/1.0"),
        body=b"body",
        instead={"To": "<sip:alice@example.com>;x=1;tag=ours"},
    )
    assert subscribe_call(received) == SubscribeCall(
        request_uri=ALICE,
        call_id="call-1",
        cseq=7,
        from_uri="sip:bob@example.net",
        from_value='"Bob" <sip:bob@example.net>',
        from_tag="theirs",
        to_value="<sip:alice@example.com>;x=1",
        to_tag="ours",
        client_branch="z9hG4bKphone",
        event="presence;id=1",
        expires="600",
        accept=["application/pidf+xml", "*/*"],
        contacts=["<sip:bob@192.0.2.7>"],
        record_route=["<sip:p1.example.net;lr>", "<sip:p2.example.net>", '"a, b" <sip:p3.example.net;x="1,2">'],
        content_type="text/plain",
        content_disposition="x;handling=optional",
        body=b"body",
        user_agent="Phone/1.0",
        flow=FLOW,
        local_address="192.0.2.1:5060",
        edge_instance="e",
        edge_address="127.0.0.1:1",
    )


def test_sub_18_no_accept_and_an_empty_one_are_told_apart() -> None:
    assert subscribe_call(request("SUBSCRIBE")).accept is None
    assert subscribe_call(request("SUBSCRIBE", ALICE, ("Accept", ""))).accept == [""]
    assert subscribe_call(request("SUBSCRIBE")).user_agent == ""


def test_compact_names_are_the_same_headers() -> None:
    long = request("SUBSCRIBE", ALICE, ("Event", "presence"), ("Contact", "<sip:a@b>"), ("Content-Type", "a/b"))
    short = request("SUBSCRIBE", ALICE, ("o", "presence"), ("m", "<sip:a@b>"), ("c", "a/b"))
    assert subscribe_call(long) == subscribe_call(short)


@pytest.mark.parametrize("name", ["Event", "Expires", "Content-Type"])
@pytest.mark.parametrize("method", ["PUBLISH", "SUBSCRIBE"])
def test_sub_05_a_header_that_may_come_once_and_comes_twice_is_an_error(method: str, name: str) -> None:
    received = request(method, ALICE, (name, "a"), (name, "a"))
    if (method, name) == ("SUBSCRIBE", "Content-Type"):
        assert subscribe_call(received).content_type == "a"  # a body of a SUBSCRIBE is not read at all
        return
    with pytest.raises(SipError, match=f"More than one {name}"):
        read_call(received, FLOW, local_address="", edge_instance="", edge_address="")


def test_txn_the_branch_is_the_senders_own_whichever_proxies_were_passed() -> None:
    via = "SIP/2.0/UDP proxy;branch=z9hG4bKproxy, SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKphone"
    assert publish_call(request("PUBLISH", instead={"Via": via})).client_branch == "z9hG4bKphone"


def test_pub_19_lanes_keep_a_presentitys_publications_and_a_dialogs_subscriptions_in_order() -> None:
    def publish(uri: str, event: str, call_id: str) -> tuple[str, str]:
        return lane_of(publish_call(request("PUBLISH", uri, ("Event", event), instead={"Call-ID": call_id})))

    assert publish(ALICE, "presence", "1") == publish(ALICE, "presence", "2")
    for other in ("sips:alice@EXAMPLE.com:5061;transport=tls", "sip:%61lice@example.com", "pres:alice@example.com"):
        assert publish(ALICE, "presence", "1") == publish(other, "presence", "2")
    assert publish(ALICE, "presence", "1") != publish("sip:carol@example.com", "presence", "1")
    assert publish(ALICE, "presence", "1") != publish(ALICE, "dialog", "1")

    def subscribe(uri: str, call_id: str, sender: str) -> tuple[str, str]:
        return lane_of(subscribe_call(request("SUBSCRIBE", uri, instead={"Call-ID": call_id, "From": sender})))

    first = subscribe(ALICE, "1", "<sip:b@c>;tag=x")
    assert subscribe("sip:192.0.2.1", "1", "<sip:b@c>;tag=x") == first
    assert subscribe(ALICE, "1", "<sip:b@c>;tag=y") != first
    assert subscribe(ALICE, "2", "<sip:b@c>;tag=x") != first


def written(received: Request, reply: Reply) -> Message:
    return Message.read(answer(received, reply, source=SOURCE, to_tag="fallback"))


def test_uas_16_the_response_copies_what_it_must_and_says_where_the_request_came_from() -> None:
    received = request("PUBLISH", ALICE, ("Record-Route", "<sip:p;lr>"), ("Contact", "<sip:a@b>"))
    response = written(received, Reply(200, headers=[("Expires", "600"), ("SIP-ETag", "abc")]))
    assert response.start == "SIP/2.0 200 OK"
    assert response["Via"] == ("SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKphone;rport=40000;received=192.0.2.99")
    assert response["From"] == '"Bob" <sip:bob@example.net>;tag=theirs'
    assert response["To"] == "<sip:alice@example.com>;tag=fallback"
    assert (response["Call-ID"], response["CSeq"]) == ("call-1", "7 PUBLISH")
    assert (response["Expires"], response["SIP-ETag"], response["Content-Length"]) == ("600", "abc", "0")


def test_pub_21_pub_22_and_pub_43_a_response_to_publish_has_no_route_contact_or_event() -> None:
    received = request(
        "PUBLISH", ALICE, ("Record-Route", "<sip:p;lr>"), ("Contact", "<sip:a@b>"), ("Event", "presence")
    )
    response = written(received, Reply(200))
    assert not {"record-route", "contact", "event", "accept"} & {name for name, _ in response.headers}


def test_sub_01_and_dlg_a_2xx_to_subscribe_has_the_record_route_rows_in_their_order_and_the_dialogs_tag() -> None:
    received = request("SUBSCRIBE", ALICE, ("Record-Route", "<sip:p1;lr>,<sip:p2>"), ("Record-Route", "<sip:p3>"))
    response = written(received, Reply(200, to_tag="dialog", headers=[("Contact", "<sip:us>")]))
    assert response.all("Record-Route") == ["<sip:p1;lr>,<sip:p2>", "<sip:p3>"]
    assert response["To"] == "<sip:alice@example.com>;tag=dialog"
    assert response["Contact"] == "<sip:us>"
    assert "Event" not in response
    assert "Subscription-State" not in response


@pytest.mark.parametrize("status", [400, 404, 423, 481, 489, 503])
def test_dlg_a_refusal_makes_no_dialog(status: int) -> None:
    received = request("SUBSCRIBE", ALICE, ("Record-Route", "<sip:p1;lr>"))
    response = written(received, Reply(status, "Because"))
    assert response.start == f"SIP/2.0 {status} Because"
    assert "Record-Route" not in response
    assert response["To"].endswith(";tag=fallback")


def test_uas_16_a_tag_that_is_there_is_kept() -> None:
    received = request("SUBSCRIBE", instead={"To": "<sip:alice@example.com>;tag=ours"})
    assert written(received, Reply(200, to_tag="other"))["To"] == "<sip:alice@example.com>;tag=ours"


@pytest.mark.parametrize(
    ("transport", "vias", "connection"),
    [
        ("udp", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKphone", 0),
        ("udp", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKproxy, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKphone", FORWARDED),
        ("tcp", "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKproxy, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKphone", 3),
    ],
)
def test_sub_32_a_datagram_that_a_proxy_passed_on_is_known_as_such(
    transport: str, vias: str, connection: int
) -> None:
    flow = Flow(transport, "192.0.2.1", 5060, 3 if transport == "tcp" else 0)
    received = request("SUBSCRIBE", "sip:alice@example.com", ("Contact", "<sip:b@10.0.0.7>"), instead={"Via": vias})
    call = read_call(received, flow, local_address="", edge_instance="", edge_address="")
    assert isinstance(call, SubscribeCall)
    assert call.flow == flow._replace(connection=connection)
