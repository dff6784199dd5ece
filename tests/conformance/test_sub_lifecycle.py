"""SUBSCRIBE that succeeds: initial, refresh, unsubscribe, fetch, expiry (RFC 6665 sections 4.1 and 4.2.1)."""

import asyncio

import pytest

from tests.conformance.observed import notes, subscription, subscriptions, tuples, until_ended
from tests.conformance.rewriting import with_value
from tests.phone import MakePhone, Phone, learn, pidf, token
from tests.running_set import RunningSet


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sub_01_sub_02_sub_27_dlg_01_an_initial_subscribe_gets_200_and_a_notify_at_once(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    bob = await make_phone(running_set, transport=transport)
    dialog = bob.dialog(f"sip:{token('alice')}@example.com")
    response = await bob.request(bob.subscribe(dialog, expires=600))
    assert response.status == 200
    assert response["expires"] == "600"
    assert response.to_tag
    host, port = running_set.sip
    assert f"@{host}:{port}" in response["contact"]
    assert (";transport=tcp" in response["contact"]) is (transport == "tcp")
    for header in ("subscription-state", "event", "record-route"):
        assert header not in response
    learn(dialog, response)
    notify = await bob.next_notify()
    assert notify.state == "active"
    assert notify["call-id"] == dialog.call_id
    refresh = await bob.request(bob.subscribe(dialog))
    assert refresh.status == 200
    await bob.next_notify()
    assert [message.method for message in bob.received if not message.is_response] == ["NOTIFY", "NOTIFY"]


async def test_sub_09_the_first_response_is_the_final_one(running_set: RunningSet, udp_phone: Phone) -> None:
    """Nobody has published for the presentity, and nobody who could decide about the watcher is asked."""
    for expires in (600, 0):
        dialog = udp_phone.dialog(f"sip:{token('nobody')}@example.com")
        await udp_phone.request(udp_phone.subscribe(dialog, expires=expires))
        await udp_phone.next_notify()
    responses = [message.status for message in udp_phone.received if message.is_response]
    assert responses == [200, 200]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sub_02_sub_33_a_notify_never_leaves_before_the_200(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    bob = await make_phone(running_set, transport=transport)
    dialogs = [bob.dialog(f"sip:{token('alice')}@example.com") for _ in range(50)]
    for _ in range(3):
        responses = await asyncio.gather(*(bob.request(bob.subscribe(dialog)) for dialog in dialogs))
        for dialog, response in zip(dialogs, responses, strict=True):
            assert response.status == 200
            learn(dialog, response)
        for _ in dialogs:
            await bob.next_notify()
    for dialog in dialogs:
        of_it = [message for message in bob.received if message["call-id"] == dialog.call_id]
        assert [message.is_response for message in of_it] == [True, False] * 3


async def test_sub_06_sub_31_prs_04_expires_is_honoured_or_shortened(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    presentity = f"sip:{token('alice')}@example.com"
    granted = {}
    for asked in (10, 3600, 423197357, 2**32 - 1, None):
        dialog = udp_phone.dialog(presentity)
        response = await udp_phone.request(udp_phone.subscribe(dialog, expires=asked))
        granted[asked] = int(response["expires"])
        learn(dialog, response)
        state = (await udp_phone.next_notify())["subscription-state"]
        assert granted[asked] - 5 <= int(state.removeprefix("active;expires=")) <= granted[asked]
    assert granted == {10: 10, 3600: 3600, 423197357: 3600, 2**32 - 1: 3600, None: 3600}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sub_11_not_22_each_refresh_sets_the_expiry_and_brings_the_full_state(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set)
    bob = await make_phone(running_set, transport=transport)
    await alice.published(body=pidf(alice.aor, note="here"))
    dialog, first = await bob.subscribed(alice.aor, expires=100)
    cseq = int(first["cseq"].split()[0])
    for expires in (1000, 50, 3000):
        response = await bob.request(bob.subscribe(dialog, expires=expires))
        assert response.status == 200
        assert response["expires"] == str(expires)
        assert response.to_tag == dialog.to_tag
        learn(dialog, response)
        notify = await bob.next_notify()
        assert notify.body == first.body
        assert expires - 5 <= int(notify["subscription-state"].removeprefix("active;expires=")) <= expires
        cseq += 1
        assert notify["cseq"] == f"{cseq} NOTIFY"
    assert len(await subscriptions(running_set, alice.aor)) == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sub_12_sub_15_dlg_24_expires_0_ends_the_subscription(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set)
    bob = await make_phone(running_set, transport=transport)
    dialog, _ = await bob.subscribed(alice.aor)
    response = await bob.request(bob.subscribe(dialog, expires=0))
    assert response.status == 200
    assert response["expires"] == "0"
    learn(dialog, response)
    last = await bob.next_notify()
    assert last["subscription-state"] == "terminated;reason=timeout"
    assert list(tuples(last.body).values()) == ["closed"]
    for expires in (600, 0):
        assert (await bob.request(bob.subscribe(dialog, expires=expires))).status == 481
        dialog.cseq += 1
    await alice.published()
    _, fresh = await bob.subscribed(alice.aor)
    assert fresh["call-id"] != dialog.call_id
    assert bob.nothing_waits()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sub_13_expires_0_outside_a_dialog_fetches_once_and_leaves_nothing(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set)
    bob = await make_phone(running_set, transport=transport)
    tag = await alice.published(body=pidf(alice.aor, note="here"))
    dialog = bob.dialog(alice.aor)
    response = await bob.request(bob.subscribe(dialog, expires=0))
    assert response.status == 200
    assert response["expires"] == "0"
    assert response["contact"]
    learn(dialog, response)
    notify = await bob.next_notify()
    assert notify["subscription-state"] == "terminated;reason=timeout"
    assert notes(notify.body) == ["here"]
    assert await subscriptions(running_set, alice.aor) == []
    assert (await bob.request(bob.subscribe(dialog))).status == 481
    await alice.request(alice.publish(if_match=tag, body=pidf(alice.aor, note="there")))
    _, second = await bob.subscribed(alice.aor, expires=0)
    assert notes(second.body) == ["there"]
    assert bob.nothing_waits()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sub_14_not_03_not_04_expiry_is_told_and_ends_the_subscription(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set)
    bob = await make_phone(running_set, transport=transport)
    dialog, _ = await bob.subscribed(alice.aor, expires=2)
    last = await bob.next_notify()
    assert last["subscription-state"] == "terminated;reason=timeout"
    await until_ended(running_set, dialog)
    assert (await bob.request(bob.subscribe(dialog))).status == 481


async def test_sub_22_sub_23_subscriptions_of_one_watcher_are_independent(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    phones = [await make_phone(running_set, user="bob") for _ in range(5)]
    dialogs = [(await phone.subscribed(udp_phone.aor))[0] for phone in phones]
    short, _ = await phones[0].subscribed(udp_phone.aor, expires=3)
    assert len(await subscriptions(running_set, udp_phone.aor)) == 6
    last = await phones[0].next_notify()
    assert (last["call-id"], last.state) == (short.call_id, "terminated")
    ended = await phones[1].request(phones[1].subscribe(dialogs[1], expires=0))
    assert ended.status == 200
    assert (await phones[1].next_notify()).state == "terminated"
    await until_ended(running_set, short, dialogs[1])
    await udp_phone.published(body=pidf(udp_phone.aor, note="here"))
    for phone in (phones[0], *phones[2:]):
        assert notes((await phone.next_notify()).body) == ["here"]
    assert len(await subscriptions(running_set, udp_phone.aor)) == 4
    assert phones[1].nothing_waits()


async def test_sub_22_the_same_call_id_with_another_tag_is_another_subscription(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    presentity = f"sip:{token('alice')}@example.com"
    first, second = udp_phone.dialog(presentity), udp_phone.dialog(presentity)
    second.call_id = first.call_id
    for dialog in (first, second):
        response = await udp_phone.request(udp_phone.subscribe(dialog))
        assert response.status == 200
        learn(dialog, response)
    assert first.to_tag != second.to_tag
    assert len(await subscriptions(running_set, presentity)) == 2


async def test_sub_24_many_at_once_on_one_connection_are_all_answered(
    running_set: RunningSet, tcp_phone: Phone
) -> None:
    dialogs = [tcp_phone.dialog(f"sip:{token('alice')}@example.com") for _ in range(117)]
    requests = [tcp_phone.subscribe(dialog) for dialog in dialogs]
    answers = asyncio.gather(*(tcp_phone.request(request) for request in requests))
    responses = await answers
    assert {response.status for response in responses} == {200}
    called = {(await tcp_phone.next_notify())["call-id"] for _ in dialogs}
    assert called == {dialog.call_id for dialog in dialogs}


async def test_sub_18_prs_02_msg_46_what_accept_allows(running_set: RunningSet, udp_phone: Phone) -> None:
    presentity = f"sip:{token('alice')}@example.com"
    for accept in (
        None,
        "application/pidf+xml",
        "application/PIDF+xml;q=0.1, text/plain;q=0.9",
        "*/*",
        "application/*;q=0.5",
        "application/xpidf+xml, application/pidf+xml",
        "application/cpim-pidf+xml;q=1.0, */*;q=0.001",
    ):
        dialog = udp_phone.dialog(presentity)
        response = await udp_phone.request(udp_phone.subscribe(dialog, accept=accept))
        assert (accept, response.status) == (accept, 200)
        notify = await udp_phone.next_notify()
        assert notify["content-type"] == "application/pidf+xml"
    rows = ("Accept: text/plain", "Accept: application/pidf+xml")
    response = await udp_phone.request(udp_phone.subscribe(udp_phone.dialog(presentity), accept=None, extra=rows))
    assert response.status == 200


PIDF_TYPE, XPIDF_TYPE = "application/pidf+xml", "application/xpidf+xml"


async def test_sub_19_the_accept_of_the_last_subscribe_governs_what_follows(
    running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone
) -> None:
    alice = await make_phone(running_set)
    tag = await alice.published(body=pidf(alice.aor, note="0"))
    dialog = udp_phone.dialog(alice.aor)
    for number, accept in enumerate((PIDF_TYPE, XPIDF_TYPE, None, XPIDF_TYPE, PIDF_TYPE), start=1):
        learn(dialog, await udp_phone.request(udp_phone.subscribe(dialog, accept=accept)))
        chosen = accept or PIDF_TYPE
        assert (await udp_phone.next_notify())["content-type"] == chosen
        changed = await alice.request(
            alice.publish(if_match=tag, body=pidf(alice.aor, note=str(number), basic=("open", "closed")[number % 2]))
        )
        tag = changed["sip-etag"]
        assert (await udp_phone.next_notify())["content-type"] == chosen


async def test_sub_20_q_orders_the_choice_and_0_excludes(running_set: RunningSet, udp_phone: Phone) -> None:
    presentity = f"sip:{token('alice')}@example.com"
    for accept, chosen in (
        (f"{PIDF_TYPE};q=0.3, {XPIDF_TYPE};q=0.7", XPIDF_TYPE),
        (f"{PIDF_TYPE};q=0.7, {XPIDF_TYPE};q=0.3", PIDF_TYPE),
        (f"{PIDF_TYPE};q=0, {XPIDF_TYPE}", XPIDF_TYPE),
        (f"{PIDF_TYPE}, {XPIDF_TYPE};q=0.0", PIDF_TYPE),
        (f"application/*;q=0.2, {XPIDF_TYPE};q=0.9", XPIDF_TYPE),
    ):
        request = udp_phone.subscribe(udp_phone.dialog(presentity), accept=accept)
        assert (await udp_phone.request(request)).status == 200
        assert (accept, (await udp_phone.next_notify())["content-type"]) == (accept, chosen)


async def test_dlg_19_msg_42_a_watcher_without_a_tag_has_a_dialog_too(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    presentity = f"sip:{token('alice')}@example.com"
    dialog = udp_phone.dialog(presentity)
    request = with_value(udp_phone.subscribe(dialog), "From", f"<{udp_phone.aor}>")
    response = await udp_phone.request(request)
    assert response.status == 200
    learn(dialog, response)
    notify = await udp_phone.next_notify()
    assert notify["to"] == f"<{udp_phone.aor}>"
    refresh = with_value(udp_phone.subscribe(dialog, expires=0), "From", f"<{udp_phone.aor}>")
    assert (await udp_phone.request(refresh)).status == 200
    assert (await udp_phone.next_notify()).state == "terminated"


async def test_uas_12_a_body_that_is_optional_is_ignored(running_set: RunningSet, udp_phone: Phone) -> None:
    extra = ("Content-Type: application/x-odd", "Content-Disposition: x;handling=optional")
    dialog = udp_phone.dialog(f"sip:{token('alice')}@example.com")
    response = await udp_phone.request(udp_phone.subscribe(dialog, extra=extra, body=b"odd"))
    assert response.status == 200
    learn(dialog, response)
    assert await subscription(running_set, dialog)
