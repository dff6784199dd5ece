"""What a NOTIFY carries (RFC 6665 sections 4.2.2 and 8.2, RFC 3856)."""

import re
from xml.etree import ElementTree as ET

import pytest

from tests.conformance.observed import PIDF, fetched, notes, tuples
from tests.phone import MakePhone, Message, Phone, pidf, token
from tests.running_set import RunningSet
from tests.wait import until

REASONS = {"deactivated", "probation", "rejected", "timeout", "giveup", "noresource", "invariant"}
STATE = re.compile(r"(?:active|pending);expires=[0-9]+|terminated;reason=[a-z]+")


def presentity() -> str:
    return f"sip:{token('alice')}@example.com"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_not_01_not_03_not_04_not_07_not_26_not_28_msg_51_every_notify_is_complete_and_exact(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    alice = await make_phone(running_set)
    bob = await make_phone(running_set, transport=transport)
    dialog, _ = await bob.subscribed(alice.aor)
    await alice.published(body=pidf(note="\u00fcber"))
    await bob.next_notify()
    assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
    await bob.next_notify()
    await fetched(bob, alice.aor)
    notifies = [message for message in bob.received if not message.is_response]
    assert [notify.state for notify in notifies] == ["active", "active", "terminated", "terminated"]
    for notify in notifies:
        for name in ("From", "To", "Call-ID", "CSeq", "Contact", "Event", "Subscription-State", "Content-Type"):
            assert len(notify.all(name)) == 1, name
        assert len(notify.all("via")) == 1
        assert notify["max-forwards"] == "70"
        assert int(notify["content-length"]) == len(notify.body)
        assert notify.branch.startswith("z9hG4bK")
        state = notify["subscription-state"]
        assert STATE.fullmatch(state)
        if notify.state == "terminated":
            assert state.removeprefix("terminated;reason=") in REASONS
        head = notify.raw.partition(b"\r\n\r\n")[0]
        assert head.replace(b"\r\n", b"").isascii()
        assert b"\n" not in head.replace(b"\r\n", b"")
        assert b"\r" not in head.replace(b"\r\n", b"")
        assert not re.search(rb"\r\n[ \t]", head)
    assert len({notify.branch for notify in notifies}) == len(notifies)


async def test_not_02_expires_counts_down_and_is_never_more_than_granted(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    _, first = await bob.subscribed(alice.aor, expires=30)
    left = [seconds_left(first)]
    tag = await alice.published()
    left.append(seconds_left(await bob.next_notify()))

    async def another() -> bool:
        nonlocal tag
        changed = await alice.request(alice.publish(if_match=tag, body=pidf(note=token())))
        tag = changed["sip-etag"]
        left.append(seconds_left(await bob.next_notify()))
        return left[-1] < left[0]

    await until(another, "expires goes down")
    assert left[0] <= 30
    assert left == sorted(left, reverse=True)


def seconds_left(notify: Message) -> int:
    return int(notify["subscription-state"].removeprefix("active;expires="))


async def test_not_06_msg_45_event_is_the_stored_type_and_id_and_nothing_else(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    watched = presentity()
    for event, echoed in (
        ("presence", "presence"),
        ("presence;id=7;foo", "presence;id=7"),
        ("presence;max-rate=0.05;id=aB", "presence;id=aB"),
        ("presence ; id = 9", "presence;id=9"),
    ):
        request = udp_phone.subscribe(udp_phone.dialog(watched), event=event)
        assert (await udp_phone.request(request)).status == 200
        notify = await udp_phone.next_notify()
        assert notify["event"] == echoed
        assert "max-rate" not in notify["subscription-state"]


async def test_rat_13_con_13_extensions_that_are_not_built_are_ignored(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    dialog = udp_phone.dialog(presentity())
    request = udp_phone.subscribe(dialog, event="presence;max-rate=0.01;min-rate=1", extra=("Suppress-If-Match: *",))
    assert (await udp_phone.request(request)).status == 200
    notify = await udp_phone.next_notify()
    assert notify.body
    assert "sip-etag" not in notify


async def test_not_08_prs_18_cmp_04_a_presentity_that_publishes_nothing_is_shown_closed(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    _, first = await bob.subscribed(alice.aor)
    tag = await alice.published()
    await bob.next_notify()
    await alice.request(alice.publish(if_match=tag, expires=0))
    gone = await bob.next_notify()
    for notify in (first, gone):
        assert notify["content-type"] == "application/pidf+xml"
        assert ET.fromstring(notify.body).get("entity") == alice.aor
        assert list(tuples(notify.body).values()) == ["closed"]
    assert first.body == gone.body


async def test_not_09_prs_11_each_notify_has_the_full_state_in_the_type_asked_for(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    await alice.published(body=pidf(note="first"))
    dialog = bob.dialog(alice.aor)
    accept = "application/xpidf+xml;q=0.5, application/pidf+xml, application/pidf-diff+xml"
    assert (await bob.request(bob.subscribe(dialog, accept=accept))).status == 200
    seen = [await bob.next_notify()]
    await alice.published(body=pidf(note="second"))
    seen.append(await bob.next_notify())
    assert [notify["content-type"] for notify in seen] == ["application/pidf+xml"] * 2
    assert [sorted(notes(notify.body)) for notify in seen] == [["first"], ["first", "second"]]


async def test_not_09_an_old_phone_gets_xpidf_and_another_one_pidf(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, old, new = [await make_phone(running_set) for _ in range(3)]
    dialog = old.dialog(alice.aor)
    assert (await old.request(old.subscribe(dialog, accept="application/xpidf+xml"))).status == 200
    await new.subscribed(alice.aor)
    seen = [await old.next_notify()]
    await alice.published(body=pidf())
    seen.append(await old.next_notify())
    assert [notify["content-type"] for notify in seen] == ["application/xpidf+xml"] * 2
    states = [[status.get("status") for status in ET.fromstring(notify.body).iter("status")] for notify in seen]
    assert states == [["closed"], ["open"]]
    assert (await new.next_notify())["content-type"] == "application/pidf+xml"


async def test_cmp_01_cmp_05_pub_29_two_phones_with_the_same_tuple_id_are_two_tuples(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    desk, mobile, bob = [await make_phone(running_set, user="alice") for _ in range(3)]
    watched = presentity()
    await desk.published(watched, body=pidf(watched, tuple_id="t1", basic="closed", note="desk"))
    _, first = await bob.subscribed(watched)
    assert list(tuples(first.body).values()) == ["closed"]
    (name,) = tuples(first.body)
    assert name.startswith("t1.")
    tag = await mobile.published(watched, body=pidf(watched, tuple_id="t1", basic="open", note="mobile"))
    both = await bob.next_notify()
    assert list(tuples(both.body).values()) == ["open", "closed"]
    assert sorted(notes(both.body)) == ["desk", "mobile"]
    assert list(tuples(both.body))[1] == name
    document = pidf(watched, tuple_id="t1", basic="open", note="moved")
    modified = await mobile.request(mobile.publish(watched, if_match=tag, body=document))
    moved = await bob.next_notify()
    assert list(tuples(moved.body)) == list(tuples(both.body))
    assert sorted(notes(moved.body)) == ["desk", "moved"]
    await mobile.request(mobile.publish(watched, if_match=modified["sip-etag"], expires=0))
    assert tuples((await bob.next_notify()).body) == {name: "closed"}


async def test_pub_28_a_tuple_that_is_missing_in_the_next_document_is_gone(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)

    def document(*names: str) -> bytes:
        parts = "".join(f'<tuple id="{name}"><status><basic>open</basic></status></tuple>' for name in names)
        return f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{alice.aor}">{parts}</presence>'.encode()

    tag = await alice.published(body=document("a", "b", "c"))
    _, first = await bob.subscribed(alice.aor)
    assert [name.partition(".")[0] for name in tuples(first.body)] == ["a", "b", "c"]
    await alice.request(alice.publish(if_match=tag, body=document("c", "d")))
    second = await bob.next_notify()
    assert [name.partition(".")[0] for name in tuples(second.body)] == ["c", "d"]
    assert next(iter(tuples(second.body))) == list(tuples(first.body))[2]


async def test_cmp_10_prs_12_two_watchers_see_the_same_document(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    carol = await make_phone(running_set, transport="tcp")
    for number in range(4):
        await alice.published(body=pidf(note=str(number), basic="open" if number % 2 else "closed"))
    _, of_bob = await bob.subscribed(alice.aor)
    _, of_carol = await carol.subscribed(alice.aor)
    assert of_bob.body == of_carol.body
    assert notes(of_bob.body) == ["3", "1", "2", "0"]
    root = ET.fromstring(of_bob.body)
    assert [child.tag for child in root] == [f"{PIDF}tuple"] * 4
