"""Server transactions as clients see them (RFC 3261 sections 8.2, 9.2 and 17.2, RFC 4320)."""

import asyncio
import contextlib

import pytest

from tests.conformance.conftest import MAX_ONGOING, core_held
from tests.conformance.observed import fetched, notes, publications, saying, subscriptions
from tests.conformance.rewriting import with_row, with_uri, with_value
from tests.phone import MakePhone, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet
from tests.wait import until, until_true


def responses_to(phone: Phone, branch: str) -> list[Message]:
    """Every response that came to the requests with that branch, in order."""
    return [message for message in phone.received if message.is_response and message.branch == branch]


async def own_answer(phone: Phone, data: bytes) -> Message:
    """The answer to this very request: one that was sent again may be answered twice, under the same branch."""
    asked = Message.read(data)["call-id"]
    for _ in range(10):
        response = await phone.request(data)
        if response["call-id"] == asked:
            return response
    raise AssertionError("another request is answered in its place")


def presentity() -> str:
    return f"sip:{token('alice')}@example.com"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_txn_02_a_copy_gets_the_identical_answer_and_has_no_effect(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set, transport=transport)
    bob = await make_phone(running_set, transport=transport)
    branch = token("z9hG4bK")
    subscribe = bob.subscribe(bob.dialog(alice.aor), branch=branch)
    for _ in range(4):
        await bob.request(subscribe)
    assert len({response.raw for response in responses_to(bob, branch)}) == 1
    await bob.next_notify()
    branch = token("z9hG4bK")
    publish = alice.publish(body=pidf(note="once"), branch=branch)
    for _ in range(4):
        await alice.request(publish)
    assert len({response.raw for response in responses_to(alice, branch)}) == 1
    await bob.notify_where(saying("once"))
    assert len(await publications(running_set, alice.aor)) == 1
    assert len(await subscriptions(running_set, alice.aor)) == 1
    tag = responses_to(alice, branch)[0]["sip-etag"]
    await alice.request(alice.publish(if_match=tag, body=pidf(note="twice")))
    await bob.notify_where(saying("twice"))
    assert len([message for message in bob.received if not message.is_response]) == 3


