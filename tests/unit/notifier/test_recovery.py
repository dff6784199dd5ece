"""Taking over from the dead, and from nobody alive (invariants 3 and 4; docs/decisions/0005)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from notifier.flows import recovery as recovery_module
from notifier.flows.ports import MissingNotifier
from notifier.flows.recovery import EDGE_PROBES, GRACE, Recovery
from tests.unit.notifier.worlds import Graveyard
from tests.unit.rpc.serving import crooked, hello, http, peers_of, read_request, served
from tests.wait import until_true
from vedette.rpc import client as client_module
from vedette.rpc.client import Peers
from vedette.rpc.contract import HANDOVER_AGE
from vedette.store.database import StoreUnavailableError

NOWHERE = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (
        ("INTERVAL", 0.01),
        ("MARK_SECONDS", 0.05),
        ("LOST_CLAIM_SECONDS", 0.05),
        ("ATTEMPT_PAUSE", 0.001),
    ):
        monkeypatch.setattr(recovery_module, name, seconds)


@dataclass
class Watch:
    """A recovery at work."""

    yard: Graveyard
    recovery: Recovery
    woken: list[bool]
    beats: int = 3

    async def rounds(self, count: int = 3) -> None:
        """Wait until it has looked that many times more."""
        seen = self.yard.rounds
        await until_true(lambda: self.yard.rounds >= seen + count, "it has looked again")


@asynccontextmanager
async def watching(yard: Graveyard, peers: Peers, *, beats: int = 3) -> AsyncIterator[Watch]:
    woken: list[bool] = []
    watch = Watch(
        yard,
        Recovery("me", yard, yard, peers, wake=lambda: woken.append(True), beats=lambda: watch.beats),
        woken,
        beats,
    )
    task = asyncio.create_task(watch.recovery.run())
    try:
        yield watch
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_marks_of_a_dead_notifier_are_given_up_and_it_is_forgotten() -> None:
    yard = Graveyard()
    yard.notifiers = ["dead-1", "dead-2"]
    yard.marks = [1000, 7]
    async with peers_of("") as peers, watching(yard, peers) as watch:
        await until_true(lambda: len(yard.forgotten) == 2, "both are forgotten")
        assert yard.cleared[:3] == [(["dead-1", "dead-2"], GRACE)] * 3
        assert watch.woken == [True]
        await watch.rounds()
    assert yard.forgotten == ["dead-1", "dead-2"]


async def test_claims_of_a_notifier_that_may_only_be_stopped_are_given_up_once_no_edge_takes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "PROBE_TIMEOUT", 0.05)
    silence = asyncio.Event()

    async def treat(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await silence.wait()

    yard = Graveyard()
    async with peers_of("") as peers, crooked(treat) as address:
        yard.missing_notifiers = [MissingNotifier("stopped", address, silent=True)]
        yard.notifiers = ["dead"]
        async with watching(yard, peers):
            await until_true(lambda: set(yard.forgotten) == {"dead", "stopped"}, "both are forgotten")
        silence.set()
    graces = {dead[0]: grace for dead, grace in yard.cleared if dead}
    assert graces == {"dead": GRACE, "stopped": HANDOVER_AGE}


async def test_a_dead_notifier_is_not_forgotten_while_marks_of_it_are_left() -> None:
    yard = Graveyard()
    yard.notifiers = ["dead", "busy"]
    yard.busy = {"busy"}
    async with peers_of("") as peers, watching(yard, peers) as watch:
        await until_true(lambda: yard.forgotten == ["dead"], "the one without marks is forgotten")
        await watch.rounds(20)
        assert yard.forgotten == ["dead"]
        assert yard.cleared[-1] == (["busy"], GRACE)
        yard.marks = [1]
        await until_true(lambda: watch.woken == [True], "what it owed is given up")
        yard.busy = set()
        await until_true(lambda: yard.forgotten == ["dead", "busy"], "the other one is forgotten too")


async def test_marks_whose_time_is_over_are_given_up_though_nobody_is_dead() -> None:
    yard = Graveyard()
    yard.marks = [2]
    async with peers_of("") as peers, watching(yard, peers) as watch:
        await until_true(lambda: watch.woken, "marks are given up")
    assert yard.cleared == [([], GRACE)]
    assert yard.forgotten == []


async def test_nobody_is_buried_before_our_own_heartbeats_reach_postgres() -> None:
    yard = Graveyard()
    yard.notifiers, yard.edges, yard.marks = ["dead"], [("edge-1", NOWHERE)], [1]
    async with served(me=hello("heir")) as heir, peers_of(heir.address) as peers:
        await peers.probe()
        async with watching(yard, peers, beats=2) as watch:
            await peers.probe()
            assert (yard.rounds, yard.cleared, yard.rehomed) == (0, [], [])
            watch.beats = 3
            await until_true(lambda: set(yard.forgotten) == {"dead", "edge-1"}, "both are buried")


async def test_our_own_marks_of_lost_claims_are_given_up_once_they_are_surely_over() -> None:
    yard = Graveyard()
    async with peers_of("") as peers, watching(yard, peers) as watch:
        await watch.rounds()
        assert all(dead == [] for dead, _ in yard.cleared)
        yard.marks = [4]
        watch.recovery.claims_lost()
        await until_true(lambda: watch.woken, "marks are given up")
        ours = [grace for dead, grace in yard.cleared if dead == ["me"]]
        assert set(ours) == {recovery_module.LOST_CLAIM_SECONDS}, "marks made after the loss are looked for, too"
        await until_true(lambda: watch.recovery._lost_at is None, "it is done with")
        count = len(yard.cleared)
        await watch.rounds()
        assert len(yard.cleared) == count
    assert yard.forgotten == []


async def test_the_dialogs_of_an_edge_that_is_gone_go_to_one_that_is_there() -> None:
    yard = Graveyard()
    yard.dialogs = [1000, 5]
    async with served(me=hello("heir", address="192.0.2.9:8072")) as heir, peers_of(heir.address) as peers:
        await peers.probe()
        async with watching(yard, peers) as watch:
            watch.recovery.suspect("edge-1", NOWHERE)
            await until_true(lambda: yard.forgotten == ["edge-1"], "it is buried")
            assert watch.woken
            moved = len(yard.rehomed)
            await watch.rounds()
            assert len(yard.rehomed) == moved
    assert set(yard.rehomed) == {("edge-1", "heir", "192.0.2.9:8072")}


async def test_an_edge_that_no_core_has_heard_of_is_buried_like_a_suspect() -> None:
    yard = Graveyard()
    yard.edges = [("edge-1", NOWHERE)]
    async with served(me=hello("heir")) as heir, peers_of(heir.address) as peers:
        await peers.probe()
        async with watching(yard, peers):
            await until_true(lambda: yard.forgotten == ["edge-1"], "it is buried")
    assert len(yard.rehomed) >= EDGE_PROBES - 1


async def test_an_edge_that_answers_as_itself_is_left_alone() -> None:
    yard = Graveyard()
    async with (
        served(me=hello("edge-1")) as edge,
        served(me=hello("heir")) as heir,
        peers_of(heir.address) as peers,
    ):
        await peers.probe()
        async with watching(yard, peers) as watch:
            watch.recovery.suspect("edge-1", edge.address)
            await watch.rounds(5)
            assert watch.recovery._suspects == {}
            assert edge.heard != []
    assert (yard.rehomed, yard.forgotten) == ([], [])


async def test_an_edge_whose_address_another_instance_has_now_is_gone() -> None:
    yard = Graveyard()
    async with served(me=hello("edge-2")) as other, peers_of(other.address) as peers:
        await peers.probe()
        async with watching(yard, peers) as watch:
            watch.recovery.suspect("edge-1", other.address)
            await until_true(lambda: yard.forgotten == ["edge-1"], "it is buried")
    assert {heir for _, heir, _ in yard.rehomed} == {"edge-2"}


async def test_an_answer_that_nobody_can_read_is_none_and_holds_up_no_other_burial() -> None:
    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(200, b"\xff rubbish", more="Connection: close\r\n"))
        await writer.drain()

    yard = Graveyard()
    async with served(me=hello("heir")) as heir, peers_of(heir.address) as peers, crooked(treat) as address:
        await peers.probe()
        async with watching(yard, peers) as watch:
            watch.recovery.suspect("edge-1", address)
            watch.recovery.suspect("edge-2", NOWHERE)
            await until_true(lambda: set(yard.forgotten) == {"edge-1", "edge-2"}, "both are buried")


async def test_without_an_heir_a_gone_edge_keeps_its_dialogs_until_there_is_one() -> None:
    yard = Graveyard()
    async with served(me=hello("heir")) as heir, peers_of(heir.address) as peers, watching(yard, peers) as watch:
        watch.recovery.suspect("edge-1", NOWHERE)
        await watch.rounds(EDGE_PROBES + 2)
        assert (yard.rehomed, yard.forgotten) == ([], [])
        await peers.probe()
        await until_true(lambda: yard.forgotten == ["edge-1"], "it is buried")
    assert {heir_ for _, heir_, _ in yard.rehomed} == {"heir"}


async def test_nothing_is_known_of_an_edge_without_a_name() -> None:
    yard = Graveyard()
    async with peers_of("") as peers, watching(yard, peers) as watch:
        watch.recovery.suspect("", NOWHERE)
        assert watch.recovery._suspects == {}


async def test_a_store_that_is_away_for_a_moment_stops_nothing() -> None:
    yard = Graveyard()
    yard.fault = StoreUnavailableError("gone")
    yard.notifiers = ["dead"]
    async with peers_of("") as peers, watching(yard, peers):
        await until_true(lambda: yard.forgotten == ["dead"], "it is buried")


async def test_a_notifier_without_its_lock_is_buried_at_once_where_nobody_listens_any_more() -> None:
    yard = Graveyard()
    yard.missing_notifiers = [MissingNotifier("dead", NOWHERE, silent=False)]
    async with peers_of("") as peers, watching(yard, peers):
        await until_true(lambda: yard.forgotten == ["dead"], "it is buried")


async def test_a_notifier_that_has_only_lost_its_lock_is_left_alone_while_it_answers() -> None:
    yard = Graveyard()
    async with served(me=hello("alive")) as alive, peers_of("") as peers, watching(yard, peers) as watch:
        yard.missing_notifiers = [MissingNotifier("alive", alive.address, silent=False)]
        await watch.rounds(5)
        assert yard.forgotten == []
        yard.missing_notifiers = [MissingNotifier("before", alive.address, silent=False)]
        await until_true(lambda: yard.forgotten == ["before"], "whose address another one has is buried")


async def test_a_notifier_that_holds_its_lock_and_is_silent_is_buried_unless_it_answers() -> None:
    yard = Graveyard()
    async with served(me=hello("slow")) as slow, peers_of("") as peers, watching(yard, peers) as watch:
        yard.missing_notifiers = [MissingNotifier("slow", slow.address, silent=True, holds_lock=True)]
        await watch.rounds(5)
        assert yard.forgotten == []
        yard.missing_notifiers = [MissingNotifier("stopped", NOWHERE, silent=True, holds_lock=True)]
        await until_true(lambda: yard.forgotten == ["stopped"], "the one that does not answer is buried")


async def test_a_leaving_edge_gives_up_what_is_quiet_and_when_it_is_gone_all() -> None:
    yard = Graveyard()
    yard.dialogs, yard.left = [3], 2
    async with (
        served(me=hello("leaving")) as leaving,
        served(me=hello("heir", address="192.0.2.9:1")) as heir,
        peers_of(leaving.address, heir.address) as peers,
        watching(yard, peers, beats=0) as watch,
    ):
        await peers.probe()
        assert await watch.recovery.leave("leaving", leaving.address, gone=False) == 2
        assert yard.rehomed == [("leaving", "heir", "192.0.2.9:1")] * 2
        assert yard.gentle == [True, True]
        assert watch.woken == [True]
        assert watch.recovery._suspects == {}
        assert await watch.recovery.leave("leaving", leaving.address, gone=True) == 0
        assert yard.gentle[2:] == [False]
        assert watch.recovery._suspects == {"leaving": leaving.address}


async def test_an_edge_that_has_just_come_inherits_without_having_been_asked_before() -> None:
    yard = Graveyard()
    async with (
        served(me=hello("heir")) as heir,
        peers_of(heir.address) as peers,
        watching(yard, peers, beats=0) as watch,
    ):
        await watch.recovery.leave("leaving", NOWHERE, gone=False)
    assert {heir_ for _, heir_, _ in yard.rehomed} == {"heir"}


async def test_the_last_edge_leaves_its_dialogs_to_nobody() -> None:
    yard = Graveyard()
    yard.left = 5
    async with (
        served(me=hello("leaving")) as leaving,
        peers_of(leaving.address) as peers,
        watching(yard, peers, beats=0) as watch,
    ):
        assert await watch.recovery.leave("leaving", leaving.address, gone=False) == 0
    assert yard.rehomed == []


async def test_what_was_busy_is_looked_at_again_within_the_same_round() -> None:
    yard = Graveyard()
    yard.notifiers, yard.busy = ["dead"], {"dead"}
    yard.marks = [0, 0, 7]
    async with peers_of("") as peers, watching(yard, peers) as watch:
        await until_true(lambda: watch.woken, "the marks are given up")
        assert yard.given_up == [(1, 7)]
        yard.busy = set()
        await until_true(lambda: yard.forgotten == ["dead"], "it is forgotten")
