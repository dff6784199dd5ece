"""More requests than the set can serve: what is taken is bounded, the rest is told when to come back."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sip_edge.domain.admission import RETRY_LATEST, RETRY_SOONEST
from tests.backend import backend_started
from tests.folders import open_folder
from tests.phone import Message, Phone, learn, opened, pidf, token
from tests.running_set import RunningSet, start
from tests.system.postgres_proxy import PostgresProxy, proxied
from tests.wait import until, until_true

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCH = 8
SLOTS = 3
"""Batches that may be under way to one core."""
DELAY = 0.2
"""Seconds that Postgres takes each way."""
LIMIT = 6
"""Seconds that a request may wait; what begins something is refused at 3, which makes for wide margins."""
FASTEST = SLOTS * BATCH / (2 * DELAY)
"""Requests a second, if nothing but Postgres took time."""
WARM = 4 * BATCH * SLOTS
BEYOND = 800
FLOOD = 300
AT_MOST = int(2 * SLOTS * BATCH + LIMIT / 2 * FASTEST) + 2 * BATCH
"""Under way, next, and what is served in half the limit; and some whose answers are on their way."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slow_set() -> AsyncIterator[tuple[RunningSet, PostgresProxy]]:
    """One of each kind, whose Postgres can be slow; the edge sends 8 requests at once."""
    async with backend_started() as backend, proxied(backend.folders.sockets) as proxy:
        url = f"postgresql://vedette:{backend.password}@127.0.0.1:{proxy.port}/vedette"
        arguments = ["--cores", "1", "--database-url", url, "--redis-url", backend.redis.url()]
        with open_folder("overload") as data:
            settings = {
                "VEDETTE_CALL_BATCH": str(BATCH),
                "VEDETTE_MAX_WAITING_TIME": str(LIMIT * 1000),
                "VEDETTE_MAX_PUBLICATIONS": "0",
            }
            running = await start(data, arguments, settings)
            try:
                yield running, proxy
            finally:
                proxy.delay = 0.0
                await running.stop()


class Crowd:
    """Requests that are sent whether or not there are answers; `outstanding` are those that will be taken."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.sent: dict[str, int] = {}
        """How many answers had come when it was sent, by branch."""

    def send(self, data: bytes) -> str:
        branch = Message.read(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n").branch
        self.sent[branch] = len(self.phone.received)
        self.phone.send(data)
        return branch

    def publish(self, requests: int) -> None:
        """Publish once for each of so many new presentities."""
        for _ in range(requests):
            uri = f"sip:{token('p')}@example.com"
            self.send(self.phone.publish(uri, body=pidf(uri)))

    def answers(self) -> dict[str, Message]:
        """The final response of each request that has one."""
        return {m.branch: m for m in self.phone.received if m.is_response and m.status >= 200}

    async def answered(self) -> dict[str, Message]:
        """All of them, once they are there."""
        await until_true(lambda: self.answers().keys() >= self.sent.keys(), "every request is answered", deadline=60)
        return self.answers()

    def most_taken_at_once(self) -> int:
        """How many requests that were taken had been sent and not answered yet, at most."""
        answers = self.answers()
        places = {message.branch: place for place, message in enumerate(self.phone.received) if message.is_response}
        taken = [branch for branch in self.sent if answers[branch].status == 200]
        return max(sum(self.sent[other] <= self.sent[branch] <= places[other] for other in taken) for branch in taken)


async def test_parameter_max_waiting_time_beyond_capacity_new_requests_get_503_refreshes_do_not_and_all_is_well_after(
    slow_set: tuple[RunningSet, PostgresProxy],
) -> None:
    running, proxy = slow_set
    async with opened(running, transport="tcp") as phone, opened(running) as holder, opened(running) as watcher:
        etag = await holder.published()
        dialog = watcher.dialog(holder.aor)
        learn(dialog, await watcher.request(watcher.subscribe(dialog)))
        proxy.delay = DELAY
        warm = Crowd(phone)
        warm.publish(WARM)
        await warm.answered()

        crowd = Crowd(phone)
        first = len(phone.received)
        crowd.publish(BEYOND)
        await until_true(
            lambda: any(m.is_response and m.status == 503 for m in phone.received[first:]), "the first is refused"
        )
        refresh = holder.publish(if_match=etag, body=b"")
        dialog.cseq = 2
        resubscribe = watcher.subscribe(dialog)
        holder.send(refresh)
        watcher.send(resubscribe)
        answers = await crowd.answered()
        refused = [answers[branch] for branch in crowd.sent if answers[branch].status == 503]
        assert {answers[branch].status for branch in crowd.sent} == {200, 503}
        assert crowd.most_taken_at_once() <= AT_MOST
        after = [int(message["retry-after"]) for message in refused]
        assert RETRY_SOONEST <= min(after) < max(after) <= RETRY_LATEST
        assert (await holder.request(refresh)).status == 200
        assert (await watcher.request(resubscribe)).status == 200

        proxy.delay = 0.0

        async def as_before() -> bool:
            again = Crowd(phone)
            again.publish(WARM)
            found = await again.answered()
            return {found[branch].status for branch in again.sent} == {200}

        await until(as_before, "nobody is refused any more")


async def test_a_presentity_that_is_flooded_gets_503_before_its_lane_takes_long_and_nobody_else_does(
    slow_set: tuple[RunningSet, PostgresProxy],
) -> None:
    running, proxy = slow_set
    async with opened(running, transport="tcp") as phone, opened(running) as other:
        proxy.delay = DELAY / 8
        for _ in range(3):  # how long one takes is known by those that have come back
            await phone.published()
        crowd = Crowd(phone)
        for _ in range(FLOOD):
            crowd.send(phone.publish(phone.aor, body=pidf(phone.aor)))
        await until_true(lambda: any(m.is_response and m.status == 503 for m in phone.received), "it is refused")
        await other.published()
        answers = await crowd.answered()
        proxy.delay = 0.0
        assert {answers[branch].status for branch in crowd.sent} == {200, 503}
        await phone.published()
