"""Parameters of the presence module, changed from their defaults, as a phone sees them (peers.md 3.1, 3.3, 4.1)."""

from collections.abc import AsyncIterator
from datetime import datetime

import pytest_asyncio

from tests.conformance.observed import notes, publications, subscriptions
from tests.phone import MakePhone, learn, pidf, token
from tests.running_set import RunningSet, started
from tests.wait import until

OFFSET = 30


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def changed_set() -> AsyncIterator[RunningSet]:
    """Parameters that do not interfere with each other."""
    extra = {
        "VEDETTE_EXPIRES_OFFSET": str(OFFSET),
        "VEDETTE_CSEQ_OFFSET": "3",
        "VEDETTE_SIP_URI_MATCH": "1",
        "VEDETTE_SENDER_HEADER": "Sender",
        "VEDETTE_MIN_EXPIRES": "60",
        "VEDETTE_MIN_EXPIRES_ACTION": "2",
        "VEDETTE_MAX_EXPIRES_PUBLISH": "500",
        "VEDETTE_MAX_EXPIRES_SUBSCRIBE": "700",
        "VEDETTE_MAX_PUBLICATIONS": "2",
        "VEDETTE_MAX_WATCHERS": "2",
        "VEDETTE_MAX_SUBSCRIPTIONS": "3",
        "VEDETTE_TO_TAG_PREF": "ved",
        "VEDETTE_CONTACT_USER": "lamp",
        "VEDETTE_NAT_HANDLING": "always",
    }
    async with started("--cores", "2", extra=extra) as running:
        yield running


def someone() -> str:
    return f"sip:{token('alice')}@example.com"


