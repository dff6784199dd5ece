"""From a name to addresses, asked of a real name server on loopback (RFC 3263 section 4; row TRN-23)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from sip_edge.adapters import dns as adapter
from sip_edge.adapters.dns import Dns
from sip_edge.domain.next_hop import Destination
from sip_edge.flows.locating import Locator, UndecidedError
from tests.name_server import NameServer, name_server

HOST = "p.example.com"
BY_NAME = Destination("udp", HOST, 5060, finds_port=True, finds_transport=True)


@pytest.fixture(autouse=True)
def _slow_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name server is in this process: where that stands still, nothing is asked twice or given up."""
    for name in ("TRY", "LIFETIME"):
        monkeypatch.setattr(adapter, name, 20.0)


class Asking:
    """A locator, the server that it asks, and what the system knows besides."""

    def __init__(self, server: NameServer, transports: tuple[str, ...], *, ipv6: bool) -> None:
        self.server = server
        self.system: dict[str, str] = {}
        self.dns = Dns([server.endpoint], [self._system])
        self.locator = Locator(
            self.dns, reaches=lambda transport, host: transport in transports and (ipv6 or ":" not in host)
        )

    async def _system(self, name: str) -> str | None:
        return self.system.get(name)

    async def locate(self, destination: Destination = BY_NAME, *, prefer_ipv6: bool = False) -> list[Destination]:
        return await self.locator.locate(destination, prefer_ipv6=prefer_ipv6)

    async def found(self, destination: Destination = BY_NAME, *, prefer_ipv6: bool = False) -> list[str]:
        """`udp 192.0.2.1:5060` for each address."""
        return [f"{d.transport} {d.host}:{d.port}" for d in await self.locate(destination, prefer_ipv6=prefer_ipv6)]


@asynccontextmanager
async def asking(*transports: str, ipv6: bool = True) -> AsyncIterator[Asking]:
    async with name_server() as server:
        one = Asking(server, transports or ("udp", "tcp", "tls"), ipv6=ipv6)
        yield one
        await one.dns.close()


def whole_zone(server: NameServer) -> None:
    server.put(
        HOST,
        "NAPTR",
        '20 10 "s" "SIP+D2T" "" _sip._tcp.p.example.com.',
        '30 10 "s" "SIP+D2U" "" _sip._udp.p.example.com.',
        '10 10 "s" "SIPS+D2T" "" _sips._tcp.p.example.com.',
    )
    server.put("_sips._tcp.p.example.com", "SRV", "10 0 5071 tls.p.example.com.")
    server.put("_sip._tcp.p.example.com", "SRV", "10 0 5070 a.p.example.com.", "20 0 5070 b.p.example.com.")
    server.put("_sip._udp.p.example.com", "SRV", "10 0 5072 a.p.example.com.")
    server.put("tls.p.example.com", "A", "192.0.2.3")
    server.put("a.p.example.com", "A", "192.0.2.1")
    server.put("b.p.example.com", "A", "192.0.2.2")
    server.put("b.p.example.com", "AAAA", "2001:db8::2")
    server.put(HOST, "A", "192.0.2.9")


async def test_trn_23_naptr_names_the_transport_srv_the_servers_and_a_their_addresses() -> None:
    async with asking() as one:
        whole_zone(one.server)
        assert await one.found() == ["tls 192.0.2.3:5071"]
        assert [target.name for target in await one.locate()] == [HOST]


async def test_trn_23_what_we_do_not_speak_is_passed_over_and_priorities_give_the_order() -> None:
    async with asking("udp", "tcp") as one:
        whole_zone(one.server)
        one.server.forget("_sips._tcp.p.example.com")
        assert await one.found() == ["tcp 192.0.2.1:5070", "tcp 192.0.2.2:5070", "tcp 2001:db8::2:5070"]


async def test_trn_23_a_transport_in_the_uri_leaves_the_choice_of_servers() -> None:
    async with asking() as one:
        whole_zone(one.server)
        assert await one.found(Destination("udp", HOST, 5060, finds_port=True)) == ["udp 192.0.2.1:5072"]
        assert one.server.asked[HOST, "NAPTR"] == 0


async def test_trn_23_an_explicit_port_skips_srv() -> None:
    async with asking() as one:
        whole_zone(one.server)
        assert await one.found(Destination("udp", HOST, 5099)) == ["udp 192.0.2.9:5099"]
        assert {kind for _, kind in one.server.asked} == {"A", "AAAA"}


async def test_trn_23_without_naptr_srv_is_asked_for_the_watchers_transport_first() -> None:
    async with asking() as one:
        whole_zone(one.server)
        del one.server.records[next(key for key in one.server.records if key[1].name == "NAPTR")]
        assert await one.found() == ["udp 192.0.2.1:5072"]
        tcp = Destination("tcp", HOST, 5060, finds_port=True, finds_transport=True)
        assert (await one.found(tcp))[0] == "tcp 192.0.2.1:5070"


