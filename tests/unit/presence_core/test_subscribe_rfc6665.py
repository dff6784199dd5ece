"""SUBSCRIBE planned and concluded (RFC 6665 section 4.2.1, RFC 3261 section 12; rows SUB, UAS-12, UAS-15, DLG)."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_core.domain.policy import Policy
from presence_core.domain.subscribe import (
    SubscribeCommand,
    SubscribeVerdict,
    conclude_subscribe,
    in_turns,
    plan_subscribe,
)
from tests.integration.calls import ALICE, BOB, EDGE, EDGE_ADDRESS, FLOW, subscribe
from vedette.events.registry import ALLOW_EVENTS
from vedette.identity import parse_to_tag, presentity_hash, to_tag
from vedette.rpc.contract import Reply, SubscribeCall
from vedette.sip.flow import Flow

POLICY = Policy(secret=b"s" * 32, domains=frozenset({"example.com"}), min_expires=60, max_expires_subscribe=3600)
HASH = presentity_hash(ALICE)
DIALOG = bytes(range(16))
TO_TAG = to_tag("10", HASH, DIALOG)


def planned(call: SubscribeCall, policy: Policy = POLICY) -> SubscribeCommand:
    """The command of a call that the database has to judge."""
    plan = plan_subscribe(call, policy)
    assert isinstance(plan, SubscribeCommand), plan
    return plan


def refused(call: SubscribeCall, policy: Policy = POLICY) -> Reply:
    """The answer to a call that never reaches the database."""
    plan = plan_subscribe(call, policy)
    assert isinstance(plan, Reply), plan
    return plan


def changed(call: SubscribeCall | None = None, **fields: Any) -> SubscribeCall:
    return msgspec.structs.replace(call or subscribe(), **fields)


# what is asked of the database


def test_sub_01_a_new_subscription_becomes_a_command_with_a_dialog_of_its_own() -> None:
    call = subscribe(expires=600, user_agent="x" * 300)
    command = planned(call)
    assert (command.presentity_hash, command.presentity_uri) == (HASH, ALICE)
    assert (command.event, command.event_id, command.in_dialog) == ("presence", "", False)
    assert command.dialog_id == command.key
    assert parse_to_tag(command.to_tag) == (HASH, command.key)
    assert (command.callid, command.from_tag, command.cseq) == (call.call_id, call.from_tag, 1)
    assert (command.expires, command.accept) == (600, "application/pidf+xml")
    assert (command.watcher_username, command.watcher_domain) == ("bob", "example.net")
    assert (command.to_value, command.from_value) == (f"<{ALICE}>", f'"Bob" <{BOB}>')
    assert command.contact == "sip:bob@192.0.2.7:5060"
    assert (command.edge_instance, command.edge_address, command.flow) == (EDGE, EDGE_ADDRESS, FLOW)
    assert command.user_agent == "x" * 255
    assert command.refusal is None


def test_sub_11_in_a_dialog_the_to_tag_names_presentity_and_dialog() -> None:
    command = planned(subscribe(to_tag=TO_TAG, expires=600))
    assert (command.presentity_hash, command.presentity_uri) == (HASH, None)
    assert (command.dialog_id, command.in_dialog, command.to_tag) == (DIALOG, True, TO_TAG)
    assert command.key != DIALOG


def test_dlg_in_a_dialog_the_request_uri_is_our_contact_and_names_no_resource() -> None:
    command = planned(subscribe("sip:127.0.0.1:5060", to_tag=TO_TAG))
    assert (command.presentity_hash, command.refusal) == (HASH, None)


@pytest.mark.parametrize("preference", ["10", "", "a.b", "x" * 32])
def test_uas_17_to_tags_begin_with_what_the_operator_prefers_and_lead_back(preference: str) -> None:
    policy = Policy(secret=b"s" * 32, to_tag_pref=preference)
    command = planned(subscribe(), policy)
    assert command.to_tag.startswith(f"{preference}." if preference else f"{HASH & 0xFFFFFFFF:08x}.")
    again = planned(subscribe(to_tag=command.to_tag), policy)
    assert (again.presentity_hash, again.dialog_id) == (HASH, command.dialog_id)


@pytest.mark.parametrize(
    ("flow", "local", "contact"),
    [
        (Flow("udp", "192.0.2.7", 5060), "192.0.2.1:5060", "@192.0.2.1:5060"),
        (Flow("tcp", "192.0.2.7", 40000, 3), "192.0.2.1:5060", "@192.0.2.1:5060;transport=tcp"),
        (Flow("udp", "2001:db8::7", 5060), "[2001:db8::1]:5060", "@[2001:db8::1]:5060"),
        (Flow("tls", "192.0.2.7", 40000, 3), "192.0.2.1:5061", "@192.0.2.1:5061;transport=tls"),
        (Flow("ws", "192.0.2.7", 40000, 3), "192.0.2.1:80", "@192.0.2.1:80;transport=ws"),
        (Flow("wss", "192.0.2.7", 40000, 3), "sip.example:443", "@sip.example:443;transport=ws"),
    ],
)
def test_clients_2_our_contact_is_reachable_by_the_watchers_transport(flow: Flow, local: str, contact: str) -> None:
    command = planned(subscribe(flow=flow, local_address=local), Policy(secret=b"s" * 32, contact_user="pa"))
    assert command.local_contact == f"sip:pa-{HASH & 0xFFFFFFFF:08x}{contact}"


@pytest.mark.parametrize(
    ("fields", "transport", "contact"),
    [
        ({"request_uri": "sips:alice@example.com"}, "tls", "sips:{}@192.0.2.1:5061"),
        ({"request_uri": "SIPS:alice@example.com"}, "wss", "sips:{}@192.0.2.1:5061;transport=ws"),
        ({"contacts": ["<sips:bob@192.0.2.7>"]}, "tls", "sips:{}@192.0.2.1:5061"),
        ({"record_route": ["<sips:proxy.example;lr>"]}, "tls", "sips:{}@192.0.2.1:5061"),
        (
            {"contacts": ["<sips:bob@192.0.2.7>"], "record_route": ["<sip:proxy.example;lr>"]},
            "tls",
            "sip:{}@192.0.2.1:5061;transport=tls",
        ),
        ({"request_uri": "sips:alice@example.com", "tls_address": "192.0.2.1:7"}, "udp", "sips:{}@192.0.2.1:7"),
        ({"contacts": ["<sips:bob@192.0.2.7>"], "tls_address": "192.0.2.1:7"}, "tcp", "sips:{}@192.0.2.1:7"),
        ({"record_route": ["<sips:proxy.example;lr>"], "tls_address": "[::1]:7"}, "ws", "sips:{}@[::1]:7"),
        ({"request_uri": "sips:alice@example.com"}, "udp", "sip:{}@192.0.2.1:5061"),
        ({"tls_address": "192.0.2.1:7"}, "udp", "sip:{}@192.0.2.1:5061"),
    ],
)
def test_dlg_18_trn_24_our_contact_is_sips_where_the_watcher_wants_tls_on_every_hop(
    fields: dict[str, Any], transport: str, contact: str
) -> None:
    call = subscribe(flow=Flow(transport, "192.0.2.7", 40000, 3), local_address="192.0.2.1:5061")
    command = planned(changed(call, **fields), Policy(secret=b"s" * 32, contact_user="pa"))
    assert command.local_contact == contact.format(f"pa-{HASH & 0xFFFFFFFF:08x}")


@pytest.mark.parametrize(
    ("event", "package", "event_id"),
    [
        ("presence", "presence", ""),
        ("presence;id=7", "presence", "7"),
        ("presence ; ID=a.b ; foo", "presence", "a.b"),
        ("presence;foo;bar=1", "presence", ""),
    ],
)
def test_not_06_and_sub_17_the_event_and_its_id_are_kept(event: str, package: str, event_id: str) -> None:
    command = planned(changed(event=event))
    assert (command.event, command.event_id) == (package, event_id)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [("60", 60), ("3600", 3600), ("3601", 3600), ("423197357", 3600), ("4294967295", 3600), (None, 3600), ("0", 0)],
)
def test_sub_06_sub_13_and_sub_31_the_lifetime_is_honoured_or_shortened(asked: str | None, granted: int) -> None:
    assert planned(changed(expires=asked)).expires == granted


@pytest.mark.parametrize(
    ("asked", "minimum", "status"),
    [(0, 60, 0), (1, 60, 423), (59, 60, 423), (60, 60, 0), (3599, 7200, 423), (3600, 7200, 0), (3601, 7200, 0)],
)
def test_sub_07_too_brief_is_between_0_and_the_minimum_and_below_an_hour(
    asked: int, minimum: int, status: int
) -> None:
    policy = Policy(secret=b"s" * 32, min_expires=minimum, max_expires_subscribe=7200)
    plan = plan_subscribe(subscribe(expires=asked), policy)
    assert (plan.status if isinstance(plan, Reply) else 0) == status
    if isinstance(plan, Reply):
        assert plan.headers == [("Min-Expires", str(minimum))]


PIDF, XPIDF = "application/pidf+xml", "application/xpidf+xml"


@pytest.mark.parametrize(
    "accept",
    [
        None,
        [PIDF],
        ["Application/PIDF+xml"],
        [f"{PIDF}, application/xpidf+xml"],
        ["application/xpidf+xml", PIDF],
        ["*/*"],
        ["application/*"],
        [f"{PIDF};q=0.001"],
        [f"*/*;q=0, {PIDF}"],
        [f"application/*;q=0.0;x, {PIDF};q=0.2"],
        ["multipart/related, application/rlmi+xml, application/pidf+xml"],
        [f"{PIDF};q=nonsense"],
        ["", PIDF],
    ],
)
def test_sub_18_sub_19_sub_20_clients_accept_that_takes_pidf_gets_pidf(accept: list[str] | None) -> None:
    assert planned(changed(accept=accept)).accept == PIDF


@pytest.mark.parametrize(
    "accept", [[XPIDF], [f"{PIDF};q=0.1, {XPIDF};q=1"], [f"*/*, {PIDF};q=0"], [f"text/*, {XPIDF};q=0.1"]]
)
def test_sub_18_a_watcher_that_likes_xpidf_better_or_takes_nothing_else_gets_it(accept: list[str]) -> None:
    assert planned(changed(accept=accept)).accept == XPIDF


@pytest.mark.parametrize(
    "accept",
    [
        [],
        [""],
        ["application/cpim-pidf+xml", "text/xml+msrtc.pidf"],
        ["text/*"],
        [f"{PIDF};q=0"],
        [f"{PIDF};q=0.000"],
        [f"*/*;q=0, {PIDF};q=0"],
        ["application/*;q=0, */*"],
    ],
)
def test_uas_15_sub_20_sub_21_and_prs_03_accept_that_leaves_nothing_is_406(accept: list[str]) -> None:
    reply = refused(changed(accept=accept))
    assert (reply.status, reply.headers) == (406, [("Accept", f"{PIDF}, {XPIDF}")])


@pytest.mark.parametrize("accept", [["application"], ["/"], [f"{PIDF};;"], ["a b/c"]])
def test_sub_20_an_accept_that_is_no_list_of_media_types_is_400(accept: list[str]) -> None:
    reply = refused(changed(accept=accept))
    assert reply.status == 400
    assert "Accept" in reply.reason


@pytest.mark.parametrize(
    ("contacts", "contact", "instance"),
    [
        (["<sip:bob@192.0.2.7:5060>"], "sip:bob@192.0.2.7:5060", ""),
        (["sip:bob@192.0.2.7;expires=600"], "sip:bob@192.0.2.7", ""),
        (['"Bob, the second" <sip:bob@192.0.2.7>'], "sip:bob@192.0.2.7", ""),
        (["<sip:bob-0x5563ee366da0@192.0.2.7:5060>"], "sip:bob-0x5563ee366da0@192.0.2.7:5060", ""),
        (["<sip:192.0.2.7:49725;transport=udp>"], "sip:192.0.2.7:49725;transport=udp", ""),
        (["<sip:bob@192.0.2.7:5060;ob>"], "sip:bob@192.0.2.7:5060;ob", ""),
        (
            ['<sip:bob@192.0.2.7>;expires=600;+sip.instance="<urn:uuid:0a>"'],
            "sip:bob@192.0.2.7",
            "<urn:uuid:0a>",
        ),
        (["<sip:bob@example.net;gr=urn:uuid:0a>"], "sip:bob@example.net;gr=urn:uuid:0a", ""),
        (["<sips:bob@192.0.2.7>"], "sips:bob@192.0.2.7", ""),
    ],
)
def test_clients_contacts_as_phones_write_them(contacts: list[str], contact: str, instance: str) -> None:
    command = planned(changed(contacts=contacts))
    assert (command.contact, command.sip_instance) == (contact, instance)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"contacts": []}, "Contact"),
        ({"contacts": ["*"]}, "Contact"),
        ({"contacts": ["<sip:a@b>", "<sip:c@d>"]}, "Contact"),
        ({"contacts": ["<sip:a@b>, <sip:c@d>"]}, "Contact"),
        ({"contacts": ["<sip:a@b"]}, "Contact"),
        ({"contacts": ["nonsense"]}, "Contact"),
        ({"contacts": ["<>"]}, "Contact"),
        ({"contacts": ["<tel:+1234>"]}, "URI"),
        ({"contacts": ["<mailto:a@b>"]}, "URI"),
        ({"contacts": ["<sip:a@b:99999>"]}, "URI"),
        ({"record_route": ["nonsense"]}, "Record-Route"),
        ({"record_route": ["<sip:>"]}, "URI"),
    ],
)
def test_sub_01_and_clients_13_a_subscription_whose_notifies_had_nowhere_to_go_is_refused(
    fields: dict[str, Any], reason: str
) -> None:
    reply = refused(changed(**fields))
    assert reply.status == 400
    assert reason in reply.reason


def test_dlg_the_route_set_is_what_record_route_says_in_its_order() -> None:
    routes = ["<sip:proxy.example.net;lr>", "<sip:192.0.2.1>"]
    assert planned(subscribe(record_route=routes)).record_route == routes


@pytest.mark.parametrize(
    ("from_uri", "watcher"),
    [
        ("sip:bob@example.net", ("bob", "example.net")),
        ("sips:bob@EXAMPLE.net:5061;x=1", ("bob", "example.net")),
        ("sip:example.net", ("", "example.net")),
        ("tel:+1234", ("", "tel:+1234")),
        ("urn:" + "x" * 300, ("", "urn:" + "x" * 251)),
        ("", ("", "")),
    ],
)
def test_uas_06_a_watcher_may_have_any_kind_of_name(from_uri: str, watcher: tuple[str, str]) -> None:
    command = planned(changed(from_uri=from_uri))
    assert (command.watcher_username, command.watcher_domain) == watcher


# what is refused without it


REFUSED: list[tuple[str, dict[str, Any], int, list[tuple[str, str]]]] = [
    ("foreign domain", {"request_uri": "sip:alice@example.net"}, 404, []),
    ("no user", {"request_uri": "sip:example.com"}, 404, []),
    ("other scheme", {"request_uri": "tel:+1"}, 416, []),
    ("malformed URI", {"request_uri": "sip:@"}, 400, []),
    ("no event", {"event": None}, 489, [("Allow-Events", ALLOW_EVENTS)]),
    ("unknown event", {"event": "vacation"}, 489, [("Allow-Events", ALLOW_EVENTS)]),
    ("two events", {"event": "presence, dialog"}, 400, []),
    ("a dialog that nobody made", {"to_tag": "abc"}, 481, []),
    ("a dialog id cut short", {"to_tag": TO_TAG[:-1]}, 481, []),
    ("a dialog id in capitals", {"to_tag": TO_TAG.upper()}, 481, []),
    ("a dialog and no event", {"to_tag": "abc", "event": None}, 481, []),
    ("no number", {"expires": "soon"}, 400, []),
    ("a body", {"body": b"<x/>", "content_type": "application/x"}, 415, [("Accept", "")]),
    ("a required body", {"body": b"x", "content_disposition": "render;handling=required"}, 415, [("Accept", "")]),
]


@pytest.mark.parametrize(
    ("fields", "status", "headers"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_sub_03_sub_04_sub_05_sub_15_sub_28_sub_29_refusals(
    fields: dict[str, Any], status: int, headers: list[tuple[str, str]]
) -> None:
    reply = refused(changed(**fields))
    assert (reply.status, reply.headers) == (status, headers)


@pytest.mark.parametrize("value", ["x;handling=optional", "render ; Handling = Optional", "a;b=c;handling=optional"])
def test_uas_12_a_body_that_its_sender_can_do_without_is_not_read(value: str) -> None:
    assert planned(changed(body=b"<x/>", content_type="application/x", content_disposition=value)).refusal is None


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"expires": "59"}, 423),
        ({"expires": "soon"}, 400),
        ({"contacts": []}, 400),
        ({"accept": ["text/plain"]}, 406),
        ({"body": b"x"}, 415),
    ],
)
def test_sub_08_and_uas_25_faults_in_a_dialog_wait_for_what_the_database_says_of_it(
    fields: dict[str, Any], status: int
) -> None:
    assert refused(changed(**fields)).status == status
    command = planned(changed(to_tag=TO_TAG, **fields))
    assert command.refusal is not None
    assert command.refusal.status == status
    assert conclude_subscribe(command, SubscribeVerdict("unmatched", 0), POLICY).status == 481
    assert conclude_subscribe(command, SubscribeVerdict("withheld", 0), POLICY) == command.refusal


# what is answered


@pytest.mark.parametrize("word", ["created", "fetched", "refreshed", "ended", "replayed"])
@pytest.mark.parametrize("tag", ["", TO_TAG])
def test_sub_01_sub_12_sub_27_success_is_200_with_expires_contact_and_tag(word: str, tag: str) -> None:
    command = planned(subscribe(to_tag=tag))
    assert conclude_subscribe(command, SubscribeVerdict(word, 600), POLICY) == Reply(
        200,
        to_tag=command.to_tag,
        headers=[("Expires", "600"), ("Contact", f"<{command.local_contact}>")],
    )


@pytest.mark.parametrize(("word", "status"), [("unmatched", 481), ("other_usage", 403), ("out_of_order", 500)])
def test_sub_15_sub_17_and_dlg_what_the_database_refuses(word: str, status: int) -> None:
    reply = conclude_subscribe(planned(subscribe(to_tag=TO_TAG)), SubscribeVerdict(word, 0), POLICY)
    assert (reply.status, reply.to_tag, reply.headers) == (status, "", [])


# the key of a request


def test_sub_22_a_copy_of_a_request_makes_the_same_dialog_and_every_other_request_another() -> None:
    call = subscribe()
    assert planned(call) == planned(msgspec.structs.replace(call))
    elsewhere = changed(call, edge_instance="edge-2", flow=Flow("tcp", "192.0.2.8", 1, 1))
    assert planned(elsewhere).dialog_id == planned(call).dialog_id
    others: list[dict[str, Any]] = [
        {"call_id": "other"}, {"cseq": 2}, {"from_tag": "other"}, {"client_branch": "z9hG4bKother"},
        {"request_uri": "sip:carol@example.com"}, {"event": "presence;id=1"},
    ]  # fmt: skip
    dialogs = {planned(changed(call, **fields)).dialog_id for fields in others}
    assert len(dialogs | {planned(call).dialog_id}) == len(others) + 1


HEADER_TEXT = st.none() | st.text(max_size=20) | st.sampled_from(["presence", "600", "0", PIDF])
ROWS = st.lists(st.text(max_size=20) | st.sampled_from(["<sip:a@b>", "<sip:c;lr>", "*"]), max_size=2)


@given(
    request_uri=st.text(max_size=30) | st.just(ALICE),
    from_uri=st.text(max_size=30) | st.just(BOB),
    event=HEADER_TEXT,
    expires=HEADER_TEXT,
    accept=st.none() | ROWS,
    contacts=ROWS | st.just(["<sip:a@b>"]),
    record_route=ROWS,
    body=st.binary(max_size=2),
    content_disposition=HEADER_TEXT,
    to_tag=st.sampled_from(["", "a", TO_TAG]),
)
def test_uas_25_whatever_stands_in_a_subscribe_there_is_an_answer_or_a_command(**fields: Any) -> None:
    plan = plan_subscribe(changed(**fields), POLICY)
    if isinstance(plan, Reply):
        assert plan.status in {400, 404, 406, 415, 416, 423, 481, 489}
        assert fields["to_tag"] != TO_TAG or plan.status in {400, 489}
        return
    assert 0 <= plan.expires <= 3600
    assert plan.in_dialog == (plan.presentity_uri is None) == (fields["to_tag"] == TO_TAG)
    assert plan.refusal is None or plan.in_dialog
    assert plan.refusal is not None or (plan.contact and plan.accept == PIDF)
    assert re.fullmatch(r"[\w.]+", plan.to_tag)


def test_new_dialogs_of_one_phone_for_one_state_are_written_one_after_the_other() -> None:
    phone, desk = (f'<sip:bob@192.0.2.7>;+sip.instance="<urn:uuid:{number}>"' for number in (1, 2))
    calls = [
        subscribe(contacts=[phone]),
        subscribe(contacts=[desk]),
        subscribe(contacts=[phone]),
        subscribe(contacts=[phone], request_uri="sip:other@example.com"),
        subscribe(contacts=[phone], event="presence;id=7"),
        subscribe(contacts=[phone], from_uri="sip:carol@example.net"),
        subscribe(contacts=[phone], expires=0),
        changed(contacts=[phone], to_tag=TO_TAG),
        subscribe(),
        subscribe(),
        subscribe(contacts=[phone]),
    ]
    assert in_turns([planned(call) for call in calls]) == [[0, 1, 3, 4, 5, 6, 7, 8, 9], [2], [10]]
    assert in_turns([]) == [[]]
