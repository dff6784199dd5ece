"""Live events of a running set: what phones and NOTIFYs do is streamed to whoever asks for it."""

import asyncio
from functools import partial

from tests.phone import MakePhone, pidf, token
from tests.running_set import RunningSet
from tests.sse import Event
from tests.sse import reading as reading_all

PUBLISHES = 200

reading = partial(reading_all, hears_silence=False)
"""The processes of the set may be slow; what they tell comes all the same."""


def of(events: list[Event], kind: str) -> list[str]:
    """What became of that kind of thing, in order."""
    return [event.data["what"] for event in events if event.name == kind]


async def test_a_reader_with_a_filter_sees_exactly_its_own_in_order_under_load(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    name = token("live")
    alice, bob = await make_phone(running_set, f"{name}.a"), await make_phone(running_set, f"{name}.b")
    url = f"{running_set.api}/api/v1/events"

    async def publish_all(phone: str, count: int) -> None:
        sender = {alice.aor: alice, bob.aor: bob}[phone]
        tag = await sender.published(body=pidf(phone, note="0"))
        for number in range(1, count):
            answer = await sender.request(sender.publish(if_match=tag, body=pidf(phone, note=str(number))))
            assert answer.status == 200
            tag = answer["SIP-ETag"]
        assert (await sender.request(sender.publish(if_match=tag, expires=0))).status == 200

    async with (
        reading(url, presentity=alice.aor, event="presence", kind="publication") as one,
        reading(url, presentity=bob.aor) as other,
        reading(url, presentity=alice.aor, event="dialog", seconds="1") as none,
    ):
        await asyncio.gather(publish_all(alice.aor, PUBLISHES // 2), publish_all(bob.aor, PUBLISHES // 2))
        mine = await one.until(lambda event: event.data["what"] == "removed")
        others = await other.until(lambda event: event.data["what"] == "removed")
        assert await none.rest() == []
    for events, aor in ((mine, alice.aor), (others, bob.aor)):
        assert of(events, "publication") == ["created", *["modified"] * (PUBLISHES // 2 - 1), "removed"]
        assert {event.data["presentity"] for event in events} == {aor}
        versions = [event.data["version"] for event in events]
        assert versions == sorted(set(versions))
        numbers = [int(event.id.rpartition("-")[2]) for event in events]
        assert numbers == sorted(set(numbers))


async def test_subscriptions_and_the_outcomes_of_their_notifies_are_streamed(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set, token("live")), await make_phone(running_set, token("watcher"))
    async with reading(f"{running_set.api}/api/v1/events", presentity=alice.aor) as stream:
        dialog, _ = await bob.subscribed(alice.aor)
        first = await stream.until(lambda event: event.name == "notify")
        view = await running_set.get(f"/api/v1/subscriptions/{first[0].data['id']}")
        assert view["watcher"] == bob.aor
        await alice.published()
        await bob.next_notify()
        second = await stream.until(lambda event: event.name == "notify")
        await bob.request(bob.subscribe(dialog, expires=0))
        await bob.next_notify()
        third = await stream.until(lambda event: event.name == "notify")
    assert [(event.name, event.data["what"]) for event in first] == [
        ("subscription", "created"),
        ("notify", "delivered"),
    ]
    created, notify = (event.data for event in first)
    assert (created["watcher"], created["event"], created["expires_in"]) == (bob.aor, "presence", 600)
    assert (notify["id"], notify["watcher"], notify["code"], notify["cseq"]) == (created["id"], bob.aor, 200, 1)
    assert [(event.name, event.data["what"]) for event in second] == [
        ("publication", "created"),
        ("notify", "delivered"),
    ]
    assert [(event.name, event.data["what"]) for event in third] == [
        ("subscription", "removed"),
        ("notify", "delivered"),
    ]


async def test_what_expires_is_streamed(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice, bob = await make_phone(running_set, token("live")), await make_phone(running_set, token("watcher"))
    async with reading(
        f"{running_set.api}/api/v1/events", presentity=alice.aor, kind=["publication", "subscription"]
    ) as stream:
        await alice.published(expires=1)
        await bob.subscribed(alice.aor, expires=1)
        seen = [await stream.next() for _ in range(4)]
    events = [event for event in seen if event is not None]
    assert [of(events, kind) for kind in ("publication", "subscription")] == [["created", "expired"]] * 2
