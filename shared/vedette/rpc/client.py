"""Calling the replicas of another service: who is ready, spread, one answer or a clear failure."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

import msgspec

from vedette.rpc.contract import DEADLINE_HEADER, HELLO, INSTANCE_HEADER, MAX_BODY, UNREADABLE, Hello
from vedette.rpc.discovery import Discovery
from vedette.rpc.http_client import BrokenOffError, HttpClient, NotConnectedError
from vedette.rpc.token import RpcToken

PROBE_INTERVAL = 1.0
SHORTEST_PROBE_INTERVAL = 0.1
PROBE_TIMEOUT = 1.0
FAILURES_UNTIL_GONE = 3
STARTS = 10
TURN = 1.0
"""Seconds for which the same peer is filled first: one that is slow is not the first for ever."""


class NotDoneError(Exception):
    """The call surely had no effect: nobody was reachable, or nobody took it."""


class TooLargeError(NotDoneError):
    """The call is longer than a call may be: no peer takes it, a part of it may be taken."""


class OutcomeUnknownError(Exception):
    """The call was sent and no answer came: it may have had its effect."""


class Peer:
    """One process of the other service, as far as we know it."""

    __slots__ = ("address", "failures", "hello", "in_flight", "last_seen", "starts")

    def __init__(self, address: str) -> None:
        self.address = address
        self.hello: Hello | None = None
        self.failures = 0
        self.in_flight = 0
        self.last_seen = 0.0
        self.starts: deque[tuple[str, float]] = deque(maxlen=STARTS)
        """For the last hellos the instance, and when at the latest it started, on our monotonic clock."""

    def heard(self, hello: Hello) -> None:
        """It said hello, just now or a moment ago."""
        self.hello = hello
        self.last_seen = time.monotonic()
        self.starts.append((hello.instance, self.last_seen - hello.uptime))

    def uptime_at(self, instance: str, moment: float) -> float | None:
        """The least that the uptime of this instance can have been at a moment of our monotonic clock.

        It errs by no more than the fastest of the last hellos took. None where it has not said hello.
        """
        starts = [start for name, start in self.starts if name == instance]
        return moment - min(starts) if starts else None

    @property
    def ready(self) -> bool:
        """Whether it answered the last probe and says that it works."""
        return self.hello is not None and self.hello.ready and self.failures == 0


class Peers:
    """The replicas of one service. Run `watch()` as a task; calls may be made as soon as one peer is ready."""

    def __init__(
        self,
        discovery: Discovery,
        *,
        token: RpcToken,
        who: Callable[[], Hello],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is called when peers came, went or changed their readiness."""
        self._discovery = discovery
        self._who = who
        self._on_change = on_change
        self._peers: dict[str, Peer] = {}
        self._turn = 0
        self._look = asyncio.Event()
        self._http = HttpClient({"Authorization": f"Bearer {token.current}", "Content-Type": "application/x-msgpack"})
        self._encode = msgspec.msgpack.Encoder().encode
        self._read_hello = msgspec.msgpack.Decoder(Hello).decode

    # who is there

    def ready(self) -> list[Peer]:
        """The peers that may be called."""
        return [peer for peer in self._peers.values() if peer.ready]

    def known(self) -> list[Peer]:
        """All peers that discovery names."""
        return list(self._peers.values())

    def by_instance(self, instance: str) -> Peer | None:
        """The peer with that instance id, None where nobody has it (any more)."""
        for peer in self._peers.values():
            if peer.hello is not None and peer.hello.instance == instance:
                return peer
        return None

    async def watch(self) -> None:
        """Keep the list of peers and their readiness up to date, for ever: look at once when one took no call."""
        while True:
            await self.probe()
            await asyncio.sleep(SHORTEST_PROBE_INTERVAL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL - SHORTEST_PROBE_INTERVAL):
                    await self._look.wait()
            self._look.clear()

    async def probe(self) -> None:
        """Ask discovery, then every peer, once."""
        before = {peer.address for peer in self.ready()}
        addresses = await self._discovery.addresses()
        for address in addresses - self._peers.keys():
            self._peers[address] = Peer(address)
        for address in self._peers.keys() - addresses:
            if self._peers[address].in_flight == 0:
                del self._peers[address]
                self._http.forget(address)
        await asyncio.gather(*(self._hello(peer) for peer in list(self._peers.values())))
        if {peer.address for peer in self.ready()} != before:
            self._on_change()

    async def _hello(self, peer: Peer) -> None:
        try:
            peer.heard(await self.ask(peer))
        except (NotDoneError, OutcomeUnknownError):
            peer.failures += 1
            if peer.failures >= FAILURES_UNTIL_GONE:
                peer.hello = None
            return
        peer.failures = 0

    async def ask(self, peer: Peer) -> Hello:
        """Who answers at the peer's address. Raises NotDoneError or OutcomeUnknownError."""
        answer = await self._post(peer, HELLO, self._encode(self._who()), timeout=PROBE_TIMEOUT)
        try:
            return self._read_hello(answer)
        except UNREADABLE as error:
            raise OutcomeUnknownError(f"{peer.address}: {type(error).__name__}") from error

    async def is_gone(self, peer: Peer, instance: str) -> bool:
        """Whether that instance surely is not at the address any more: another one answers, or nobody listens.

        An address that cannot be reached, or that does not answer in time, proves nothing.
        """
        try:
            return (await self.ask(peer)).instance != instance
        except NotDoneError as error:
            return isinstance(error.__cause__, ConnectionRefusedError)
        except OutcomeUnknownError:
            return False

    # calling

    def choose(self, exclude: set[str] | None = None, *, fill: int = 0) -> Peer | None:
        """The ready peer with the least calls in flight, turn by turn among equals; None where none is ready.

        With `fill` it is the same one for a second, and the next one where that has so many calls in flight.
        """
        candidates = [peer for peer in self.ready() if not exclude or peer.address not in exclude]
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        self._turn += 1
        start = (int(time.monotonic() / TURN) if fill else self._turn) % len(candidates)
        in_turn = candidates[start:] + candidates[:start]
        for peer in in_turn:
            if peer.in_flight < fill:
                return peer
        return min(in_turn, key=lambda peer: peer.in_flight)

    async def call(self, peer: Peer, path: str, body: bytes, *, timeout: float, instance: str | None = None) -> bytes:
        """The answer of one peer.

        Raises TooLargeError where the body is too long, NotDoneError where it surely did nothing (refused the
        connection, was not ready, was not the `instance` that was meant) and OutcomeUnknownError where nobody can
        tell.
        """
        if len(body) > MAX_BODY:
            raise TooLargeError(f"{len(body)} octets are more than a call may have")
        peer.in_flight += 1
        try:
            return await self._post(peer, path, body, timeout=timeout, instance=instance)
        except TooLargeError:
            raise
        except NotDoneError:
            if peer.failures == 0:
                peer.failures = 1
                self._on_change()
            self._look.set()
            raise
        finally:
            peer.in_flight -= 1

    async def _post(
        self, peer: Peer, path: str, body: bytes, *, timeout: float, instance: str | None = None
    ) -> bytes:
        headers = {DEADLINE_HEADER: str(int(timeout * 1000))}
        if instance is not None:
            headers[INSTANCE_HEADER] = instance
        try:
            status, answer = await self._http.post(peer.address, path, body, timeout=timeout, headers=headers)
        except NotConnectedError as error:
            raise NotDoneError(f"{peer.address}: {type(error.__cause__).__name__}") from error.__cause__
        except BrokenOffError as error:
            raise OutcomeUnknownError(f"{peer.address}: {error}") from error
        if status == 200:
            return answer
        if status == 413:
            raise TooLargeError(f"{peer.address} answered 413")
        if status in {400, 401, 409, 503}:
            raise NotDoneError(f"{peer.address} answered {status}")
        raise OutcomeUnknownError(f"{peer.address} answered {status}")

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()
