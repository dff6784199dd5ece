"""The relay does to datagrams what it was told to, and the same again from the same seed."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from tests.system.relay import CALM, Fate, Relay, Weather, decide
from tests.wait import until_true

MANY = 2000


def fates(weather: Weather, seed: int = 1) -> list[Fate]:
    chance = random.Random(seed)
    return [decide(weather, chance) for _ in range(MANY)]


def test_calm_weather_passes_everything_once_and_at_once() -> None:
    assert set(fates(CALM)) == {Fate((0.0,), held_back=False)}


def test_the_same_seed_decides_the_same() -> None:
    weather = Weather(loss=0.2, duplication=0.2, reordering=0.2, delay=0.1)
    assert fates(weather) == fates(weather)
    assert fates(weather) != fates(weather, seed=2)


@pytest.mark.parametrize("part", [0.1, 0.5, 1.0])
def test_as_many_as_told_are_lost_doubled_and_held_back(part: float) -> None:
    def close(count: int) -> bool:
        return abs(count / MANY - part) < 0.05

    assert close(sum(not fate.copies for fate in fates(Weather(loss=part))))
    assert close(sum(len(fate.copies) == 2 for fate in fates(Weather(duplication=part))))
    assert close(sum(fate.held_back for fate in fates(Weather(reordering=part))))


def test_each_copy_is_delayed_by_at_most_as_much_as_told() -> None:
    delays = [seconds for fate in fates(Weather(delay=0.2, duplication=1.0)) for seconds in fate.copies]
    assert len(delays) == 2 * MANY
    assert 0.19 < max(delays) <= 0.2
    assert min(delays) < 0.01


class Far(asyncio.DatagramProtocol):
    """A socket that remembers what came."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.sources: set[tuple[str, int]] = set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.append(data)
        self.sources.add(addr)


Ends = tuple[Far, asyncio.DatagramTransport, Far, asyncio.DatagramTransport]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    loop = asyncio.get_running_loop()
    server_side, server = await loop.create_datagram_endpoint(Far, local_addr=("127.0.0.1", 0))
    phone_side, phone = await loop.create_datagram_endpoint(Far, local_addr=("127.0.0.1", 0))
    yield server, server_side, phone, phone_side
    server_side.close()
    phone_side.close()


async def test_datagrams_pass_both_ways_and_a_held_one_is_overtaken(ends: Ends) -> None:
    server, server_side, phone, phone_side = ends
    relay = Relay(server_side.get_extra_info("sockname"), 1)
    leg = await relay.leg("bob")
    try:
        phone_side.sendto(b"1", leg.phone_side)
        await until_true(lambda: server.got == [b"1"], "a datagram passes")
        assert server.sources == {leg.server_side}
        relay.weather = Weather(reordering=1.0)
        phone_side.sendto(b"2", leg.phone_side)
        await until_true(lambda: relay.held_back == 1, "one is held back")
        relay.weather = CALM
        phone_side.sendto(b"3", leg.phone_side)
        await until_true(lambda: len(server.got) == 3, "both have passed")
        assert server.got[1:] in ([b"3", b"2"], [b"2", b"3"])
        relay.weather = Weather(duplication=1.0)
        server_side.sendto(b"4", leg.server_side)
        await until_true(lambda: phone.got == [b"4", b"4"], "an answer passes, twice")
        assert phone.sources == {leg.phone_side}
        relay.weather = Weather(loss=1.0)
        server_side.sendto(b"5", leg.server_side)
        await until_true(lambda: relay.lost == 1, "one is lost")
        relay.weather = CALM
        server_side.sendto(b"6", leg.server_side)
        await until_true(lambda: phone.got[2:] == [b"6"], "the next one passes")
    finally:
        relay.close()
    assert relay.passed == 6
