"""Dialogs of subscriptions: where NOTIFY goes and what it carries (RFC 3261 section 12)."""

from functools import partial

import pytest

from tests.conformance.observed import notes, subscriptions, until_ended
from tests.conformance.rewriting import with_uri, with_value
from tests.phone import MakePhone, Message, Phone, learn, parameter, pidf, token
from tests.running_set import RunningSet


def presentity() -> str:
    return f"sip:{token('alice')}@example.com"


def answered(status: int, _request: Message) -> int:
    return status


def at(phone: Phone) -> str:
    return f"{phone.local[0]}:{phone.local[1]}"


async def notified_through(
    running: RunningSet, bob: Phone, proxy: Phone, rows: list[str], **subscribe: str
) -> tuple[Message, Message]:
    """The 200 and the NOTIFY of a SUBSCRIBE with these Record-Route rows; the NOTIFY arrives at `proxy`."""
    dialog = bob.dialog(presentity())
    extra = tuple(f"Record-Route: {row}" for row in rows)
    response = await bob.request(bob.subscribe(dialog, extra=extra, contact=subscribe.get("contact")))
    assert response.status == 200
    notify = await proxy.next_notify()
    assert notify["call-id"] == dialog.call_id
    assert bob.nothing_waits()
    return response, notify


@pytest.mark.parametrize("layout", ["rows", "list", "folded", "mixed"])
async def test_dlg_03_dlg_04_dlg_05_msg_06_msg_02_a_loose_route_set_is_kept_in_order(
    running_set: RunningSet, make_phone: MakePhone, layout: str
) -> None:
    bob, proxy = await make_phone(running_set), await make_phone(running_set)
    first, second, third = hops = [
        f"<sip:{at(proxy)};lr;x=1>;y=2",
        '"Doe, J." <sip:p2.example.net;lr=on>',
        "<sip:p3@p3.example.net;transport=tcp;lr>",
    ]
    rows = {
        "rows": hops,
        "list": [", ".join(hops)],
        "folded": [f"{first},\r\n {second}\r\n\t,{third}"],
        "mixed": [first, f"{second} ,{third}"],
    }[layout]
    response, notify = await notified_through(running_set, bob, proxy, rows)
    assert split(response.all("record-route")) == hops
    assert notify.start == f"NOTIFY {bob.contact.strip('<>')} SIP/2.0"
    assert split(notify.all("route")) == hops


def split(rows: list[str]) -> list[str]:
    """The values of rows that may be lists; the commas of these tests are followed or preceded by `<` or `"`."""
    values: list[str] = []
    for row in rows:
        rest = row
        while rest:
            end = rest.index(">") + 1
            end += len(rest[end:].split(",")[0])
            values.append(rest[:end].strip())
            rest = rest[end:].strip().removeprefix(",").strip()
    return values