async def test_txn_02_uas_16_a_copy_of_a_refused_request_gets_the_identical_answer(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    for request in (
        udp_phone.publish(event=None, body=pidf()),
        udp_phone.publish(body=pidf(), if_match=token()),
        udp_phone.subscribe(udp_phone.dialog(presentity()), accept="text/plain"),
        udp_phone.build("OPTIONS", "sip:example.com", options_headers(udp_phone)),
    ):
        first, second = await udp_phone.request(request), await udp_phone.request(request)
        assert first.raw == second.raw
        assert first.to_tag


def options_headers(phone: Phone) -> list[str]:
    return [
        f"Via: {phone.via()}",
        f"From: <{phone.aor}>;tag={token()}",
        "To: <sip:example.com>",
        f"Call-ID: {token()}",
        "CSeq: 1 OPTIONS",
    ]


async def test_txn_04_another_sent_by_or_method_is_another_transaction(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    branch = token("z9hG4bK")
    first = await udp_phone.request(udp_phone.publish(body=pidf(), branch=branch))
    assert first.status == 200
    via = f"SIP/2.0/UDP another.example.com:5060;branch={branch};rport"
    second = await own_answer(udp_phone, with_value(udp_phone.publish(body=pidf()), "Via", via))
    assert second.status == 200
    assert second["call-id"] != first["call-id"]
    port = f"SIP/2.0/UDP another.example.com:5061;branch={branch};rport"
    third = await own_answer(udp_phone, with_value(udp_phone.publish(body=pidf()), "Via", port))
    assert third["call-id"] not in (first["call-id"], second["call-id"])
    other = udp_phone.subscribe(udp_phone.dialog(udp_phone.aor), branch=branch)
    fourth = await own_answer(udp_phone, other)
    assert fourth["cseq"] == "1 SUBSCRIBE"
    assert len(await publications(running_set, udp_phone.aor)) == 3


async def test_txn_05_msg_42_without_the_cookie_the_old_rules_match(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    watched = presentity()
    for branch in ("1", "z9hG4bK"):
        request = udp_phone.subscribe(udp_phone.dialog(watched), branch=branch)
        first = await udp_phone.request(request)
        assert first.status == 200
        assert (await udp_phone.request(request)).raw == first.raw
        await udp_phone.next_notify()
    assert len(await subscriptions(running_set, watched)) == 2


async def test_msg_35_the_bare_cookie_does_not_name_a_transaction(running_set: RunningSet, udp_phone: Phone) -> None:
    first = await udp_phone.request(udp_phone.publish(body=pidf(), branch="z9hG4bK"))
    second = await own_answer(udp_phone, udp_phone.publish(body=pidf(), branch="z9hG4bK"))
    assert first["call-id"] != second["call-id"]
    assert len(await publications(running_set, udp_phone.aor)) == 2


async def test_txn_01_txn_11_txn_12_a_slow_answer_is_bridged_by_100_and_copies_change_nothing(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    alice = await make_phone(quick_set)
    branch = token("z9hG4bK")
    request = alice.publish(body=pidf(note="slow"), branch=branch)
    async with core_held(quick_set):
        for _ in range(3):
            alice.send(request)
        await until_true(lambda: responses_to(alice, branch), "a provisional answer comes")
        alice.send(request)
        await until_true(lambda: len(responses_to(alice, branch)) > 1, "a copy gets it again")
        provisional = responses_to(alice, branch)
        assert {response.raw for response in provisional} == {provisional[0].raw}
        assert provisional[0].start == "SIP/2.0 100 Trying"
        assert provisional[0].to_tag is None
    final = await alice.request(request)
    assert final.status == 200
    assert {response.status for response in responses_to(alice, branch)} == {100, 200}
    assert len(await publications(quick_set, alice.aor)) == 1


async def test_txn_15_a_cancel_is_answered_and_the_request_goes_on(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    bob = await make_phone(quick_set)
    dialog = bob.dialog(presentity())
    branch = token("z9hG4bK")
    request = bob.subscribe(dialog, branch=branch)
    cancel = with_row(request.replace(b"SUBSCRIBE", b"CANCEL"), "Require: foo")
    async with core_held(quick_set):
        bob.send(request)
        bob.send(cancel)
        await until_true(
            lambda: [answer for answer in responses_to(bob, branch) if answer["cseq"] == "1 CANCEL"],
            "the CANCEL is answered",
        )

    def answers() -> set[tuple[str, int]]:
        return {(answer["cseq"], answer.status) for answer in responses_to(bob, branch)}

    await until_true(lambda: ("1 SUBSCRIBE", 200) in answers(), "the SUBSCRIBE is answered")
    assert (await bob.next_notify()).state == "active"
    assert answers() - {("1 SUBSCRIBE", 100)} == {("1 CANCEL", 200), ("1 SUBSCRIBE", 200)}


async def test_txn_16_txn_17_uas_08_a_cancel_of_nothing_gets_481(running_set: RunningSet, udp_phone: Phone) -> None:
    request = udp_phone.subscribe(udp_phone.dialog(presentity())).replace(b"SUBSCRIBE", b"CANCEL")
    assert (await udp_phone.request(request)).status == 481
    with_require = udp_phone.subscribe(udp_phone.dialog(presentity()), extra=("Require: foo",))
    assert (await udp_phone.request(with_require.replace(b"SUBSCRIBE", b"CANCEL"))).status == 481


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_txn_14_txn_17_ack_is_never_answered(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, transport=transport)
    refused = phone.subscribe(phone.dialog(presentity()), event=None)
    assert (await phone.request(refused)).status == 489
    phone.send(refused.replace(b"SUBSCRIBE", b"ACK"))
    phone.send(phone.subscribe(phone.dialog(presentity())).replace(b"SUBSCRIBE", b"ACK"))
    phone.send(with_value(phone.subscribe(phone.dialog(presentity())), "CSeq", "x").replace(b"SUBSCRIBE", b"ACK"))
    assert (await phone.request(phone.publish(body=pidf()))).status == 200
    assert [message.status for message in phone.received] == [489, 200]


async def test_txn_18_a_request_that_comes_by_two_ways_at_once_is_one(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    bob = await make_phone(quick_set)
    watched = presentity()
    request = bob.subscribe(bob.dialog(watched), extra=())
    below = "SIP/2.0/UDP client.example.com;branch=z9hG4bKclient"
    ways = [(token("z9hG4bK"), with_row(with_value(request, "Via", bob.via()), f"Via: {below}")) for _ in range(2)]
    ways = [(branch, with_value(data, "Via", bob.via(branch))) for branch, data in ways]
    async with core_held(quick_set):
        for _, data in ways:
            bob.send(data)
        await until_true(lambda: responses_to(bob, ways[1][0]), "the second is answered")
        assert responses_to(bob, ways[1][0])[-1].status == 482
    assert (await bob.request(ways[0][1])).status == 200
    await bob.next_notify()
    assert len(await subscriptions(quick_set, watched)) == 1


async def test_txn_02_txn_04_a_copy_by_another_way_gets_the_answer_of_the_first(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    first, second = await make_phone(running_set), await make_phone(running_set)
    request = first.publish(body=pidf(note="once"), branch=token("z9hG4bK"))
    below = "Via: SIP/2.0/UDP client.example.com;branch=" + token("z9hG4bK")
    answers = [
        await phone.request(with_value(with_row(request, below), "Via", phone.via())) for phone in (first, second)
    ]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0]["sip-etag"] == answers[1]["sip-etag"]
    assert len(await publications(running_set, first.aor)) == 1


async def test_txn_20_pub_26_uas_25_a_full_queue_answers_503_with_retry_after(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    alice = await make_phone(quick_set)
    held = [alice.publish(body=pidf(note=str(number))) for number in range(MAX_ONGOING)]
    async with core_held(quick_set):
        for request in held:
            alice.send(request)
        refused = await alice.request(alice.publish(body=pidf(note="refused")))
        assert refused.status == 503
        assert int(refused["retry-after"]) > 0
    answers = await asyncio.gather(*(alice.request(request) for request in held))
    assert {answer.status for answer in answers} == {200}
    assert sorted(notes((await fetched(alice, alice.aor)).body), key=int) == [str(n) for n in range(MAX_ONGOING)]


async def test_txn_03_txn_13_txn_20_pub_20_sub_16_uas_28_without_a_core_the_answer_is_503_and_nothing_changes(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(quick_set), await make_phone(quick_set)
    tag = await alice.published(body=pidf(note="before"))
    dialog, _ = await bob.subscribed(alice.aor)
    sent: list[bytes] = []

    def answers() -> list[int]:
        return [message.status for message in alice.received if message.is_response and message.status != 100]

    async with core_held(quick_set):

        async def one_refused() -> bool:
            """Those that were on their way when the core stopped are answered when it goes on."""
            sent.append(alice.publish(presentity(), body=pidf()))
            alice.send(sent[-1])
            with contextlib.suppress(AssertionError):
                await until_true(lambda: 503 in answers(), "503", deadline=1.0)
            return 503 in answers()

        await until(one_refused, "a PUBLISH gets 503")
        assert len(sent) < MAX_ONGOING
        modify = alice.publish(if_match=tag, body=pidf(note="modified"))
        first = await alice.request(modify)
        assert first.status == 503
        assert int(first["retry-after"]) > 0
        assert (await bob.request(bob.subscribe(dialog))).status == 503

    async def asked_again() -> bool:
        """The stored answer until Timer J; then it is a new request."""
        answer = await alice.request(modify)
        assert answer.raw == first.raw or answer.status == 200
        return answer.status == 200

    await until(asked_again, "the same PUBLISH is carried out after Timer J")
    await bob.notify_where(lambda notify: "modified" in notes(notify.body))
    dialog.cseq += 1
    assert (await bob.request(bob.subscribe(dialog))).status == 200
    for request in sent:
        assert (await alice.request(request)).status in {200, 503}
    assert {message.status for message in alice.received if message.is_response} <= {100, 200, 503}


async def test_txn_14_txn_19_an_invite_that_comes_again_gets_its_405_again_and_ack_is_absorbed(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    branch = token("z9hG4bK")
    subscribe = udp_phone.subscribe(udp_phone.dialog(presentity()), branch=branch)
    invite = subscribe.replace(b"SUBSCRIBE", b"INVITE")
    first, again = await udp_phone.request(invite), await udp_phone.request(invite)
    assert first.status == 405
    assert again.raw == first.raw
    before = len(responses_to(udp_phone, branch))
    udp_phone.send(with_value(subscribe, "To", first["to"]).replace(b"SUBSCRIBE", b"ACK"))
    assert (await udp_phone.request(udp_phone.publish(body=pidf()))).status == 200
    assert len(responses_to(udp_phone, branch)) == before


async def test_uas_02_methods_that_are_not_served_get_405_with_allow(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    for method in ("INVITE", "MESSAGE", "REFER", "INFO", "PRACK", "UPDATE", "BYE"):
        request = udp_phone.subscribe(udp_phone.dialog(presentity())).replace(b"SUBSCRIBE", method.encode())
        response = await udp_phone.request(request)
        assert (method, response.status) == (method, 405)
        assert {"SUBSCRIBE", "PUBLISH", "OPTIONS", "CANCEL", "ACK"} <= set(response["allow"].split(", "))


async def test_uas_03_an_unknown_method_gets_501(running_set: RunningSet, udp_phone: Phone) -> None:
    for method in ("!interesting-Method0123456789_*+`.%indeed'~", "publish", "SUBSCRIBEX"):
        request = udp_phone.subscribe(udp_phone.dialog(presentity())).replace(b"SUBSCRIBE", method.encode())
        assert (await udp_phone.request(request)).status == 501


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_uas_18_uas_19_pub_23_options_tells_what_is_served(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, transport=transport)
    for uri in ("sip:example.com", phone.aor, f"sip:{running_set.sip_address}"):
        response = await phone.request(phone.build("OPTIONS", uri, options_headers(phone)))
        assert response.status == 200
        assert {"PUBLISH", "SUBSCRIBE", "OPTIONS"} <= set(response["allow"].split(", "))
        assert {"message-summary", "presence"} <= set(response["allow-events"].split(", "))
        assert {"application/pidf+xml", "application/simple-message-summary"} <= set(response["accept"].split(", "))
        for name in ("accept-encoding", "accept-language", "supported"):
            assert name in response


async def test_uas_16_trn_28_what_is_copied_into_a_response(running_set: RunningSet, udp_phone: Phone) -> None:
    vias = [
        udp_phone.via() + ";unknown=param",
        "SIP/2.0/TCP p2.example.net:5070;branch=z9hG4bKp2;received=192.0.2.1;x",
        "SIP / 2.0 / SCTP p3.example.net;branch=z9hG4bKp3",
        "SIP/2.0/UNKNOWN [2001:db8::1];branch=z9hG4bKp4",
        "SIP/2.0/UDP client.example.net;branch=z9hG4bKp5;maddr=192.0.2.7;ttl=1",
    ]
    names = {
        "From": f'"O\'Neil, \\"B\\"" <{udp_phone.aor}>;tag={token()};x=y',
        "To": f"  Alice <{udp_phone.aor}> ",
        "Call-ID": f"{token()}@a.b",
        "CSeq": "0815 PUBLISH",
    }
    request = udp_phone.publish(body=pidf())
    for name, value in names.items():
        request = with_value(request, name, value)
    request = with_value(request, "Via", vias[0] + ", " + vias[1])
    for via in vias[2:]:
        request = with_row(request, f"Via: {via}")
    response = await udp_phone.request(request)
    assert response.status == 200
    assert response.all("via")[1:] == vias[1:]
    assert ";unknown=param" in response.all("via")[0]
    assert response["from"] == names["From"]
    assert response["to"].startswith(f"Alice <{udp_phone.aor}>;tag=")
    assert response["call-id"] == names["Call-ID"]
    assert response["cseq"] == names["CSeq"]


async def test_uas_17_to_tags_are_unique_and_not_guessable_from_another(
    running_set: RunningSet, tcp_phone: Phone
) -> None:
    watched = presentity()
    requests = [tcp_phone.subscribe(tcp_phone.dialog(watched)) for _ in range(200)]
    responses = await asyncio.gather(*(tcp_phone.request(request) for request in requests))
    tags = [response.to_tag or "" for response in responses]
    assert len(set(tags)) == len(tags)
    ends = [tag.rpartition(".")[2] for tag in tags]
    assert len({end[:8] for end in ends}) == len(tags)
    assert ends != sorted(ends)


async def test_uas_21_msg_37_max_forwards_0_or_none_is_no_obstacle(running_set: RunningSet, udp_phone: Phone) -> None:
    request = udp_phone.publish(body=pidf())
    assert (await udp_phone.request(with_value(request, "Max-Forwards", "0"))).status == 200
    without_it = udp_phone.publish(body=pidf()).replace(b"Max-Forwards: 70\r\n", b"")
    assert (await udp_phone.request(without_it)).status == 200
    assert len(await publications(running_set, udp_phone.aor)) == 2


async def test_uas_23_a_notify_of_no_subscription_of_ours_gets_481(running_set: RunningSet, udp_phone: Phone) -> None:
    request = udp_phone.subscribe(udp_phone.dialog(presentity()), extra=("Subscription-State: active",))
    assert (await udp_phone.request(request.replace(b"SUBSCRIBE", b"NOTIFY"))).status == 481


async def test_uas_27_supported_extensions_are_not_used(running_set: RunningSet, udp_phone: Phone) -> None:
    extra = ("Supported: eventlist, 100rel, timer, gruu, outbound", "k: path")
    dialog = udp_phone.dialog(presentity())
    response = await udp_phone.request(udp_phone.subscribe(dialog, extra=extra))
    assert response.status == 200
    assert "require" not in response
    learn(dialog, response)
    assert "require" not in await udp_phone.next_notify()


async def test_trn_02_trn_03_trn_04_received_and_rport_tell_the_source(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    host, port = udp_phone.local
    for via, answered in (
        (f"{host}:{port};branch=B;rport", f"{host}:{port};branch=B;rport={port};received={host}"),
        ("client.example.net;rport;branch=B", f"client.example.net;rport={port};branch=B;received={host}"),
        (f"192.0.2.2:{port};branch=B", f"192.0.2.2:{port};branch=B;received={host}"),
        (f"{host}:{port};branch=B", f"{host}:{port};branch=B"),
        (f"192.0.2.2:{port};branch=B;received=192.0.2.9", f"192.0.2.2:{port};branch=B;received={host}"),
    ):
        branch = token("z9hG4bK")
        request = with_value(udp_phone.publish(body=pidf()), "Via", f"SIP/2.0/UDP {via}".replace("=B", f"={branch}"))
        response = await udp_phone.request(request)
        assert response.status == 200
        assert response["via"] == f"SIP/2.0/UDP {answered}".replace("=B", f"={branch}")


async def test_trn_05_without_rport_the_answer_goes_to_the_port_of_sent_by(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    sender, receiver = await make_phone(running_set), await make_phone(running_set)
    host, port = receiver.local
    branch = token("z9hG4bK")
    via = f"SIP/2.0/UDP {host}:{port};branch={branch}"
    sender.send(with_value(sender.publish(body=pidf()), "Via", via))
    assert (await receiver.next_response(branch)).status == 200
    assert sender.received == []


async def test_uas_06_the_resource_is_the_request_uri(running_set: RunningSet, udp_phone: Phone) -> None:
    watched = presentity()
    request = with_uri(udp_phone.subscribe(udp_phone.dialog(presentity())), watched)
    assert (await udp_phone.request(request)).status == 200
    notify = await udp_phone.next_notify()
    assert f'entity="{watched}"'.encode() in notify.body
