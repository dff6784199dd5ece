"""An authoritative name server on loopback, for one test's zones."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """Answers from `records`; counts the questions; may be told to fail or to say nothing."""

    def __init__(self) -> None:
        self.records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.is_silent = False
        self.to_lose = 0
        """Questions that are yet to be lost on their way."""
        self.fails = False
        self.transport: asyncio.DatagramTransport | None = None

    def put(self, name: str, kind: str, *values: str, ttl: int = 60) -> None:
        """Let a name have these records of a kind, and no others."""
        rrset = dns.rrset.from_text(dns.name.from_text(name), ttl, dns.rdataclass.IN, kind, *values)
        self.records[rrset.name, rrset.rdtype] = rrset

    def forget(self, name: str) -> None:
        """Let a name have no records."""
        wanted = dns.name.from_text(name)
        self.records = {key: rrset for key, rrset in self.records.items() if key[0] != wanted}

    @property
    def address(self) -> str:
        """host:port."""
        host, port = self.endpoint
        return f"{host}:{port}"

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port."""
        assert self.transport is not None
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Called by asyncio."""
        if self.to_lose:
            self.to_lose -= 1
            return
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return
        [question] = query.question
        self.asked[question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)] += 1
        if self.is_silent or self.transport is None:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        if self.fails:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            self._answer(response, question.name, question.rdtype)
        self.transport.sendto(response.to_wire(), addr)

    def _answer(self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        alias = self.records.get((name, dns.rdatatype.CNAME))
        if alias is not None and kind != dns.rdatatype.CNAME:
            response.answer.append(alias)
            self._answer(response, alias[0].target, kind)
            return
        rrset = self.records.get((name, kind))
        if rrset is not None:
            response.answer.append(rrset)
        elif not any(known == name or known.is_subdomain(name) for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)


@contextlib.asynccontextmanager
async def name_server(port: int = 0) -> AsyncIterator[NameServer]:
    """A server on this port, or on any that is free."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", port))
    try:
        yield server
    finally:
        transport.close()