async def test_trn_23_without_srv_the_host_itself_is_the_server() -> None:
    async with asking() as one:
        one.server.put(HOST, "A", "192.0.2.9")
        assert await one.found() == ["udp 192.0.2.9:5060"]


async def test_trn_24_a_sips_name_is_only_ever_reached_by_tls() -> None:
    sips = Destination("tls", HOST, 5061, finds_port=True, finds_transport=True)
    async with asking() as one:
        whole_zone(one.server)
        assert await one.found(sips) == ["tls 192.0.2.3:5071"]
    async with asking() as one:
        whole_zone(one.server)
        one.server.forget("_sips._tcp.p.example.com")
        assert await one.found(sips) == ["tls 192.0.2.9:5061"]


async def test_trn_25_addresses_of_the_watchers_ip_version_come_first_and_unreachable_ones_not_at_all() -> None:
    for ipv6 in (True, False):
        async with asking(ipv6=ipv6) as one:
            one.server.put(HOST, "A", "192.0.2.9")
            one.server.put(HOST, "AAAA", "2001:db8::9")
            both = ["udp 192.0.2.9:5060", "udp 2001:db8::9:5060"]
            assert await one.found() == both[: 1 + ipv6]
            assert await one.found(prefer_ipv6=True) == (both[::-1] if ipv6 else both[:1])


async def test_trn_23_an_alias_is_followed() -> None:
    async with asking() as one:
        one.server.put(HOST, "CNAME", "other.example.net.")
        one.server.put("other.example.net", "A", "192.0.2.5")
        assert await one.found() == ["udp 192.0.2.5:5060"]


async def test_a_name_that_nobody_has_has_no_address_and_is_not_asked_for_again() -> None:
    async with asking() as one:
        for name in (HOST, "a..b", "x" * 64 + ".example", "ü.example.com", ".", "-"):
            assert await one.found(Destination("udp", name, 5060, finds_port=True, finds_transport=True)) == []
        before = dict(one.server.asked)
        assert await one.found() == []
        assert dict(one.server.asked) == before


async def test_what_name_servers_do_not_know_the_system_may() -> None:
    async with asking() as one:
        one.system["proxy"] = "192.0.2.7"
        assert await one.found(Destination("udp", "proxy", 5060)) == ["udp 192.0.2.7:5060"]


async def test_trn_23_answers_are_kept_for_their_time() -> None:
    async with asking() as one:
        one.server.put(HOST, "A", "192.0.2.9", ttl=2)
        asked = time.monotonic()
        destination = Destination("udp", HOST, 5060)
        for _ in range(3):
            assert await one.found(destination) == ["udp 192.0.2.9:5060"]
        if time.monotonic() - asked < 1.5:
            assert one.server.asked[HOST, "A"] == 1
        one.server.put(HOST, "A", "192.0.2.10", ttl=2)
        async with asyncio.timeout(15):
            while await one.found(destination) != ["udp 192.0.2.10:5060"]:
                await asyncio.sleep(0.05)
        assert time.monotonic() - asked >= 1.0


async def test_questions_at_the_same_time_are_one() -> None:
    async with asking() as one:
        one.server.put(HOST, "A", "192.0.2.9")
        answers = await asyncio.gather(*(one.found() for _ in range(50)))
        assert answers == [["udp 192.0.2.9:5060"]] * 50
        assert set(one.server.asked.values()) == {1}


async def test_an_old_answer_is_better_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "FAILURE_TTL", 0.1)
    monkeypatch.setattr(adapter, "MIN_TTL", 0.1)
    async with asking() as one:
        one.server.put(HOST, "A", "192.0.2.9", ttl=0)
        destination = Destination("udp", HOST, 5060)
        assert await one.found(destination) == ["udp 192.0.2.9:5060"]
        one.server.fails = True
        one.dns._resolver.lifetime = 0.5
        asked = one.server.asked[HOST, "A"]
        while one.server.asked[HOST, "A"] == asked:
            assert await one.found(destination) == ["udp 192.0.2.9:5060"]
            await asyncio.sleep(0.02)
        assert await one.found(destination) == ["udp 192.0.2.9:5060"]


@pytest.mark.parametrize("way", ["is_silent", "fails"])
async def test_name_servers_that_do_not_answer_leave_it_undecided(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "LIFETIME", 0.3)
    async with asking() as one:
        setattr(one.server, way, True)
        with pytest.raises(UndecidedError):
            await one.found()
        asked = sum(one.server.asked.values())
        with pytest.raises(UndecidedError):
            await one.found()
        assert sum(one.server.asked.values()) == asked, "for a moment nobody asks again"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_it_works_on_the_loop_of_the_services(run: Callable[[Any], None]) -> None:
    async def ask() -> None:
        async with asking() as one:
            whole_zone(one.server)
            assert await one.found() == ["tls 192.0.2.3:5071"]

    run(ask())
