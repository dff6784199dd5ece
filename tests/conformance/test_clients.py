"""What real clients send and need (reference/clients.md, by its numbers), as far as it needs no authentication."""

import asyncio
import re

import pytest

from tests.conformance.observed import fetched, notes, publications, saying, subscription, subscriptions, tuples
from tests.conformance.rewriting import with_uri, with_value, without
from tests.phone import MakePhone, Message, Phone, learn, opened, pidf, token
from tests.running_set import RunningSet
from tests.wait import until


def presentity() -> str:
    return f"sip:{token('alice')}@example.com"


# what a server must satisfy


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_clients_01_dlg_22_a_preloaded_route_naming_the_server_is_taken_off(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, transport=transport)
    for parameters in (";lr", f";transport={transport};lr", ";lr;hide"):
        route = f"Route: <sip:{running_set.sip_address}{parameters}>"
        assert (await phone.request(phone.publish(body=pidf(), extra=(route,)))).status == 200
        dialog = phone.dialog(phone.aor)
        assert (await phone.request(phone.subscribe(dialog, extra=(route,)))).status == 200
        notify = await phone.next_notify()
        assert not notify.all("route")
    assert len(await publications(running_set, phone.aor)) == 3


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_clients_02_trn_01_our_contact_is_reachable_by_the_clients_transport_without_a_route(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, transport=transport)
    dialog, notify = await phone.subscribed(presentity())
    assert notify["contact"].strip("<>") == dialog.target
    where = re.fullmatch(r"sip:[^@;]+@([^:;]+):(\d+)(;transport=tcp)?", dialog.target)
    assert where is not None
    assert (where[1], int(where[2])) == running_set.sip
    assert bool(where[3]) is (transport == "tcp")
    without_user = f"sip:{running_set.sip_address}" + (";transport=tcp" if transport == "tcp" else "")
    for target in (dialog.target, without_user):
        assert (await phone.request(with_uri(phone.subscribe(dialog), target))).status == 200
        assert (await phone.next_notify())["call-id"] == dialog.call_id
        dialog.cseq += 1


