"""NAPTR, SRV, A and AAAA records, kept for as long as they say."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from sip_edge.domain.server_selection import Naptr, Srv
from sip_edge.flows.locating import UndecidedError

LIFETIME = 5.0
"""Seconds for one question, over all servers that are asked."""
TRY = 1.5
"""Seconds until the next server is asked."""
MIN_TTL, MAX_TTL = 1.0, 3600.0
NEGATIVE_TTL = 30.0
FAILURE_TTL = 5.0
STALE = 3600.0
"""Seconds for which an answer is used beyond its time while nobody gives a new one (RFC 8767)."""
MAX_ANSWERS = 20_000
MAX_UNDER_WAY = 1024

Question = tuple[str, str]


class Dns:
    """Asks the name servers of the system, or others; what those do not know the system may (/etc/hosts)."""

    def __init__(
        self, servers: Sequence[tuple[str, int]], system: Sequence[Callable[[str], Awaitable[str | None]]]
    ) -> None:
        """`servers`: address and port of each, none: those of /etc/resolv.conf; `system`: lookups of its own."""
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not servers)
        except dns.resolver.NoResolverConfiguration:
            self._resolver = dns.asyncresolver.Resolver(configure=False)
        if servers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in servers]
        self._resolver.timeout = TRY
        self._resolver.lifetime = LIFETIME
        self._system = system
        self._known: dict[Question, tuple[float, list[Any]]] = {}
        self._failed: dict[Question, float] = {}
        self._under_way: dict[Question, asyncio.Task[list[Any]]] = {}

    async def naptr(self, name: str) -> list[Naptr]:
        """The services of a domain."""
        return [
            Naptr(
                record.order,
                record.preference,
                record.flags.decode("ascii", "replace"),
                record.service.decode("ascii", "replace"),
                record.replacement.to_text(omit_final_dot=True),
            )
            for record in await self._ask(name, "NAPTR")
        ]

    async def srv(self, name: str) -> list[Srv]:
        """The servers of a service."""
        return [
            Srv(record.priority, record.weight, record.port, record.target.to_text())
            for record in await self._ask(name, "SRV")
        ]

    async def addresses(self, name: str) -> list[str]:
        """The addresses of a host, from the name servers or else from the system."""
        answers = await asyncio.gather(self._ask(name, "A"), self._ask(name, "AAAA"), return_exceptions=True)
        found = [record.address for answer in answers if isinstance(answer, list) for record in answer]
        if not found:
            found = [address for look_up in self._system if (address := await look_up(name)) is not None]
        if not found:
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        return found

    async def _ask(self, name: str, kind: str) -> list[Any]:
        question = (name.lower().rstrip("."), kind)
        now = time.monotonic()
        known = self._known.get(question)
        if known is not None and known[0] > now:
            return known[1]
        if self._failed.get(question, 0.0) > now:
            return self._stale(question, now)
        task = self._under_way.get(question)
        if task is None:
            if len(self._under_way) >= MAX_UNDER_WAY:
                raise UndecidedError("too many lookups are under way")
            task = self._under_way[question] = asyncio.create_task(self._look_up(question))
        return await asyncio.shield(task)

    def _stale(self, question: Question, now: float) -> list[Any]:
        known = self._known.get(question)
        if known is not None and known[0] + STALE > now and known[1]:
            return known[1]
        raise UndecidedError(f"no answer about {question[0]} ({question[1]})")

    async def _look_up(self, question: Question) -> list[Any]:
        try:
            records, ttl = await self._fetch(question)
        except (dns.exception.DNSException, OSError, ValueError):
            now = time.monotonic()
            _put(self._failed, question, now + FAILURE_TTL)
            return self._stale(question, now)
        finally:
            del self._under_way[question]
        self._failed.pop(question, None)
        _put(self._known, question, (time.monotonic() + ttl, records))
        return records

    async def _fetch(self, question: Question) -> tuple[list[Any], float]:
        """The records and how long they are good for."""
        name, kind = question
        try:
            asked = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return [], NEGATIVE_TTL  # no name at all
        try:
            answer = await self._resolver.resolve(asked, kind, raise_on_no_answer=False, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.YXDOMAIN):
            return [], NEGATIVE_TTL
        if answer.rrset is None:
            return [], NEGATIVE_TTL
        return list(answer.rrset), min(max(answer.expiration - time.time(), MIN_TTL), MAX_TTL)

    async def close(self) -> None:
        """Give up what is being looked up."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _put(cache: dict[Question, Any], question: Question, value: Any) -> None:
    """Keep it as the newest, the oldest is forgotten where there are too many."""
    cache.pop(question, None)
    if len(cache) >= MAX_ANSWERS:
        del cache[next(iter(cache))]
    cache[question] = value
