"""Calls that watchers of presence see (`mix_dialog_presence`: peers.md 3.1; row CMP-15)."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.observed import fetched, notes, saying, subscriptions, tuples
from tests.conformance.test_dialog import published
from tests.dialog_info import call, dialogs
from tests.phone import MakePhone, pidf
from tests.running_set import RunningSet, started
from tests.unit.documents.schemas import faults
from tests.wait import until

ACTIVITY = b"<rpid:on-the-phone/>"


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["1", "0"])
async def mixing_set(request: pytest.FixtureRequest) -> AsyncIterator[RunningSet]:
    """Presence shows calls; in both modes (`fallback2db`)."""
    extra = {"VEDETTE_MIX_DIALOG_PRESENCE": "1", "VEDETTE_FALLBACK2DB": request.param}
    async with started("--cores", "2", "--notifiers", "2", extra=extra) as running:
        yield running


async def test_parameter_mix_dialog_presence_1_cmp_15_a_call_is_shown_beside_what_is_published(
    mixing_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, proxy, bob = [await make_phone(mixing_set) for _ in range(3)]
    await alice.published(body=pidf(alice.aor, note="here"))
    _, first = await bob.subscribed(alice.aor)
    assert notes(first.body) == ["here"]
    tag = None
    for state, note in (("early", "Calling"), ("confirmed", "On the phone")):
        tag = await published(proxy, alice.aor, dialogs(call(state, "a")), tag=tag)
        notify = await bob.notify_where(lambda seen: len(notes(seen.body)) == 2)
        assert sorted(notes(notify.body)) == sorted(["here", note])
        assert ACTIVITY in notify.body
        assert faults(notify.body) == []
        assert len(tuples(notify.body)) == 2
    await published(proxy, alice.aor, dialogs(call("terminated", "a")), tag=tag)
    last = await bob.notify_where(saying("here"))
    assert last.body == first.body
    assert (await fetched(bob, alice.aor)).body == first.body


async def test_parameter_mix_dialog_presence_1_cmp_15_a_call_is_shown_where_nothing_else_is(
    mixing_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, proxy, bob, carol = [await make_phone(mixing_set) for _ in range(4)]
    _, before = await bob.subscribed(alice.aor)
    assert list(tuples(before.body).values()) == ["closed"]
    tag = await published(proxy, alice.aor, dialogs(call("confirmed", "a")))
    during = await bob.notify_where(lambda seen: ACTIVITY in seen.body)
    assert list(tuples(during.body).values()) == ["open"]
    assert f'entity="{alice.aor}"'.encode() in during.body
    _, seen = await carol.subscribed(alice.aor)
    assert seen.body == during.body
    await published(proxy, alice.aor, b"", tag=tag, expires=0)
    for watcher in (bob, carol):
        after = await watcher.notify_where(lambda seen: ACTIVITY not in seen.body)
        assert after.body == before.body


async def test_parameter_mix_dialog_presence_1_cmp_15_a_call_that_expires_is_over(
    mixing_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, proxy, bob = [await make_phone(mixing_set) for _ in range(3)]
    await published(proxy, alice.aor, dialogs(call("confirmed", "a")), expires=2)
    _, first = await bob.subscribed(alice.aor)
    assert ACTIVITY in first.body
    last = await bob.notify_where(lambda seen: ACTIVITY not in seen.body)
    assert list(tuples(last.body).values()) == ["closed"]


async def test_parameter_mix_dialog_presence_1_with_suppress_unchanged_a_second_call_makes_no_notify(
    mixing_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, proxy, bob = [await make_phone(mixing_set) for _ in range(3)]
    first = await published(proxy, alice.aor, dialogs(call("confirmed", "a")))
    _, shown = await bob.subscribed(alice.aor)
    assert ACTIVITY in shown.body

    async def settled() -> bool:
        views = await subscriptions(mixing_set, alice.aor)
        return all(v["notify_version"] == v["presentity_version"] and not v["notify_outstanding"] for v in views)

    for _ in range(2):
        await until(settled, "nothing is owed")
        second = await published(proxy, alice.aor, dialogs(call("early", "b")))
        await until(settled, "nothing is owed")
        await published(proxy, alice.aor, b"", tag=second, expires=0)
    await until(settled, "nothing is owed")
    await published(proxy, alice.aor, b"", tag=first, expires=0)
    after = await bob.next_notify()
    assert ACTIVITY not in after.body
    assert after["cseq"] == "2 NOTIFY"


async def test_parameter_mix_dialog_presence_0_is_the_default_and_presence_knows_no_calls(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, proxy, bob = [await make_phone(running_set) for _ in range(3)]
    await published(proxy, alice.aor, dialogs(call("confirmed", "a")))
    _, first = await bob.subscribed(alice.aor)
    assert list(tuples(first.body).values()) == ["closed"]
    (before,) = await subscriptions(running_set, alice.aor)
    await published(proxy, alice.aor, dialogs(call("confirmed", "b")))
    (after,) = await subscriptions(running_set, alice.aor)
    assert after["presentity_version"] == before["presentity_version"]
