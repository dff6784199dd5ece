"""Parameters of notifications, with either value, as a watcher sees them (peers.md 3.1, 4.6; group NOT)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.conformance.observed import notes, saying, subscription, tuples, until_ended
from tests.phone import Dialog, MakePhone, Message, Phone, pidf
from tests.running_set import RunningSet, started
from tests.wait import until

T1 = 60
"""Milliseconds; Timer F is 64 of them."""
TIMERS = {"VEDETTE_T1": str(T1), "VEDETTE_T2": str(8 * T1), "VEDETTE_T4": "200"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other_set() -> AsyncIterator[RunningSet]:
    """The parameters of this file, each with the value that is not its default, as it is in `quick_set`."""
    zeroes = ("SUPPRESS_UNCHANGED", "END_SUB_ON_TIMEOUT", "NOTIFY_OFFLINE_BODY")
    extra = TIMERS | {f"VEDETTE_{name}": "0" for name in zeroes}
    async with started("--cores", "1", "--notifiers", "2", extra=extra) as running:
        yield running


def cseqs(phone: Phone) -> list[int]:
    """The CSeqs of the NOTIFYs that came, without retransmissions, in order."""
    found = {item.branch: int(item["cseq"].split()[0]) for item in phone.received if not item.is_response}
    return list(found.values())


async def next_state(phone: Phone) -> Message:
    """The next NOTIFY, retransmissions aside: an answer may take longer than T1 on a busy machine."""

    def is_the_first(notify: Message) -> bool:
        return next(item for item in phone.received if item.branch == notify.branch) is notify

    return await phone.notify_where(is_the_first)


def dressed(document: bytes, number: int) -> bytes:
    """The same presence in other octets."""
    return document.replace(b"<presence", b"<!-- %d --><presence" % number)


async def told(running: RunningSet, dialog: Dialog) -> dict[str, Any]:
    """The subscription, once nothing is on its way and nothing is owed."""

    async def found() -> dict[str, Any] | None:
        view = await subscription(running, dialog)
        assert view is not None
        settled = not view["notify_outstanding"] and view["notify_version"] == view["presentity_version"]
        return view if settled else None

    view = await until(found, "the watcher is up to date")
    assert view is not None
    return view


async def done(phone: Phone, request: bytes) -> str:
    """The entity tag of a PUBLISH that succeeds."""
    response = await phone.request(request)
    assert response.status == 200, response.start
    return response["sip-etag"]


Change = Callable[[Phone, str], Awaitable[str]]
"""Makes something that no watcher can see; the tag of what says `here`, before and after."""


async def modified(alice: Phone, tag: str) -> str:
    """The same presence, written in three other ways, one after the other."""
    for number in range(3):
        body = dressed(pidf(alice.aor, note="here"), number)
        tag = await done(alice, alice.publish(body=body, if_match=tag))
    return tag


async def second_removed(alice: Phone, tag: str) -> str:
    """A second device that says nothing comes and goes."""
    nothing = f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{alice.aor}"/>'.encode()
    second = await done(alice, alice.publish(body=nothing))
    await done(alice, alice.publish(if_match=second, expires=0))
    return tag


UNSEEN = pytest.mark.parametrize("unseen", [modified, second_removed])


@UNSEEN
async def test_parameter_suppress_unchanged_1_what_cannot_be_seen_makes_no_notify(
    quick_set: RunningSet, make_phone: MakePhone, unseen: Change
) -> None:
    alice, bob = await make_phone(quick_set), await make_phone(quick_set)
    tag = await alice.published(body=pidf(alice.aor, note="here"))
    dialog, first = await bob.subscribed(alice.aor)
    before = await told(quick_set, dialog)
    tag = await unseen(alice, tag)
    after = await told(quick_set, dialog)
    assert after["presentity_version"] > before["presentity_version"], "there was a change"
    assert after["notify_cseq"] == before["notify_cseq"]
    await done(alice, alice.publish(body=pidf(alice.aor, note="gone"), if_match=tag))
    second = await next_state(bob)
    assert (notes(first.body), notes(second.body)) == (["here"], ["gone"])
    assert cseqs(bob) == [1, 2], "no CSeq is left out"


@UNSEEN
async def test_parameter_suppress_unchanged_0_every_change_is_told(
    other_set: RunningSet, make_phone: MakePhone, unseen: Change
) -> None:
    alice, bob = await make_phone(other_set), await make_phone(other_set)
    tag = await alice.published(body=pidf(alice.aor, note="here"))
    dialog, first = await bob.subscribed(alice.aor)
    await told(other_set, dialog)
    await unseen(alice, tag)
    second = await next_state(bob)
    assert second.body == first.body
    await told(other_set, dialog)
    numbers = cseqs(bob)
    assert numbers == list(range(1, len(numbers) + 1))


async def test_parameter_suppress_unchanged_not_22_a_refresh_and_the_end_bring_the_state_all_the_same(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(quick_set), await make_phone(quick_set)
    await alice.published(body=pidf(alice.aor, note="here"))
    dialog, first = await bob.subscribed(alice.aor)
    await told(quick_set, dialog)
    bodies = [first.body]
    for expires, state in ((600, "active"), (600, "active"), (0, "terminated")):
        assert (await bob.request(bob.subscribe(dialog, expires=expires))).status == 200
        dialog.cseq += 1
        notify = await next_state(bob)
        assert notify.state == state
        bodies.append(notify.body)
    assert bodies == [first.body] * 4
    assert cseqs(bob) == [1, 2, 3, 4]


@pytest.mark.parametrize("status", [500, 403, 302])
async def test_parameter_suppress_unchanged_who_refused_a_document_is_sent_it_again(
    quick_set: RunningSet, make_phone: MakePhone, status: int
) -> None:
    """Only what was acknowledged counts as known; a failure by itself makes no NOTIFY (NOT-18)."""
    alice, bob = await make_phone(quick_set), await make_phone(quick_set)
    dialog, _ = await bob.subscribed(alice.aor)
    await told(quick_set, dialog)
    bob.answer = lambda _: status
    tag = await alice.published(body=pidf(alice.aor, note="here"))
    assert notes((await next_state(bob)).body) == ["here"]
    await told(quick_set, dialog)
    bob.answer = lambda _: 200
    await done(alice, alice.publish(body=dressed(pidf(alice.aor, note="here"), 1), if_match=tag))
    assert notes((await next_state(bob)).body) == ["here"]
    await told(quick_set, dialog)
    assert cseqs(bob) == [1, 2, 3]


async def unanswered(running: RunningSet, make_phone: MakePhone) -> tuple[Phone, str, Phone, Dialog]:
    """A publisher, its tag, and a watcher that has just left a NOTIFY without an answer."""
    alice, bob = await make_phone(running), await make_phone(running)
    dialog, _ = await bob.subscribed(alice.aor)
    await told(running, dialog)
    bob.answer = lambda _: None
    tag = await alice.published(body=pidf(alice.aor, note="unanswered"))
    await bob.notify_where(saying("unanswered"))
    return alice, tag, bob, dialog


async def test_parameter_end_sub_on_timeout_1_not_14_the_first_silence_ends_it(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    _, _, bob, dialog = await unanswered(quick_set, make_phone)
    await until_ended(quick_set, dialog)
    assert cseqs(bob) == [1, 2]
    assert (await bob.request(bob.subscribe(dialog))).status == 481


async def given_up(running: RunningSet, dialog: Dialog) -> None:
    """Return when the NOTIFY that is outstanding is not any more; AssertionError where the subscription has ended."""

    async def over() -> bool:
        view = await subscription(running, dialog)
        assert view is not None, "the subscription lives"
        return not view["notify_outstanding"]

    await until(over, "Timer F is over")


async def test_parameter_end_sub_on_timeout_0_the_state_is_sent_again_after_a_pause(
    other_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, tag, bob, dialog = await unanswered(other_set, make_phone)
    await given_up(other_set, dialog)
    await done(alice, alice.publish(body=pidf(alice.aor, note="newer"), if_match=tag))
    bob.answer = lambda _: 200
    await bob.notify_where(saying("newer"))
    await told(other_set, dialog)
    numbers = cseqs(bob)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 3, "the silence has cost a NOTIFY of its own"


async def test_parameter_end_sub_on_timeout_0_not_22_a_subscribe_is_answered(
    other_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, tag, bob, dialog = await unanswered(other_set, make_phone)
    await given_up(other_set, dialog)
    bob.answer = lambda _: 200
    assert (await bob.request(bob.subscribe(dialog))).status == 200
    view = await told(other_set, dialog)
    assert view["notify_cseq"] == cseqs(bob)[-1] > 2
    await done(alice, alice.publish(body=pidf(alice.aor, note="newer"), if_match=tag))
    await bob.notify_where(saying("newer"))


async def test_parameter_notify_offline_body_0_not_08_nothing_published_is_an_empty_body(
    other_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(other_set), await make_phone(other_set)
    dialog, first = await bob.subscribed(alice.aor)
    tag = await alice.published(body=pidf(alice.aor, note="here"))
    here = await next_state(bob)
    assert notes(here.body) == ["here"]
    assert here["content-type"] == "application/pidf+xml"
    await done(alice, alice.publish(if_match=tag, expires=0))
    for notify in (first, await next_state(bob)):
        assert (notify.body, notify["content-length"], notify.state) == (b"", "0", "active")
        assert "content-type" not in notify
    assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
    last: Message = await next_state(bob)
    assert (last.body, last.state) == (b"", "terminated")


async def test_parameter_notify_offline_body_1_not_08_prs_18_nothing_published_is_a_closed_tuple(
    quick_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(quick_set), await make_phone(quick_set)
    _, first = await bob.subscribed(alice.aor)
    tag = await alice.published(body=pidf(alice.aor, note="here"))
    assert notes((await next_state(bob)).body) == ["here"]
    await done(alice, alice.publish(if_match=tag, expires=0))
    for notify in (first, await next_state(bob)):
        assert tuples(notify.body) == {"offline": "closed"}
        assert notify["content-type"] == "application/pidf+xml"
