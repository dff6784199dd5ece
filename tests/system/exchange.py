"""One presentity, one watcher, one change: whether a set does its job."""

from tests.phone import Message, opened, pidf, token
from tests.running_set import RunningSet
from tests.wait import until


async def works(running: RunningSet, transport: str = "udp") -> None:
    """A new watcher sees what a new publisher publishes; 503 is waited through."""
    async with (
        opened(running, token("alice"), transport) as alice,
        opened(running, transport=transport) as bob,
    ):

        async def subscribed() -> Message | None:
            dialog = bob.dialog(alice.aor)
            response = await bob.request(bob.subscribe(dialog))
            return response if response.status == 200 else None

        async def published() -> Message | None:
            response = await alice.request(alice.publish(body=pidf(alice.aor, note="it works")))
            return response if response.status == 200 else None

        await until(subscribed, "a SUBSCRIBE gets 200")
        await until(published, "a PUBLISH gets 200")
        await bob.notify_where(lambda notify: b"it works" in notify.body)
