"""What other presence servers got wrong, as their issues and sources tell, on the wire (peers.md 4, 7 and 8.4).

Only what no other test shows. The rest is found by its row: a refresh without a body tells nobody (PUB-14), two
PUBLISHes on one tag (PUB-19), Expires 0 with a body (PUB-17), `Expires: 0` outside a dialog (SUB-13), 500 and not 400
for an old CSeq (DLG-10), NOTIFY failures that end a subscription and those that do not (NOT-15, NOT-16), the order of
NOTIFYs (NOT-11), a second node that ends what is not its own (NOT-27), Contacts that move (DLG-13).
"""

import asyncio
import os
import signal

import pytest

from tests.conformance.observed import fetched, notes, publications, saying, subscriptions, tuples
from tests.phone import PATIENCE, MakePhone, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet
from tests.wait import until


def cseq(notify: Message) -> int:
    return int(notify["cseq"].split()[0])


async def shown_next(watcher: Phone, publisher: Phone, etag: str) -> Message:
    """The next NOTIFY after another change, which is accepted; so whatever was shown wrongly would come before it."""
    note = token()
    response = await publisher.request(publisher.publish(if_match=etag, body=pidf(publisher.aor, note=note)))
    assert response.status == 200
    return await watcher.notify_where(saying(note))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_publish_that_was_refused_is_shown_to_nobody(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    """OpenSIPS 1.4 sent the body of a PUBLISH that it had answered with 412 to all watchers."""
    alice, bob = await make_phone(running_set, transport=transport), await make_phone(running_set)
    etag = await alice.published(body=pidf(alice.aor, note="right"))
    _, first = await bob.subscribed(alice.aor)
    wrong = pidf(alice.aor, note="wrong")
    for request, status in (
        (alice.publish(if_match=token(), body=wrong), 412),
        (alice.publish(if_match="0" * 32 + ".1", body=wrong), 412),
        (alice.publish(if_match=token(), expires=0), 412),
        (alice.publish(body=wrong, content_type="text/plain"), 415),
        (alice.publish(body=wrong + b"<"), 400),
        (alice.publish(body=wrong, event="presence.winfo"), 489),
    ):
        assert (await alice.request(request)).status == status
    second = await shown_next(bob, alice, etag)
    assert cseq(second) == cseq(first) + 1
    assert notes(first.body) == ["right"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_every_refusal_is_one_response(running_set: RunningSet, make_phone: MakePhone, transport: str) -> None:
    """OpenSIPS 1.4 answered a broken body with 415 and then with 500."""
    phone = await make_phone(running_set, transport=transport)
    branches = [token("z9hG4bK") for _ in range(5)]
    bodies = [pidf() + b"<", b"<presence", pidf(), pidf(), b""]
    types = ["application/pidf+xml", "application/pidf+xml", "text/plain", "a/b", None]
    for branch, body, content_type in zip(branches, bodies, types, strict=True):
        phone.send(phone.publish(body=body, content_type=content_type, branch=branch))
        assert (await phone.next_response(branch)).status in {400, 415}
    assert (await phone.request(phone.publish(body=pidf()))).status == 200
    for branch in branches:
        assert len([m for m in phone.received if m.is_response and m.branch == branch]) == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_copy_of_a_refresh_is_no_old_cseq(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    """opensips 117: a retransmitted SUBSCRIBE in a dialog got 400 for its CSeq, and the phone gave up."""
    phone = await make_phone(running_set, transport=transport)
    dialog, first = await phone.subscribed(f"sip:{token('alice')}@example.com")
    notify = first
    for expires in (500, 0):
        request = phone.subscribe(dialog, expires=expires)
        answers = [await phone.request(request) for _ in range(3)]
        assert {(answer.status, answer["expires"], answer.to_tag) for answer in answers} == {
            (200, str(expires), dialog.to_tag)
        }
        dialog.cseq += 1
        notify = await phone.next_notify()
        assert notify.state == ("active" if expires else "terminated")
    assert cseq(notify) == cseq(first) + 2
    assert phone.nothing_waits()


async def test_a_refresh_of_a_wrong_tag_makes_no_second_publication(
    running_set: RunningSet, udp_phone: Phone
) -> None:
    """Lamps that stay lit, opensips 3801, kamailio 2048 and more: a stale tag made another publication."""
    etag = await udp_phone.published(body=pidf(udp_phone.aor, note="one"))
    replaced = await udp_phone.request(udp_phone.publish(if_match=etag, body=pidf(udp_phone.aor, note="two")))
    for tag in (etag, token(), etag.partition(".")[0] + ".99"):
        for body, expires in ((pidf(note="stale"), 600), (b"", 600), (b"", 0)):
            refused = await udp_phone.request(udp_phone.publish(if_match=tag, body=body, expires=expires))
            assert refused.status == 412
            assert "sip-etag" not in refused
    there = await publications(running_set, udp_phone.aor)
    assert [item["etag"] for item in there] == [replaced["sip-etag"]]
    assert (await udp_phone.request(udp_phone.publish(if_match=replaced["sip-etag"], expires=0))).status == 200
    assert list(tuples((await fetched(udp_phone, udp_phone.aor)).body).values()) == ["closed"]


async def test_a_removal_is_told_once(running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone) -> None:
    """OpenSIPS sends a removal twice: closed, and then what is left."""
    bob = await make_phone(running_set)
    aor = udp_phone.aor
    stays = await udp_phone.published(body=pidf(aor, tuple_id="a", note="stays"))
    goes = await udp_phone.published(body=pidf(aor, tuple_id="b", note="goes"))
    _, first = await bob.subscribed(aor)
    assert (await udp_phone.request(udp_phone.publish(if_match=goes, expires=0))).status == 200
    told = await bob.next_notify()
    assert (notes(told.body), list(tuples(told.body).values())) == (["stays"], ["open"])
    assert cseq(told) == cseq(first) + 1
    assert cseq(await shown_next(bob, udp_phone, stays)) == cseq(first) + 2


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_our_contact_names_the_transport_once(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    """OpenSIPS 1.4 added `;transport=` to a server_address that had one."""
    phone = await make_phone(running_set, transport=transport)
    dialog = phone.dialog(f"sip:{token('alice')}@example.com")
    response = await phone.request(phone.subscribe(dialog))
    learn(dialog, response)
    refreshed = await phone.request(phone.subscribe(dialog))
    contacts = [response["contact"], refreshed["contact"], (await phone.next_notify())["contact"]]
    assert len(set(contacts)) == 1
    assert contacts[0].count("transport=") == (transport == "tcp")


async def test_a_refresh_shows_the_lifetime_that_is_granted(running_set: RunningSet, udp_phone: Phone) -> None:
    """OpenSIPS 1.6 showed the stored, longer one in the answer to a refresh."""
    dialog = udp_phone.dialog(f"sip:{token('alice')}@example.com")
    for expires in (300, 200, 400):
        response = await udp_phone.request(udp_phone.subscribe(dialog, expires=expires))
        assert response["expires"] == str(expires)
        learn(dialog, response)
        notify = await udp_phone.next_notify()
        assert int(notify["subscription-state"].removeprefix("active;expires=")) <= expires


async def test_a_fork_kills_no_live_dialog(running_set: RunningSet, udp_phone: Phone, make_phone: MakePhone) -> None:
    """Replacing older dialogs by watcher and Call-ID ended those of the other branches."""
    alice = await make_phone(running_set)
    contact = f'{udp_phone.contact};+sip.instance="<urn:uuid:{token()}>"'
    first = udp_phone.dialog(alice.aor)
    dialogs = [first]
    for _ in range(2):
        other = udp_phone.dialog(alice.aor)
        other.call_id, other.from_tag = first.call_id, first.from_tag
        dialogs.append(other)
    for dialog in dialogs:
        learn(dialog, await udp_phone.request(udp_phone.subscribe(dialog, contact=contact)))
        await udp_phone.next_notify()
    assert len({dialog.to_tag for dialog in dialogs}) == 3
    await alice.published(body=pidf(alice.aor, note="all"))
    told = [await udp_phone.next_notify() for _ in dialogs]
    assert [notes(notify.body) for notify in told] == [["all"]] * 3
    for dialog in dialogs:
        assert (await udp_phone.request(udp_phone.subscribe(dialog, contact=contact))).status == 200


RACERS = 15


async def test_a_refresh_of_a_publication_that_meets_its_expiry_wins_or_loses_whole(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """Between a check and a sweep others ended what had got 200, or left what had got 412 (opensips 4128, 2170).

    All are refreshed as soon as the first is over, so that some of them are at their end.
    """
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    await bob.subscribed(alice.aor)
    etags = [
        await alice.published(body=pidf(alice.aor, tuple_id=f"t{number}", note=str(number)), expires=1)
        for number in range(RACERS)
    ]

    async def first_is_over() -> bool:
        return len(await publications(running_set, alice.aor)) < RACERS

    await until(first_is_over, "the first publication is over")
    answers = await asyncio.gather(*(alice.request(alice.publish(if_match=tag, expires=600)) for tag in etags))
    assert {answer.status for answer in answers} <= {200, 412}
    winners = {number: answer["sip-etag"] for number, answer in enumerate(answers) if answer.status == 200}
    assert len(winners) < RACERS
    there = await publications(running_set, alice.aor)
    assert sorted(item["etag"] for item in there) == sorted(winners.values())
    left = sorted(str(number) for number in winners)
    await bob.notify_where(lambda notify: sorted(notes(notify.body)) == left)
    assert sorted(notes((await fetched(alice, alice.aor)).body)) == left


async def test_a_refresh_of_a_dialog_that_meets_its_expiry_wins_or_loses_whole(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """A dialog whose refresh got 200 is told of the next change; one whose refresh got 481 has been told its end."""
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    dialogs = [(await bob.subscribed(alice.aor, expires=1))[0] for _ in range(RACERS)]

    async def first_is_over() -> bool:
        return len(await subscriptions(running_set, alice.aor)) < RACERS

    await until(first_is_over, "the first dialog is over")
    answers = await asyncio.gather(*(bob.request(bob.subscribe(dialog)) for dialog in dialogs))
    assert {answer.status for answer in answers} <= {200, 481}
    winners = {dialog.call_id for dialog, answer in zip(dialogs, answers, strict=True) if answer.status == 200}

    async def only_they_are_left() -> bool:
        return {item["call_id"] for item in await subscriptions(running_set, alice.aor)} == winners

    await until(only_they_are_left, "the others are ended within a second")
    await alice.published(body=pidf(alice.aor, note="who is left"))

    def told(state: str, check: str) -> set[str]:
        """To whom a NOTIFY came with that; the last one of who has ended shows what there is by then, too."""
        notifies = [message for message in bob.received if not message.is_response and message.state == state]
        return {message["call-id"] for message in notifies if check in message.raw.decode()}

    losers = {dialog.call_id for dialog in dialogs} - winners
    async with asyncio.timeout(PATIENCE):
        while told("active", "who is left") != winners or told("terminated", ";reason=timeout") != losers:
            await bob.next_notify()


async def test_what_expired_while_nobody_swept_is_ended_later(quick_set: RunningSet, make_phone: MakePhone) -> None:
    """opensips 4128: a sweep that looked at a moving window left behind what had expired before it."""
    alice, bob = await make_phone(quick_set), await make_phone(quick_set)
    await alice.published(body=pidf(alice.aor, note="short"), expires=2)
    _, first = await bob.subscribed(alice.aor)
    assert notes(first.body) == ["short"]
    pids = [int(row["pid"]) for row in await quick_set.processes("notifier")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:

        async def over() -> bool:
            return await publications(quick_set, alice.aor) == []

        await until(over, "its time is over")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    while notes(bob.received[-1].body):
        await bob.next_notify()
    assert list(tuples(bob.received[-1].body).values()) == ["closed"]


async def test_a_watcher_that_does_not_read_its_connection_delays_nobody(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """kamailio 4118, opensips 67: one dead TCP watcher held up the NOTIFYs to all others."""
    alice, bob, carol = [await make_phone(running_set, transport=transport) for transport in ("tcp", "udp", "tcp")]
    deaf = await make_phone(running_set, transport="tcp")
    dialogs = [deaf.dialog(alice.aor) for _ in range(100)]
    for response in await asyncio.gather(*(deaf.request(deaf.subscribe(dialog)) for dialog in dialogs)):
        assert response.status == 200
    for _ in dialogs:
        await deaf.next_notify()
    deaf.stop_reading()
    for phone in (bob, carol):
        await phone.subscribed(alice.aor)
    note = "x" * 50_000
    etag = await alice.published(body=pidf(alice.aor, note=note))
    for number in range(5):
        for phone in (bob, carol):
            await phone.notify_where(saying(note))
        note = str(number) + "x" * 50_000
        changed = await alice.request(alice.publish(if_match=etag, body=pidf(alice.aor, note=note)))
        etag = changed["sip-etag"]


@pytest.mark.parametrize("prefix", ["p", "presence", "xs"])
async def test_names_count_by_their_namespace_and_not_by_their_prefix(
    running_set: RunningSet, udp_phone: Phone, prefix: str
) -> None:
    """Others found elements by the prefix that phones usually take."""
    document = (
        f'<{prefix}:presence xmlns:{prefix}="urn:ietf:params:xml:ns:pidf" entity="{udp_phone.aor}">'
        f'<{prefix}:tuple id="a"><{prefix}:status><{prefix}:basic>open</{prefix}:basic></{prefix}:status>'
        f"<{prefix}:note>seen</{prefix}:note></{prefix}:tuple></{prefix}:presence>"
    ).encode()
    await udp_phone.published(body=document)
    notify = await fetched(udp_phone, udp_phone.aor)
    assert (notes(notify.body), list(tuples(notify.body).values())) == (["seen"], ["open"])
