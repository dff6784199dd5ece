"""Who hears a ring: one notifier while one is on duty, the others a moment later; all in every case of doubt."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.integration.own_redis import Raw
from tests.wait import until, until_true
from vedette.store import bell as bell_module
from vedette.store.bell import CHANNEL, ON_DUTY, PLENTY, BellListener, ring, ringing
from vedette.store.redis_link import RedisLink


class Ear:
    """A notifier, as far as it hears."""

    def __init__(self, link: RedisLink, name: str) -> None:
        self.heard = 0
        self.news: list[bytes] = []
        self.listener = BellListener(link, name, self._hear, self.news.append)
        self.task = asyncio.create_task(self.listener.listen())

    def _hear(self) -> None:
        self.heard += 1

    async def vanish(self) -> None:
        """Its process ends."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


Ears = tuple[Ear, Ear, Ear]


@asynccontextmanager
async def ear(link: RedisLink, name: str) -> AsyncIterator[Ear]:
    made = Ear(link, name)
    try:
        yield made
    finally:
        await made.vanish()


@pytest.fixture
async def ears(link: RedisLink) -> AsyncIterator[Ears]:
    async with AsyncExitStack() as stack:
        one, two, three = [await stack.enter_async_context(ear(link, name)) for name in ("one", "two", "three")]
        await until_true(lambda: all(e.listener.connected for e in (one, two, three)), "they listen")
        yield one, two, three


@pytest.fixture
def never_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not on duty does not look by itself in the time of a test, and duty does not end."""
    monkeypatch.setattr(bell_module, "LATER", 3600.0)
    monkeypatch.setattr(bell_module, "DUTY", 3600.0)


async def counts(raw: Raw, ears: Ears) -> list[int]:
    """How often each has heard what was rung until now: what comes to one of them comes in order."""
    wanted = [e.heard + 1 for e in ears]
    await raw.publish(CHANNEL, b"")
    await until_true(
        lambda: all(e.heard >= count for e, count in zip(ears, wanted, strict=True)), "all have heard the last ring"
    )
    return [e.heard - 1 for e in ears]


async def has_duty(raw: Raw, name: bytes) -> None:
    async def found() -> bool:
        return bool(await raw.get(ON_DUTY) == name)

    await until(found, "it is on duty")


async def put_on_duty(link: RedisLink, raw: Raw, of: Ear) -> None:
    """Rung with all others, it finds something."""
    before = of.heard
    await ring(link)
    await until_true(lambda: of.heard > before, "it was rung")
    of.listener.found(1)
    await has_duty(raw, b"one")


@pytest.mark.usefixtures("never_later")
async def test_not_10_all_are_rung_while_nobody_is_on_duty(link: RedisLink, raw: Raw, ears: Ears) -> None:
    for _ in range(3):
        await ring(link)
    await until_true(lambda: all(e.heard == 3 for e in ears), "all hear every ring")
    assert await counts(raw, ears) == [3, 3, 3]


@pytest.mark.usefixtures("never_later")
async def test_the_first_one_that_finds_something_is_rung_alone_from_then_on(
    link: RedisLink, raw: Raw, ears: Ears
) -> None:
    await put_on_duty(link, raw, ears[0])
    ears[1].listener.found(1)  # it comes second
    for _ in range(20):
        await ring(link)
    await until_true(lambda: ears[0].heard == 21, "it hears every ring")
    assert await counts(raw, ears) == [21, 1, 1]
    assert await raw.get(ON_DUTY) == b"one"


async def test_not_10_the_others_look_a_moment_later_since_one_on_duty_may_be_stopped(
    link: RedisLink, raw: Raw, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell_module, "DUTY", 3600.0)
    await put_on_duty(link, raw, ears[0])
    await ears[0].vanish()
    async with raw.pubsub() as stopped:  # a connection that lives, and nobody who reads it
        await stopped.subscribe(f"{CHANNEL}:one")
        await until_true(lambda: ears[1].heard == ears[2].heard == 1, "they have heard the first ring")
        await ring(link)
        await until_true(lambda: ears[1].heard == ears[2].heard == 2, "they look")


async def test_duty_ends_and_all_are_rung_again(
    link: RedisLink, raw: Raw, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell_module, "LATER", 3600.0)
    monkeypatch.setattr(bell_module, "DUTY", 0.3)
    before = ears[0].heard
    await ring(link)
    await until_true(lambda: ears[0].heard > before, "it was rung")
    ears[0].listener.found(1)

    async def all_rung() -> bool:
        await ring(link)
        return ears[1].heard > 1

    await until(all_rung, "the others are rung again")


@pytest.mark.usefixtures("never_later")
async def test_not_10_one_on_duty_that_died_is_not_waited_for(link: RedisLink, raw: Raw, ears: Ears) -> None:
    await put_on_duty(link, raw, ears[0])
    await ears[0].vanish()

    async def heard() -> bool:
        await ring(link)
        return ears[1].heard > 1 and ears[2].heard > 1

    await until(heard, "the others are rung in its place")


@pytest.mark.usefixtures("never_later")
async def test_one_that_finds_plenty_calls_the_others(link: RedisLink, raw: Raw, ears: Ears) -> None:
    await put_on_duty(link, raw, ears[0])
    await ring(link)
    await until_true(lambda: ears[0].heard == 2, "it is rung alone")
    ears[0].listener.found(PLENTY)
    await until_true(lambda: [e.heard for e in ears] == [3, 2, 2], "all are rung")


async def _holds_something_else(raw: Raw) -> None:
    await raw.delete(ON_DUTY)
    await raw.hset(ON_DUTY, "field", "value")


async def _is_full(raw: Raw) -> None:
    await raw.delete(ON_DUTY)
    await raw.config_set("maxmemory", "1")


@pytest.mark.usefixtures("never_later")
@pytest.mark.parametrize("harm", [_holds_something_else, _is_full])
async def test_not_10_all_are_rung_where_redis_cannot_tell_who_is_on_duty(
    link: RedisLink, raw: Raw, ears: Ears, harm: Callable[[Raw], Awaitable[None]]
) -> None:
    await put_on_duty(link, raw, ears[0])
    await harm(raw)
    for times in (2, 3, 4):
        await ring(link)
        await until_true(lambda times=times: all(e.heard == times for e in ears), "all hear the ring")  # type: ignore[misc]
        await ears[0].listener._come_on_duty()
        assert link.available


@pytest.mark.usefixtures("never_later")
async def test_a_ring_brings_its_news_to_those_who_are_rung(link: RedisLink, raw: Raw, ears: Ears) -> None:
    await link.run_scripts([ringing(b"to all")])
    await until_true(lambda: all(e.heard == 1 for e in ears), "all are rung")
    await put_on_duty(link, raw, ears[0])
    await link.run_scripts([ringing(b"to the one on duty")])
    assert await counts(raw, ears) == [3, 2, 2]
    assert [e.news for e in ears] == [[b"to all", b"to the one on duty"], [b"to all"], [b"to all"]]
