"""Names of next hops (A and AAAA), looked up without stopping the loop and kept for a while."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable

TTL = 30.0
NEGATIVE_TTL = 5.0
MAX_NAMES = 10_000
LOOKUP_TIMEOUT = 5.0
"""Seconds after which a name counts as one without an address."""
MAX_UNDER_WAY = 1024
"""Names that are being looked up or wait for it; more are answered with None at once."""
MAX_THREADS = 32

LookUp = Callable[[str, socket.AddressFamily], str]


def look_up(host: str, family: socket.AddressFamily) -> str:
    """The first address of a host, from the system's resolver; blocks. Raises OSError or ValueError."""
    return str(socket.getaddrinfo(host, None, family=family, type=socket.SOCK_DGRAM)[0][4][0])


class Resolver:
    """`resolve` a host name to an address of the family that our sockets have.

    The system's resolver cannot be interrupted, so each lookup has a thread of its own, which is given up after
    LOOKUP_TIMEOUT and does not hold up the end of the process.
    """

    def __init__(self, family: socket.AddressFamily, *, look_up: LookUp = look_up) -> None:
        """`look_up` is called in a thread."""
        self._family = family
        self._look_up = look_up
        self._known: dict[str, tuple[float, str | None]] = {}
        self._under_way: dict[str, asyncio.Task[str | None]] = {}
        self._threads = asyncio.Semaphore(MAX_THREADS)

    async def resolve(self, host: str) -> str | None:
        """An address of the host; None where it has none, or none was found out in time."""
        known = self._known.get(host)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        lookup = self._under_way.get(host)
        if lookup is None:
            if len(self._under_way) >= MAX_UNDER_WAY:
                return None
            lookup = self._under_way[host] = asyncio.create_task(self._find(host))
        return await asyncio.shield(lookup)

    async def _find(self, host: str) -> str | None:
        address: str | None = None
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                await self._threads.acquire()
                address = await asyncio.shield(self._ask(host))
        except (TimeoutError, OSError, ValueError):
            pass
        finally:
            del self._under_way[host]
        self._known.pop(host, None)
        if len(self._known) >= MAX_NAMES:
            del self._known[next(iter(self._known))]
        self._known[host] = (time.monotonic() + (TTL if address else NEGATIVE_TTL), address)
        return address

    def _ask(self, host: str) -> asyncio.Future[str]:
        """The lookup in a thread, whose place is free again when the thread ends."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def ended(address: str, error: Exception | None) -> None:
            self._threads.release()
            if error is None:
                answer.set_result(address)
            else:
                answer.set_exception(error)
                answer.exception()  # nobody may be waiting any more

        def run() -> None:
            address, error = "", None
            try:
                address = self._look_up(host, self._family)
            except Exception as caught:  # noqa: BLE001 - raised again where it is waited for
                error = caught
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended, address, error)

        threading.Thread(target=run, name="lookup", daemon=True).start()
        return answer