async def test_parameter_max_expires_publish_and_expires_offset(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(changed_set)
    response = await phone.request(phone.publish(body=pidf(phone.aor), expires=3600))
    assert response["expires"] == str(500 - OFFSET)
    (kept,) = await publications(changed_set, phone.aor)
    received, expires = (datetime.fromisoformat(kept[name]) for name in ("received", "expires"))
    assert (expires - received).total_seconds() == 500


async def test_parameter_max_expires_subscribe_and_expires_offset(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(changed_set)
    dialog = phone.dialog(someone())
    response = await phone.request(phone.subscribe(dialog, expires=3600))
    assert response["expires"] == "700"
    notify = await phone.next_notify()
    state, _, left = notify["subscription-state"].partition(";expires=")
    assert state == "active"
    assert 600 < int(left) <= 700, "what is kept is 730 seconds"


async def test_parameter_min_expires_action_2_raises(changed_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(changed_set)
    published = await phone.request(phone.publish(body=pidf(phone.aor), expires=5))
    assert (published.status, published["expires"]) == (200, str(60 - OFFSET))
    subscribed = await phone.request(phone.subscribe(phone.dialog(someone()), expires=5))
    assert (subscribed.status, subscribed["expires"]) == (200, "60")


async def test_parameter_cseq_offset(changed_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(changed_set)
    dialog = phone.dialog(someone())
    dialog.cseq = 10
    learn(dialog, await phone.request(phone.subscribe(dialog)))
    for cseq, status in ((8, 200), (7, 500), (11, 200), (8, 500), (9, 200)):
        dialog.cseq = cseq
        response = await phone.request(phone.subscribe(dialog))
        assert response.status == status, cseq


async def test_parameter_sip_uri_match(changed_set: RunningSet, make_phone: MakePhone) -> None:
    watcher, publisher = await make_phone(changed_set), await make_phone(changed_set)
    name = token("alice")
    await watcher.subscribed(f"sip:{name.upper()}@example.com")
    await publisher.published(f"sip:{name}@example.com", body=pidf(note="seen by both"))
    await watcher.notify_where(lambda notify: notes(notify.body) == ["seen by both"])


async def test_parameter_sender_header(changed_set: RunningSet, make_phone: MakePhone) -> None:
    """The watcher that the Sender header names is not notified of the change; the other one is."""
    line, other = someone(), await make_phone(changed_set)
    sender = await make_phone(changed_set)
    await sender.subscribed(line)
    await other.subscribed(line)

    async def settled() -> bool:
        return not any(item["notify_outstanding"] for item in await subscriptions(changed_set, line))

    await until(settled, "nothing is on its way that would be followed by what is new")
    own = (f"Sender: {sender.contact}",)
    first = await sender.request(sender.publish(line, body=pidf(note="mine"), extra=own))
    assert first.status == 200
    await other.notify_where(lambda notify: notes(notify.body) == ["mine"])
    etag = first["sip-etag"]
    second = await other.request(other.publish(line, body=pidf(note="theirs"), if_match=etag))
    assert second.status == 200
    seen = await sender.next_notify()
    assert notes(seen.body) == ["theirs"], "the first NOTIFY after its own change is that of somebody else's"
    assert seen["cseq"] == "2 NOTIFY"


async def test_parameter_sender_header_that_is_no_uri_gets_400(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    phone = await make_phone(changed_set)
    response = await phone.request(phone.publish(body=pidf(phone.aor), extra=("Sender: nobody",)))
    assert response.status == 400


async def test_parameter_max_publications(changed_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(changed_set)
    tags = [await phone.published() for _ in range(2)]
    refused = await phone.request(phone.publish(body=pidf(phone.aor)))
    assert (refused.status, refused.start) == (403, "SIP/2.0 403 Too many publications")
    assert (await phone.request(phone.publish(if_match=tags[0], expires=0))).status == 200
    await phone.published()


async def test_parameter_max_watchers(changed_set: RunningSet, make_phone: MakePhone) -> None:
    presentity = someone()
    phones = [await make_phone(changed_set) for _ in range(3)]
    dialogs = [(await phone.subscribed(presentity))[0] for phone in phones[:2]]
    third = phones[2].dialog(presentity)
    assert (await phones[2].request(phones[2].subscribe(third))).status == 403
    assert (await phones[0].request(phones[0].subscribe(dialogs[0], expires=0))).status == 200
    third.cseq += 1
    assert (await phones[2].request(phones[2].subscribe(third))).status == 200


async def test_sub_25_parameter_max_subscriptions(changed_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(changed_set)
    for _ in range(3):
        await phone.subscribed(someone())
    assert (await phone.request(phone.subscribe(phone.dialog(someone())))).status == 403


async def test_parameters_to_tag_pref_and_contact_user(changed_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(changed_set)
    response = await phone.request(phone.subscribe(phone.dialog(someone())))
    assert (response.to_tag or "").startswith("ved.")
    assert response["contact"].startswith("<sip:lamp-")


async def test_sub_32_parameter_nat_handling_always_takes_the_source_of_all_but_proxies(
    changed_set: RunningSet, make_phone: MakePhone
) -> None:
    bob, elsewhere = await make_phone(changed_set), await make_phone(changed_set)
    dialog = bob.dialog(someone())
    await bob.request(bob.subscribe(dialog, contact=elsewhere.contact))
    assert (await bob.next_notify())["call-id"] == dialog.call_id
    dialog = bob.dialog(someone())
    second = (f"Via: SIP/2.0/UDP 192.0.2.7;branch={token('z9hG4bK')}",)
    await bob.request(bob.subscribe(dialog, contact=elsewhere.contact, extra=second))
    assert (await elsewhere.next_notify())["call-id"] == dialog.call_id
    assert bob.nothing_waits()


async def test_pub_18_sub_14_parameter_clean_period_is_not_what_expiry_waits_for(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    """It is an hour here; OpenSIPS and Kamailio end publications and dialogs by this timer alone."""
    alice, bob, carol = [await make_phone(quick_set) for _ in range(3)]
    await alice.published(body=pidf(alice.aor, note="brief"), expires=2)
    await bob.subscribed(alice.aor)
    await carol.subscribed(alice.aor, expires=2)
    await bob.notify_where(lambda notify: notes(notify.body) == [])
    last = await carol.notify_where(lambda notify: notify.state == "terminated")
    assert last["subscription-state"] == "terminated;reason=timeout"


async def test_a_phone_that_starts_again_replaces_its_subscription(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """The same +sip.instance: the dialog that was lost gets no NOTIFY any more, and 481 for a refresh."""
    phone, publisher = await make_phone(running_set), await make_phone(running_set)
    presentity = someone()
    contact = f'{phone.contact};+sip.instance="<urn:uuid:{token()}>"'
    lost, found = phone.dialog(presentity), phone.dialog(presentity)
    learn(lost, await phone.request(phone.subscribe(lost, contact=contact)))
    await phone.next_notify()
    learn(found, await phone.request(phone.subscribe(found, contact=contact)))
    await phone.next_notify()
    await publisher.published(presentity, body=pidf(note="once"))
    notify = await phone.notify_where(lambda notify: notes(notify.body) == ["once"])
    assert notify["call-id"] == found.call_id
    assert (await phone.request(phone.subscribe(lost, contact=contact))).status == 481
    assert phone.nothing_waits()
