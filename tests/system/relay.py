"""A network between phones and a set that loses, doubles, swaps and delays datagrams, all from one seed.

A phone sends to its own leg of the relay, and names the leg's other side in its Contact; so requests, responses and
NOTIFYs pass, both ways. What becomes of a datagram depends on the seed, the phone and how many went before it.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

Address = tuple[str, int]

HELD_BACK = 0.1
"""Seconds at most until a datagram follows that the next one was to overtake."""


@dataclass(frozen=True)
class Weather:
    """How likely it is for each datagram, from 0 to 1, that something happens to it; `delay` in seconds, at most."""

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    delay: float = 0.0


CALM = Weather()


@dataclass(frozen=True)
class Fate:
    """What becomes of one datagram."""

    copies: tuple[float, ...]
    """Seconds after which each copy leaves; none where it is lost."""
    held_back: bool
    """Whether the next datagram the same way goes before it."""


def decide(weather: Weather, chance: random.Random) -> Fate:
    """The fate of the next datagram; the same numbers are drawn in any weather, so that a seed stays comparable."""
    lost, doubled, held, first, second = (chance.random() for _ in range(5))
    if lost < weather.loss:
        return Fate((), held_back=False)
    copies: tuple[float, ...] = (first * weather.delay,)
    if doubled < weather.duplication:
        copies += (second * weather.delay,)
    return Fate(copies, held < weather.reordering)


class Relay:
    """All legs; `weather` may change while they are in use."""

    def __init__(self, server: Address, seed: int, weather: Weather = CALM) -> None:
        self.weather = weather
        self.passed = 0
        self.lost = 0
        self.doubled = 0
        self.held_back = 0
        """Datagrams to which that happened."""
        self._server = server
        self._seed = seed
        self._legs: list[Leg] = []

    async def leg(self, name: str) -> "Leg":
        """A leg for the phone with that name."""
        leg = await Leg(self, self._server, random.Random(f"{self._seed} {name}")).open()
        self._legs.append(leg)
        return leg

    def fate(self, chance: random.Random) -> Fate:
        """The fate of one datagram, counted."""
        fate = decide(self.weather, chance)
        self.passed += 1
        self.lost += not fate.copies
        self.doubled += len(fate.copies) > 1
        self.held_back += fate.held_back
        return fate

    def close(self) -> None:
        """Close all legs."""
        for leg in self._legs:
            leg.close()


class Leg:
    """One phone's way: `phone_side` is where the phone sends, `server_side` is what the server sees."""

    def __init__(self, relay: Relay, server: Address, chance: random.Random) -> None:
        self.phone_side: Address = ("", 0)
        self.server_side: Address = ("", 0)
        self._phone: Address | None = None
        self._near = _Side(relay, chance, self._to_server)
        self._far = _Side(relay, chance, self._to_phone)
        self._server = server

    async def open(self) -> Self:
        """Bind both sides."""
        self.phone_side = await self._near.open(self._learn)
        self.server_side = await self._far.open(lambda _: None)
        return self

    def _learn(self, phone: Address) -> None:
        self._phone = phone

    def _to_server(self, data: bytes) -> None:
        self._far.send(data, self._server)

    def _to_phone(self, data: bytes) -> None:
        if self._phone is not None:
            self._near.send(data, self._phone)

    def close(self) -> None:
        """Close both sides; what was delayed is lost."""
        self._near.close()
        self._far.close()


class _Side(asyncio.DatagramProtocol):
    """One socket of a leg: what it receives leaves by `forward` when its fate says."""

    def __init__(self, relay: Relay, chance: random.Random, forward: Callable[[bytes], None]) -> None:
        self._relay = relay
        self._chance = chance
        self._forward = forward
        self._heard_from: Callable[[Address], None] = lambda _: None
        self._held: list[bytes] = []
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, heard_from: Callable[[Address], None]) -> Address:
        self._heard_from = heard_from
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return cast("Address", self._transport.get_extra_info("sockname")[:2])

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._heard_from(addr)
        fate = self._relay.fate(self._chance)
        loop = asyncio.get_running_loop()
        if fate.held_back:
            self._held += [data] * len(fate.copies)
            loop.call_later(HELD_BACK, self._let_go)
            return
        for seconds in fate.copies:
            if seconds:
                loop.call_later(seconds, self._forward, data)
            else:
                self._forward(data)
        if fate.copies:
            self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for data in held:
            self._forward(data)

    def send(self, data: bytes, to: Address) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, to)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