async def test_dlg_06_a_strict_first_hop_gets_the_request_uri_and_the_target_goes_last(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    bob, proxy = await make_phone(running_set), await make_phone(running_set)
    rows = [f"<sip:{at(proxy)};x=1;method=INVITE?Subject=hello>", "<sip:p2.example.net;lr>"]
    _, notify = await notified_through(running_set, bob, proxy, rows)
    assert notify.start == f"NOTIFY sip:{at(proxy)};x=1 SIP/2.0"
    assert split(notify.all("route")) == ["<sip:p2.example.net;lr>", bob.contact]


async def test_dlg_07_the_request_uri_is_the_contact_without_headers_and_method(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    uri = f"sip:bob%40x;a=b@{at(udp_phone)};ob;gr=urn:uuid:f81d4fae;line=7;transport=udp"
    dialog = udp_phone.dialog(presentity())
    contact = f'"B, ob" <{uri};method=SUBSCRIBE?Route=%3Csip:evil.example.net%3E>;expires=5;+sip.instance="<urn:x>"'
    assert (await udp_phone.request(udp_phone.subscribe(dialog, contact=contact))).status == 200
    notify = await udp_phone.next_notify()
    assert notify.start == f"NOTIFY {uri} SIP/2.0"
    assert notify.all("route") == []


async def test_dlg_08_dlg_09_not_16_the_names_of_the_dialog_are_kept_and_cseq_rises_by_one(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    alice = await make_phone(running_set)
    dialog = udp_phone.dialog(alice.aor)
    local = '"Al, \\"ice\\"" <sip:alice@elsewhere.example>;x=y'
    remote = f"Bob <sip:bob@b.example>;z;tag={dialog.from_tag}"
    request = with_value(with_value(udp_phone.subscribe(dialog), "To", local), "From", remote)
    response = await udp_phone.request(request)
    assert response.status == 200
    learn(dialog, response)
    notifies = [await udp_phone.next_notify()]
    tag = await alice.published(body=pidf(note="0"))
    notifies.append(await udp_phone.next_notify())
    for status in (200, 503, 400, 200):
        udp_phone.answer = partial(answered, status)
        changed = await alice.request(alice.publish(if_match=tag, body=pidf(note=f"answered {status}")))
        tag = changed["sip-etag"]
        notifies.append(await udp_phone.next_notify())
        assert notes(notifies[-1].body) == [f"answered {status}"]
    refresh = with_value(udp_phone.subscribe(dialog), "From", remote)
    refresh = with_value(refresh, "To", f"{local};tag={dialog.to_tag}")
    assert (await udp_phone.request(refresh)).status == 200
    notifies.append(await udp_phone.next_notify())
    for notify in notifies:
        assert notify["from"] == f"{local};tag={dialog.to_tag}"
        assert notify["to"] == remote
        assert notify["call-id"] == dialog.call_id
    numbers = [int(notify["cseq"].removesuffix(" NOTIFY")) for notify in notifies]
    assert numbers == list(range(numbers[0], numbers[0] + len(notifies)))


async def test_dlg_13_a_refresh_moves_the_target(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice, bob, new = [await make_phone(running_set) for _ in range(3)]
    dialog, _ = await bob.subscribed(alice.aor)
    response = await bob.request(bob.subscribe(dialog, contact=new.contact))
    assert response.status == 200
    assert (await new.next_notify())["call-id"] == dialog.call_id
    await alice.published(body=pidf(note="here"))
    notify = await new.next_notify()
    assert notes(notify.body) == ["here"]
    assert notify.start == f"NOTIFY {new.contact.strip('<>')} SIP/2.0"
    assert bob.nothing_waits()


async def test_dlg_14_a_refresh_never_changes_the_route_set(running_set: RunningSet, make_phone: MakePhone) -> None:
    bob, proxy, other = [await make_phone(running_set) for _ in range(3)]
    dialog = bob.dialog(presentity())
    route = f"<sip:{at(proxy)};lr>"
    response = await bob.request(bob.subscribe(dialog, extra=(f"Record-Route: {route}",)))
    learn(dialog, response)
    await proxy.next_notify()
    dialog.routes = []
    refreshed = await bob.request(bob.subscribe(dialog, extra=(f"Record-Route: <sip:{at(other)};lr>",)))
    assert refreshed.status == 200
    assert (await proxy.next_notify()).all("route") == [route]
    assert other.nothing_waits()


async def test_dlg_02_dlg_16_the_dialog_is_found_by_call_id_and_tags_alone(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    dialog, first = await udp_phone.subscribed(presentity())
    host, port = running_set.sip
    for uri in (dialog.target, f"sip:{host}:{port}", f"sip:somebody@{host}:{port}", dialog.presentity):
        request = with_uri(udp_phone.subscribe(dialog), uri)
        request = with_value(request, "From", f"<sip:changed@example.net>;tag={dialog.from_tag}")
        request = with_value(request, "To", f"<sip:changed@example.org>;tag={dialog.to_tag}")
        assert (await udp_phone.request(request)).status == 200
        notify = await udp_phone.next_notify()
        assert notify["call-id"] == dialog.call_id
        assert parameter(notify["from"], "tag") == dialog.to_tag
        assert notify["from"] == first["from"]
        dialog.cseq += 1
    assert len(await subscriptions(running_set, dialog.presentity)) == 1


async def test_dlg_23_maddr_that_is_ours_is_no_obstacle(running_set: RunningSet, udp_phone: Phone) -> None:
    host, port = running_set.sip
    user = token("alice")
    dialog = udp_phone.dialog(f"sip:{user}@example.com:{port};maddr={host}")
    assert (await udp_phone.request(udp_phone.subscribe(dialog))).status == 200
    assert f"{user}@example.com".encode() in (await udp_phone.next_notify()).body


async def test_sub_32_a_contact_on_another_port_is_used_and_one_that_cannot_be_is_answered_at_the_source(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    bob, elsewhere = await make_phone(running_set), await make_phone(running_set)
    await bob.request(bob.subscribe(bob.dialog(presentity()), contact=elsewhere.contact))
    await elsewhere.next_notify()
    contact = "<sip:bob@df7jal23ls0d.invalid;transport=udp>"
    await bob.request(bob.subscribe(bob.dialog(presentity()), contact=contact))
    assert (await bob.next_notify()).start == f"NOTIFY {contact.strip('<>')} SIP/2.0"


async def test_sub_32_a_private_contact_is_answered_at_the_source_and_at_its_new_one_after_a_refresh(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """A NAT gives the phone another port between two SUBSCRIBEs; its Contact stays what it knows of itself."""
    bob, later = await make_phone(running_set), await make_phone(running_set, host="127.0.0.1", source="127.0.0.3")
    alice = await make_phone(running_set)
    contact = "<sip:bob@10.255.1.7:5070>"
    dialog = bob.dialog(alice.aor)
    learn(dialog, await bob.request(bob.subscribe(dialog, contact=contact)))
    assert (await bob.next_notify()).start == f"NOTIFY {contact.strip('<>')} SIP/2.0"
    assert (await later.request(later.subscribe(dialog, contact=contact))).status == 200
    assert (await later.next_notify())["call-id"] == dialog.call_id
    await alice.published(body=pidf(note="moved"))
    assert notes((await later.next_notify()).body) == ["moved"]
    assert bob.nothing_waits()


async def test_sub_32_parameter_nat_handling_off_goes_by_the_contact_alone(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    """From loopback nothing gets to that network, so the subscription ends."""
    bob = await make_phone(quick_set)
    dialog = bob.dialog(presentity())
    learn(dialog, await bob.request(bob.subscribe(dialog, contact="<sip:bob@10.255.1.7:5070>")))
    await until_ended(quick_set, dialog)
    assert bob.nothing_waits()


async def test_trn_20_over_tcp_the_connection_of_the_subscribe_is_used(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    bob = await make_phone(running_set, transport="tcp")
    contact = "<sip:bob@127.0.0.1:9;transport=tcp>"
    dialog = bob.dialog(presentity())
    assert (await bob.request(bob.subscribe(dialog, contact=contact))).status == 200
    notify = await bob.next_notify()
    assert notify.start == f"NOTIFY {contact.strip('<>')} SIP/2.0"
    assert notify.all("via")[0].startswith("SIP/2.0/TCP ")


async def test_uas_24_other_requests_in_the_dialog_do_not_end_it(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    dialog, _ = await udp_phone.subscribed(watched)
    for method, status in (("BYE", 405), ("INFO", 405), ("OPTIONS", 200), ("MESSAGE", 405), ("NOTIFY", 481)):
        request = udp_phone.subscribe(dialog).replace(b"SUBSCRIBE", method.encode())
        dialog.cseq += 1
        response = await udp_phone.request(request)
        assert (method, response.status) == (method, status)
    await udp_phone.published(watched, body=pidf(note="alive"))
    assert notes((await udp_phone.next_notify()).body) == ["alive"]


async def test_uas_20_options_in_a_dialog_does_not_change_it(running_set: RunningSet, udp_phone: Phone) -> None:
    dialog, _ = await udp_phone.subscribed(presentity())
    options = udp_phone.subscribe(dialog, expires=0).replace(b"SUBSCRIBE", b"OPTIONS")
    assert (await udp_phone.request(options)).status == 200
    dialog.cseq += 1
    assert (await udp_phone.request(udp_phone.subscribe(dialog))).status == 200
    assert (await udp_phone.next_notify()).state == "active"