async def test_clients_05_clients_06_after_the_last_unpublish_there_is_a_closed_tuple(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    await bob.subscribed(alice.aor)
    tags = [await alice.published(body=pidf(alice.aor, note=str(number))) for number in range(2)]
    for tag in tags:
        await alice.request(alice.publish(if_match=tag, expires=0))
    gone = await bob.notify_where(lambda notify: not notes(notify.body) and len(bob.received) > 2)
    assert b"<basic>closed</basic>" in gone.body
    assert gone["content-type"] == "application/pidf+xml"


async def test_clients_07_baresip_finds_its_literal_strings_in_what_others_published(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    for activity in ("away", "busy", "on-the-phone"):
        document = f"""<?xml version="1.0"?>
            <p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" xmlns:d="urn:ietf:params:xml:ns:pidf:data-model"
                xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:a@b">
              <p:tuple id="t1"><p:status><p:basic>open</p:basic></p:status></p:tuple>
              <d:person id="p1"><r:activities><r:{activity}></r:{activity}></r:activities></d:person>
            </p:presence>"""
        tag = await alice.published(body=document.encode())
        notify = await fetched(bob, alice.aor)
        assert b"<basic>open</basic>" in notify.body
        assert f"<rpid:{activity}/>".encode() in notify.body
        assert b'<presence xmlns="urn:ietf:params:xml:ns:pidf"' in notify.body
        await alice.request(alice.publish(if_match=tag, expires=0))


async def test_clients_08_the_tuple_that_counts_comes_first(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    for basic, note in (("open", "older"), ("closed", "shut"), ("open", "newer"), ("closed", "newest but shut")):
        await alice.published(body=pidf(alice.aor, basic=basic, note=note))
    notify = await fetched(bob, alice.aor)
    assert notes(notify.body) == ["newer", "older", "newest but shut", "shut"]
    assert list(tuples(notify.body).values()) == ["open", "open", "closed", "closed"]


@pytest.mark.parametrize("answer", [None, 481, 200])
async def test_clients_09_whatever_the_last_notify_is_answered_the_subscription_is_over(
    running_set: RunningSet, make_phone: MakePhone, answer: int | None
) -> None:
    alice, bob, carol = [await make_phone(running_set) for _ in range(3)]
    await carol.subscribed(alice.aor)
    dialog, _ = await bob.subscribed(alice.aor)
    bob.answer = lambda _: answer
    assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
    assert (await bob.next_notify()).state == "terminated"
    assert await subscription(running_set, dialog) is None
    await alice.published(body=pidf(alice.aor, note="to carol"))
    await carol.notify_where(saying("to carol"))
    assert not [message for message in bob.received if message.body and b"to carol" in message.body]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_clients_10_an_unpublish_of_a_client_that_has_left_counts(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    bob = await make_phone(running_set)
    async with opened(running_set, transport=transport) as alice:
        tag = await alice.published(body=pidf(alice.aor, note="here"))
        await bob.subscribed(alice.aor)
        alice.send(alice.publish(if_match=tag, expires=0))
    gone = await bob.notify_where(lambda notify: notes(notify.body) == [])
    assert list(tuples(gone.body).values()) == ["closed"]


async def test_clients_12_the_answer_goes_to_the_source_where_rport_asks_for_it(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    branch = token("z9hG4bK")
    via = f"SIP/2.0/UDP 192.0.2.2:5099;branch={branch};rport"
    response = await udp_phone.request(with_value(udp_phone.publish(body=pidf()), "Via", via))
    assert response.status == 200
    assert f"rport={udp_phone.local[1]}" in response["via"]


async def test_clients_13_trn_20_a_tcp_watcher_that_listens_elsewhere_is_reached_on_its_connection_and_without_one(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice = await make_phone(running_set)
    came: asyncio.Queue[Message] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(Message.read(head)["content-length"]))
        writer.write(alice.response(Message.read(head), 200))
        writer.close()
        await writer.wait_closed()
        came.put_nowait(Message.read(head + body))

    listener = await asyncio.start_server(take, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        async with opened(running_set, transport="tcp") as bob:
            dialog = bob.dialog(alice.aor)
            contact = f"<sip:bob@127.0.0.1:{port};transport=TCP;ob>"
            response = await bob.request(bob.subscribe(dialog, contact=contact))
            assert response.status == 200
            learn(dialog, response)
            on_connection = await bob.next_notify()
            assert on_connection.start == f"NOTIFY sip:bob@127.0.0.1:{port};transport=TCP;ob SIP/2.0"
            await settled(running_set, alice.aor)
        assert came.empty()
        await alice.published(body=pidf(alice.aor, note="called back"))
        called = await asyncio.wait_for(came.get(), 15)
        assert notes(called.body) == ["called back"]
        assert called["call-id"] == dialog.call_id
        await settled(running_set, alice.aor)
        assert await subscription(running_set, dialog)


async def settled(running: RunningSet, watched: str) -> None:
    """Return when no NOTIFY of the presentity is on its way."""

    async def none() -> bool:
        return not any(item["notify_outstanding"] for item in await subscriptions(running, watched))

    await until(none, "every NOTIFY is answered")


# header and parser quirks


async def test_supported_is_empty_or_repeated(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    for extra in (
        ("Supported:",),
        ("Supported: ", "Supported: replaces", "k: outbound"),
        ("Accept: application/xpidf+xml", "Allow-Events: presence", "Allow-Events: dialog"),
    ):
        response = await udp_phone.request(udp_phone.subscribe(udp_phone.dialog(watched), extra=extra))
        assert response.status == 200
        await udp_phone.next_notify()


async def test_msg_09_from_and_to_without_angle_brackets(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    for from_, to in (
        (f"{udp_phone.aor};tag={{tag}}", watched),
        (f"<{udp_phone.aor}>;tag={{tag}}", watched),
        (f'"bob"<{udp_phone.aor}>;tag={{tag}}', f'"alice" <{watched}>'),
        (f"bob <{udp_phone.aor}> ; tag = {{tag}}", f"{watched} "),
    ):
        dialog = udp_phone.dialog(watched)
        request = with_value(udp_phone.subscribe(dialog), "From", from_.format(tag=dialog.from_tag))
        response = await udp_phone.request(with_value(request, "To", to))
        assert (from_, response.status) == (from_, 200)
        learn(dialog, response)
        notify = await udp_phone.next_notify()
        assert notify["from"].startswith(to.strip())
        assert notify["from"].endswith(f";tag={dialog.to_tag}")
        assert dialog.from_tag in notify["to"]
        end = with_value(udp_phone.subscribe(dialog, expires=0), "From", from_.format(tag=dialog.from_tag))
        assert (await udp_phone.request(with_value(end, "To", f"{to.strip()};tag={dialog.to_tag}"))).status == 200
        assert (await udp_phone.next_notify()).state == "terminated"


async def test_msg_47_no_content_length_over_udp(running_set: RunningSet, udp_phone: Phone) -> None:
    published = await udp_phone.request(without(udp_phone.publish(body=pidf(note="rest")), "Content-Length"))
    assert published.status == 200
    watched = udp_phone.aor
    dialog = udp_phone.dialog(watched)
    udp_phone.answer = lambda notify: without(udp_phone.response(notify, 200), "Content-Length")
    response = await udp_phone.request(without(udp_phone.subscribe(dialog), "Content-Length"))
    assert response.status == 200
    learn(dialog, response)
    assert notes((await udp_phone.next_notify()).body) == ["rest"]
    removed = udp_phone.publish(if_match=published["sip-etag"], expires=0)
    assert (await udp_phone.request(without(removed, "Content-Length"))).status == 200
    assert notes((await udp_phone.next_notify()).body) == []
    assert await publications(running_set, watched) == []
    await settled(running_set, watched)
    assert await subscription(running_set, dialog)


async def test_headers_in_any_order_and_with_two_spaces(running_set: RunningSet, udp_phone: Phone) -> None:
    line, _, rest = udp_phone.publish(body=pidf()).partition(b"\r\n")
    head, separator, body = rest.partition(b"\r\n\r\n")
    rows = [row.replace(b"Content-Length: ", b"Content-Length:  ") for row in head.split(b"\r\n")]
    branches = {udp_phone.via(): rows[::-1], udp_phone.via() + ";alias": sorted(rows)}
    for via, order in branches.items():
        data = with_value(line + b"\r\n" + b"\r\n".join(order) + separator + body, "Via", via)
        data = with_value(data, "Call-ID", token())
        assert (await udp_phone.request(data)).status == 200
    assert len(await publications(running_set, udp_phone.aor)) == 2


async def test_names_of_calls_branches_and_contacts_as_clients_form_them(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    watched = presentity()
    place = f"{udp_phone.local[0]}:{udp_phone.local[1]}"
    for call_id, branch, contact, cseq in (
        ("{t}", "z9hG4bK.Ib9Y1fYW2{t}", f'<sip:{place};transport=udp>;expires=600;+sip.instance="<urn:uuid:1>"', 20),
        ("LG6o9v~{t}-~", "z9hG4bKPj3b3795b2-894a-{t}", f"<sip:bob-2812@{place};ob>", 16474),
        ("{t}@vm", "z9hG4bK{t}", f"<sip:bob-0x5563ee366da0@{place}>", 22685),
        ("{t}-11468@127.0.0.1", "z9hG4bK527b.{t}.0", f"sip:48152342@{place};x=y", 10),
        ("7130ded{t}@0:0:0:0:0:0:0:0", "z9hG4bK-353432-{t}", f'"207" <sip:207@{place};registering_acc=e_com>', 1),
    ):
        dialog = udp_phone.dialog(watched)
        dialog.call_id, dialog.cseq = call_id.format(t=token()), cseq
        request = udp_phone.subscribe(dialog, contact=contact, branch=branch.format(t=token()))
        response = await udp_phone.request(request)
        assert (call_id, response.status) == (call_id, 200)
        assert response["expires"] == "600"
        learn(dialog, response)
        assert (await udp_phone.next_notify())["call-id"] == dialog.call_id
        assert (await udp_phone.request(udp_phone.subscribe(dialog, contact=contact, expires=0))).status == 200
        assert (await udp_phone.next_notify()).state == "terminated"


async def test_only_the_entity_tag_names_a_publication(running_set: RunningSet, udp_phone: Phone) -> None:
    call_id, from_tag = token(), token()
    tag = None
    for cseq, note in enumerate(("initial", "modified", "again"), start=20):
        kept = udp_phone.publish(if_match=tag, body=pidf(note=note), call_id=call_id, cseq=cseq)
        response = await udp_phone.request(with_value(kept, "From", f"<{udp_phone.aor}>;tag={from_tag}"))
        assert response.status == 200
        new = udp_phone.publish(if_match=response["sip-etag"], body=pidf(note=note + " elsewhere"), cseq=63114)
        response = await udp_phone.request(new)
        assert response.status == 200
        tag = response["sip-etag"]
        there = await publications(running_set, udp_phone.aor)
        assert [notes(item["body"].encode()) for item in there] == [[note + " elsewhere"]]


async def test_two_publications_on_one_call_before_the_first_is_answered_are_two(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    call_id = token()
    requests = [udp_phone.publish(body=pidf(note=str(n)), call_id=call_id, cseq=10 + n) for n in range(4)]
    responses = await asyncio.gather(*(udp_phone.request(request) for request in requests))
    assert len({response["sip-etag"] for response in responses}) == 4
    assert len(await publications(running_set, udp_phone.aor)) == 4


# documents


async def test_pub_33_documents_that_clients_really_publish(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    pidf_of = '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{}">{}</presence>'
    for document, kept in (
        (pidf_of.format("sip:a@b", '<tuple id="t"><status><basic>unknown</basic></status></tuple>'), b"<status/>"),
        (
            pidf_of.format(
                "alice%40example.test",
                '<tuple id="t"><status><basic>open</basic></status><contact>sip%3Aalice%40example.test</contact>'
                "<timestamp>2020-01-01T00:00:00.123456+00:00</timestamp></tuple>"
                '<dm:device xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" id="d"><dm:deviceID>x</dm:deviceID>'
                "</dm:device>",
            ),
            b"<contact>sip%3Aalice%40example.test</contact>",
        ),
        (
            pidf_of.format(
                "sip:a@b",
                '<tuple id="t"><status><basic>open</basic><o:online xmlns:o="http://www.linphone.org/xsds/'
                'pidfonline.xsd"/></status><contact priority="0.8">sip:a@b</contact></tuple>',
            ),
            b'<contact priority="0.8">',
        ),
        (pidf_of.format("sip:a@b", '<tuple id="0"><status/></tuple><note xml:lang="en">n</note>'), b">n</note>"),
        (pidf_of.format("sip:a@b", ""), b"entity="),
    ):
        tag = await alice.published(body=document.encode())
        assert kept in (await fetched(bob, alice.aor)).body
        await alice.request(alice.publish(if_match=tag, expires=0))


async def test_a_new_tuple_id_on_every_publish_replaces_the_document(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    tag = await alice.published(body=pidf(tuple_id=token("t")))
    for _ in range(3):
        response = await alice.request(alice.publish(if_match=tag, body=pidf(tuple_id=token("t"))))
        tag = response["sip-etag"]
    assert len(tuples((await fetched(bob, alice.aor)).body)) == 1


async def test_a_refresh_has_no_body_or_a_type_without_a_body_or_the_whole_document_again(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    body = pidf(alice.aor, note="same")
    tag = await alice.published(body=body)
    _, first = await bob.subscribed(alice.aor)
    for extra, again in (((), b""), (("Content-Type: application/pidf+xml",), b""), ((), body)):
        response = await alice.request(alice.publish(if_match=tag, extra=extra, body=again))
        assert response.status == 200
        tag = response["sip-etag"]
    there = await publications(running_set, alice.aor)
    assert [item["body"].encode() for item in there] == [body]
    await alice.request(alice.publish(if_match=tag, body=pidf(alice.aor, note="other")))
    second = await bob.next_notify()
    assert notes(second.body) == ["other"]
    assert int(second["cseq"].split()[0]) == int(first["cseq"].split()[0]) + 1


async def test_a_publisher_that_refreshes_too_late_gets_412_and_publishes_anew(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    tag = await alice.published(body=pidf(alice.aor, note="short"), expires=2)
    await bob.subscribed(alice.aor)
    await bob.notify_where(lambda notify: notes(notify.body) == [])
    assert (await alice.request(alice.publish(if_match=tag, expires=25))).status == 412
    await alice.published(body=pidf(alice.aor, note="anew"))
    assert notes((await bob.next_notify()).body) == ["anew"]


async def test_a_client_may_publish_by_tcp_what_it_began_by_udp(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    small, large = await make_phone(running_set), await make_phone(running_set, transport="tcp")
    tag = await small.published()
    moved = large.publish(small.aor, if_match=tag, body=pidf(note="x" * 1400))
    response = await large.request(moved)
    assert response.status == 200
    assert (await small.request(small.publish(if_match=response["sip-etag"], expires=0))).status == 200
