"""Who is there and who is called: probing, spreading, coming and going."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.rpc.serving import TOKEN, hello, peers_of, served
from tests.wait import until_true
from vedette.rpc import client as rpc_client
from vedette.rpc.client import FAILURES_UNTIL_GONE, STARTS, NotDoneError, Peer, Peers
from vedette.rpc.contract import HELLO
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import listen
from vedette.rpc.token import RpcToken


def fabricated(count: int) -> Peers:
    """Peers that are all ready, of whom nobody needs to exist."""
    peers = Peers(Discovery(""), token=TOKEN, who=hello)
    for number in range(count):
        peer = Peer(f"192.0.2.{number}:1")
        peer.hello = hello(f"instance-{number}")
        peers._peers[peer.address] = peer
    return peers


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_choose_spreads_evenly_over_equals(count: int) -> None:
    peers = fabricated(count)
    chosen = Counter(peer.address for _ in range(count * 10) if (peer := peers.choose()))
    assert set(chosen.values()) == {10}
    assert len(chosen) == count


def test_choose_takes_the_one_with_the_least_calls_in_flight() -> None:
    peers = fabricated(3)
    busy, busier, idle = peers.known()
    busy.in_flight, busier.in_flight = 1, 2
    assert {id(peers.choose()) for _ in range(6)} == {id(idle)}
    idle.in_flight = 3
    assert {id(peers.choose()) for _ in range(6)} == {id(busy)}


def test_choose_fills_one_and_then_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_client, "TURN", 1e9)
    peers = fabricated(3)
    first, second, third = peers.known()
    expected = [first, first, second, second, third, third, first]
    for peer in expected:
        assert peers.choose(fill=2) is peer
        peer.in_flight += 1
    assert peers.choose(fill=2) is second, "all have enough: the one with the least"
    third.in_flight = 0
    assert peers.choose(fill=2) is third
    assert peers.choose({third.address}, fill=2) is second


def test_choose_fills_another_one_first_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = fabricated(3)
    chosen = []
    for seconds in (1000.0, 1000.9, 1001.0, 1002.5, 1003.0):
        monkeypatch.setattr(time, "monotonic", lambda seconds=seconds: seconds)
        chosen.append(peers.choose(fill=2))
    first, second, third = (chosen[index] for index in (0, 2, 3))
    assert chosen == [first, first, second, third, first]
    assert {first, second, third} == set(peers.known())


def test_choose_leaves_out_who_is_excluded_or_not_ready() -> None:
    peers = fabricated(4)
    first, failing, unready, silent = peers.known()
    failing.failures = 1
    unready.hello = hello("u", ready=False)
    silent.hello = None
    assert {id(peers.choose()) for _ in range(5)} == {id(first)}
    assert peers.choose({first.address}) is None
    assert peers.choose({failing.address}) is first
    assert fabricated(0).choose() is None


async def test_a_probe_learns_who_is_ready_and_says_who_we_are() -> None:
    async with (
        served(me=hello("one")) as one,
        served(me=hello("two", ready=False)) as two,
        peers_of(one.address, two.address) as peers,
    ):
        assert peers.ready() == peers.known() == []
        await peers.probe()
        assert [peer.address for peer in peers.ready()] == [one.address]
        assert {peer.address for peer in peers.known()} == {one.address, two.address}
        assert one.heard == two.heard == [hello("caller", address="127.0.0.1:1")]
        found = peers.by_instance("two")
        assert found is not None
        assert found.address == two.address
        assert peers.by_instance("three") is None
        two.me = hello("two")
        await peers.probe()
        assert len(peers.ready()) == 2


async def test_changes_are_told_once_and_only_changes() -> None:
    changes: list[int] = []
    async with served() as here, peers_of(here.address) as peers:
        peers._on_change = lambda: changes.append(len(peers.ready()))
        await peers.probe()
        await peers.probe()
        assert changes == [1]
        here.me = msgspec.structs.replace(here.me, ready=False)
        await peers.probe()
        await peers.probe()
        assert changes == [1, 0]


async def test_a_peer_that_stops_answering_is_not_ready_at_once_and_forgotten_after_a_while() -> None:
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(peers_of(""))
        async with served() as here:
            peers._discovery = Discovery(here.address)
            await peers.probe()
            assert len(peers.ready()) == 1
        for failures in range(1, FAILURES_UNTIL_GONE):
            await peers.probe()
            assert peers.ready() == []
            found = peers.by_instance("served")
            assert found is not None
            assert found.failures == failures
        await peers.probe()
        assert peers.by_instance("served") is None
        assert len(peers.known()) == 1


async def test_another_instance_at_the_same_address_is_known_as_that() -> None:
    async with served(me=hello("old")) as here, peers_of(here.address) as peers:
        await peers.probe()
        here.me = hello("new")
        await peers.probe()
        assert peers.by_instance("old") is None
        assert peers.by_instance("new") is not None


async def test_who_leaves_discovery_is_forgotten_once_no_call_is_under_way(tmp_path: Path) -> None:
    path = tmp_path / "peers"
    async with served() as here, peers_of(f"@{path}") as peers:
        path.write_text(f"{here.address}\n")
        await peers.probe()
        [peer] = peers.ready()
        path.write_text("")
        peer.in_flight = 1
        await peers.probe()
        assert peers.known() == [peer]
        peer.in_flight = 0
        await peers.probe()
        assert peers.known() == []


async def test_a_peer_with_another_token_is_never_ready() -> None:
    async with served(token=RpcToken("other" * 8)) as here, peers_of(here.address) as peers:
        await peers.probe()
        assert peers.ready() == []
        assert here.heard == []


async def test_who_is_gone_is_told_from_who_only_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(me=hello("one")) as one, peers_of("") as peers:
        assert not await peers.is_gone(Peer(one.address), "one")
        assert await peers.is_gone(Peer(one.address), "before")
        address = one.address
    async with peers_of("") as peers:
        assert await peers.is_gone(Peer(address), "one")
        assert not await peers.is_gone(Peer("no such address"), "one")
    monkeypatch.setattr(rpc_client, "PROBE_TIMEOUT", 0.1)
    with listen("127.0.0.1", 0) as deaf:
        async with peers_of("") as peers:
            assert not await peers.is_gone(Peer(f"127.0.0.1:{deaf.getsockname()[1]}"), "one")


async def test_a_call_that_nobody_took_makes_us_look_who_is_there_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc_client, "PROBE_INTERVAL", 1000.0)
    async with served(me=hello("one")) as one, peers_of(one.address) as peers:
        watching = asyncio.create_task(peers.watch())
        await until_true(lambda: len(peers.ready()) == 1, "it is found")
        asked = len(one.heard)
        with pytest.raises(NotDoneError):
            await peers.call(peers.known()[0], HELLO, b"", timeout=5, instance="another")
        await until_true(lambda: len(one.heard) > asked and peers.ready(), "it is asked again")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def test_the_uptime_of_a_peer_at_a_moment_is_the_most_that_its_hellos_prove() -> None:
    peer = Peer("192.0.2.1:8072")
    assert peer.uptime_at("a", time.monotonic()) is None
    begun = time.monotonic()
    for uptime in (5.0, 9.0, 7.0):
        peer.heard(replace(hello("a"), uptime=uptime))
    known = peer.uptime_at("a", begun)
    assert known is not None
    assert 9.0 - (time.monotonic() - begun) <= known <= 9.0
    assert peer.uptime_at("b", begun) is None
    for _ in range(STARTS):
        peer.heard(replace(hello("b"), uptime=1.0))
    assert peer.uptime_at("a", begun) is None, "another instance is at that address now"
