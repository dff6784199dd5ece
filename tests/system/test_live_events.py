"""Live events of a running set: what phones and NOTIFYs do is streamed to whoever asks for it."""

import asyncio
from functools import partial

from tests.phone import MakePhone, pidf, token
from tests.running_set import RunningSet
from tests.sse import Event, EventReader
from tests.sse import reading as reading_all

PUBLISHES = 200

reading = partial(reading_all, hears_silence=False)
"""The processes of the set may be slow; what they tell comes all the same."""


def of(events: list[Event], kind: str) -> list[str]:
    """What became of that kind of thing, in order."""
    return [event.data["what"] for event in events if event.name == kind]


async def some(stream: EventReader, count: int) -> list[Event]:
    """The next so many events. Those of different processes may be mixed up by as long as one of them is slow."""
    seen = [await stream.next() for _ in range(count)]
    return [event for event in seen if event is not None]


async def test_a_reader_with_a_filter_sees_exactly_its_own_under_load(
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
        mine, others = await some(one, PUBLISHES // 2 + 1), await some(other, PUBLISHES // 2 + 1)
        assert await none.rest() == []
    for events, aor in ((mine, alice.aor), (others, bob.aor)):
        assert {event.data["presentity"] for event in events} == {aor}
        by_version = {event.data["version"]: event for event in events}
        in_order = [by_version[version] for version in sorted(by_version)]
        assert of(in_order, "publication") == ["created", *["modified"] * (PUBLISHES // 2 - 1), "removed"]
        numbers = [int(event.id.rpartition("-")[2]) for event in events]
        assert numbers == sorted(set(numbers))


async def test_subscriptions_and_the_outcomes_of_their_notifies_are_streamed(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set, token("live")), await make_phone(running_set, token("watcher"))
    async with reading(f"{running_set.api}/api/v1/events", presentity=alice.aor) as stream:
        dialog, _ = await bob.subscribed(alice.aor)
        first = {event.name: event.data for event in await some(stream, 2)}
        created, notify = first["subscription"], first["notify"]
        view = await running_set.get(f"/api/v1/subscriptions/{notify['id']}")
        assert view["watcher"] == bob.aor
        await alice.published()
        await bob.next_notify()
        second = await some(stream, 2)
        await bob.request(bob.subscribe(dialog, expires=0))
        await bob.next_notify()
        third = await some(stream, 2)
    assert (created["what"], notify["what"]) == ("created", "delivered")
    assert (created["watcher"], created["event"], created["expires_in"]) == (bob.aor, "presence", 600)
    assert (notify["id"], notify["watcher"], notify["code"], notify["cseq"]) == (created["id"], bob.aor, 200, 1)
    for events, kind, what in ((second, "publication", "created"), (third, "subscription", "removed")):
        assert sorted((event.name, event.data["what"]) for event in events) == [("notify", "delivered"), (kind, what)]


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
