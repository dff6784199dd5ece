"""Delivery: who gets what, and what becomes of what could not be delivered (invariants 3, 4, 5)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict
from notifier.domain.views import NO_VIEW, Views, digest_of
from notifier.domain.watchers import Span, WatcherRow, WatcherRows
from notifier.flows import delivery as delivery_module
from notifier.flows import handover as handover_module
from notifier.flows.delivery import DISPATCHES, Delivery
from notifier.flows.handover import EDGE_FULL_PAUSE, EDGE_GONE_PAUSE, FAULT_PAUSE
from notifier.flows.judging import Judging
from tests.dialog_info import TYPE, call, dialogs
from tests.phone import pidf
from tests.unit.notifier.claimed import ALICE, PENDING, TERMINATED, claim, dialog
from tests.unit.notifier.worlds import Books, ClaimStore, States
from tests.unit.rpc.serving import hello, peers_of, served_together
from tests.wait import until_true
from tests.watcherinfo import read
from vedette.documents.pidf import neutral
from vedette.documents.versioned import VersionedDocument
from vedette.identity import presentity_hash
from vedette.records import PublicationRecord
from vedette.rpc import client as rpc_client
from vedette.rpc import server as rpc_server
from vedette.rpc.client import Peers
from vedette.rpc.contract import (
    HANDOVER_AGE,
    NOTIFIES,
    WITHDRAWALS,
    Document,
    NotifyBatch,
    Outcome,
    Taken,
    Withdrawal,
)
from vedette.rpc.server import NotReadyError
from vedette.rules.permissions import Handling
from vedette.rules.ruling import ByHand, Defaults, Rulebook
from vedette.store.database import StoreError, StoreUnavailableError, StoreUndecidedError

CAROL = "sip:carol@example.com"


@dataclass
class Edge:
    """An edge that takes batches."""

    instance: str = "edge-1"
    address: str = ""
    taken: list[NotifyBatch] = field(default_factory=list)
    refuses: list[int] = field(default_factory=list)
    answer: bytes | None = None
    fault: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    withdrawn: list[Withdrawal] = field(default_factory=list)
    deaf: int = 0
    """So many withdrawals get no answer."""
    not_taken: list[int] = field(default_factory=list)
    """What it says to a withdrawal."""

    async def withdraw(self, body: bytes) -> bytes:
        self.withdrawn.append(msgspec.msgpack.decode(body, type=Withdrawal))
        if self.deaf:
            self.deaf -= 1
            raise RuntimeError("a fault")
        return msgspec.msgpack.encode(Taken(self.not_taken))

    async def take(self, body: bytes) -> bytes:
        self.taken.append(msgspec.msgpack.decode(body, type=NotifyBatch))
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return self.answer or msgspec.msgpack.encode(Taken(self.refuses))

    def dialogs(self) -> list[str]:
        """Whose NOTIFYs it was handed, in order."""
        return [item.dialog_id.decode() for batch in self.taken for item in batch.items]


@asynccontextmanager
async def edges(*instances: str) -> AsyncIterator[list[Edge]]:
    """Running edges, whose gates are open."""
    found = [Edge(instance) for instance in instances]
    async with served_together(*({NOTIFIES: edge.take, WITHDRAWALS: edge.withdraw} for edge in found)) as heres:
        for edge, here in zip(found, heres, strict=True):
            edge.address, here.me = here.address, hello(edge.instance)
            edge.gate.set()
        yield found
        for edge in found:
            edge.gate.set()


@dataclass
class World:
    """A delivery in its world."""

    store: ClaimStore
    states: States
    delivery: Delivery
    views: Views
    gone: list[tuple[str, str]]
    lost: list[bool]

    async def deliver(self) -> None:
        """Deliver what is claimed until nothing more is; return when it has been handed over."""
        while await self.delivery._step():
            pass
        await self.delivery.drain()


def world(
    store: ClaimStore,
    states: States,
    peers: Peers,
    *,
    suppress: bool = True,
    mixes_calls: bool = False,
    book: Rulebook | None = None,
) -> World:
    """Everybody sees everything but those who are pending; or what the book says."""
    gone: list[tuple[str, str]] = []
    lost: list[bool] = []
    views = Views(100, mix_dialog_presence=mixes_calls)
    claims = [claim for batch in store.batches if isinstance(batch, list) for claim in batch]
    waiting = {(c.dialog_id.decode(), "example.net"): ByHand(PENDING) for c in claims if c.status == PENDING}
    books = Books(book or Rulebook(1, None, waiting))
    defaults = Defaults(default_rule=Handling.ALLOW, dialog_rule="allow")
    delivery = Delivery(
        store,
        states,
        views,
        peers,
        Judging(books, states, store, defaults),
        bell_heard=lambda: True,
        edge_gone=lambda instance, address: gone.append((instance, address)),
        claims_lost=lambda: lost.append(True),
        suppress_unchanged=suppress,
    )
    return World(store, states, delivery, views, gone, lost)


@asynccontextmanager
async def delivering(
    claims: list[Claim],
    *,
    to: list[Edge],
    suppress: bool = True,
    mixes_calls: bool = False,
    book: Rulebook | None = None,
) -> AsyncIterator[World]:
    """A world with these claims, whose dialogs are over the edges in turn."""
    records = [
        dialog(
            owed.dialog_id.decode(),
            owed.presentity_uri,
            event=owed.event,
            accept="application/watcherinfo+xml" if owed.event == "presence.winfo" else "application/pidf+xml",
            edge_instance=to[index % len(to)].instance,
            edge_address=to[index % len(to)].address,
        )
        for index, owed in enumerate(claims)
    ]
    async with peers_of(*(edge.address for edge in to)) as peers:
        await peers.probe()
        w = world(ClaimStore(claims), States(*records), peers, suppress=suppress, mixes_calls=mixes_calls, book=book)
        try:
            yield w
        finally:
            await w.delivery.close()


def in_a_call() -> PublicationRecord:
    return PublicationRecord(bytes([9]) * 16, 7, 1, TYPE, dialogs(call("confirmed", "a")), 2000.0)


async def test_watchers_of_one_view_share_one_document() -> None:
    async with (
        edges("edge-1") as [edge],
        delivering([claim("a"), claim("b", cseq=9), claim("c", CAROL)], to=[edge]) as w,
    ):
        await w.deliver()
    [batch] = edge.taken
    assert [(item.dialog_id, item.cseq, item.document) for item in batch.items] == [
        (b"a", 3, 0), (b"b", 9, 0), (b"c", 3, 1),
    ]  # fmt: skip
    assert [document.body for document in batch.documents] == [neutral(ALICE), neutral(CAROL)]
    assert w.views.compositions == 2
    assert len(w.states.asked) == 2
    assert w.store.applied == []
    assert w.delivery.claimed == 3


async def test_parameter_mix_dialog_presence_0_reads_no_calls() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        w.states.published[ALICE, "dialog"] = [in_a_call()]
        await w.deliver()
    assert w.states.asked_now == []
    assert [document.body for document in edge.taken[0].documents] == [neutral(ALICE)]


async def test_parameter_mix_dialog_presence_1_reads_the_calls_of_a_presentity_once_for_each_view() -> None:
    claims = [claim("a"), claim("b"), claim("c", CAROL), claim("m", event="message-summary"), claim("d", CAROL)]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge], mixes_calls=True) as w:
        w.states.published[ALICE, "dialog"] = [in_a_call()]
        w.store.batches.append([claim("a", cseq=4)])
        w.store.batches.append([claim("a", cseq=5, version=6)])
        await w.deliver()
    asked = [(uri, event) for _, uri, event in w.states.asked_now]
    assert asked == [(ALICE, "dialog"), (CAROL, "dialog"), (ALICE, "dialog")]
    first = edge.taken[0]
    talking = {item.dialog_id: b"on-the-phone" in first.documents[item.document].body for item in first.items}
    assert talking == {b"a": True, b"b": True, b"c": False, b"m": False, b"d": False}


async def test_a_view_that_was_composed_before_is_not_read_again() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        w.store.batches.append([claim("a", cseq=4)])
        w.store.batches.append([claim("a", cseq=5, version=6)])
        await w.deliver()
    assert len(edge.taken) == 3
    assert [version for _, version in w.states.asked] == [5, 6]
    assert w.views.compositions == 2


async def test_each_edge_gets_the_notifies_of_its_dialogs() -> None:
    async with edges("edge-1", "edge-2") as both, delivering([claim(name) for name in "abcd"], to=both) as w:
        await w.deliver()
    assert [edge.dialogs() for edge in both] == [["a", "c"], ["b", "d"]]
    assert [len(batch.documents) for edge in both for batch in edge.taken] == [1, 1]


async def test_prs_07_a_pending_watcher_gets_no_document_and_a_terminated_one_the_last() -> None:
    claims = [claim("a", status=PENDING), claim("b", status=TERMINATED)]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge]) as w:
        await w.deliver()
    [batch] = edge.taken
    assert [(item.document, item.subscription_state) for item in batch.items] == [
        (-1, "pending;expires=600"), (0, "terminated;reason=timeout"),
    ]  # fmt: skip


async def test_only_pending_watchers_need_no_document_at_all() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a", status=PENDING)], to=[edge]) as w:
        await w.deliver()
    assert [batch.documents for batch in edge.taken] == [[]]
    assert w.states.asked == []


async def test_a_dialog_that_is_not_there_any_more_is_passed_over() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a"), claim("b")], to=[edge]) as w:
        del w.states.known[b"a"]
        await w.deliver()
    assert edge.dialogs() == ["b"]
    assert w.store.applied == []


async def test_a_view_that_cannot_be_composed_delays_nobody_else_and_is_tried_again_later() -> None:
    claims = [claim("a", CAROL, event="no-such-package"), claim("b"), claim("c", CAROL)]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge]) as w:
        await w.deliver()
    assert edge.dialogs() == ["b", "c"]
    assert w.store.given_back() == {"a": FAULT_PAUSE}
    assert w.lost == []


async def test_what_an_edge_has_no_room_for_is_owed_again_soon() -> None:
    async with edges("edge-1") as [edge], delivering([claim(name) for name in "abc"], to=[edge]) as w:
        edge.refuses = [0, 2]
        await w.deliver()
    assert w.store.given_back() == {"a": EDGE_FULL_PAUSE, "c": EDGE_FULL_PAUSE}
    assert [outcome.cseq for outcome, _ in w.store.applied] == [3, 3]
    assert w.gone == []


async def test_an_edge_that_surely_took_nothing_gives_it_all_back_and_is_suspected() -> None:
    async with edges("edge-1", "edge-2") as [edge, other]:
        edge.fault = NotReadyError()
        async with delivering([claim("a"), claim("b")], to=[edge, other]) as w:
            await w.deliver()
            assert w.store.given_back() == {"a": EDGE_GONE_PAUSE}
            assert w.gone == [("edge-1", edge.address)]
    assert other.dialogs() == ["b"]


async def test_an_edge_that_is_gone_and_one_whose_address_has_another_are_the_same() -> None:
    async with edges("edge-2") as [other]:
        gone = Edge("edge-1", "127.0.0.1:1")
        replaced = Edge("edge-0", other.address)
        async with delivering([claim("a"), claim("b"), claim("c")], to=[gone, replaced, other]) as w:
            await w.deliver()
            assert w.store.given_back() == {"a": EDGE_GONE_PAUSE, "b": EDGE_GONE_PAUSE}
            assert sorted(w.gone) == [("edge-0", other.address), ("edge-1", "127.0.0.1:1")]
    assert other.dialogs() == ["c"]


@pytest.mark.parametrize(
    "answer", [b"\xc1", b"", b"\x91\xa1x", b"\x91\x91\xa1\xff", msgspec.msgpack.encode(Taken([7]))]
)
async def test_an_edge_that_may_have_taken_them_keeps_its_marks_and_is_suspected(answer: bytes) -> None:
    async with edges("edge-1", "edge-2") as [edge, other]:
        edge.answer = answer
        edge.fault = None if answer else RuntimeError("a fault")
        async with delivering([claim("a"), claim("b")], to=[edge, other]) as w:
            await w.deliver()
            assert w.store.applied == []
            assert w.gone == [("edge-1", edge.address)]
    assert [edge.dialogs(), other.dialogs()] == [["a"], ["b"]]


async def test_an_edge_that_does_not_answer_in_time_keeps_its_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_module, "RPC_TIMEOUT", 0.2)
    async with edges("edge-1") as [edge]:
        edge.gate.clear()
        async with delivering([claim("a")], to=[edge]) as w:
            await w.deliver()
            assert w.store.applied == []
            assert w.gone == [("edge-1", edge.address)]
            edge.gate.set()


@pytest.mark.parametrize("not_taken", [[], [0], [1, 2], [0, 1, 2]])
async def test_an_edge_whose_answer_was_lost_is_asked_until_it_tells_what_it_did_not_take(
    not_taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover_module, "WITHDRAWAL_PAUSE", 0.01)
    async with edges("edge-1") as [edge], delivering([claim(name) for name in "abc"], to=[edge]) as w:
        edge.fault, edge.deaf, edge.not_taken = RuntimeError("a fault"), 2, not_taken
        await w.deliver()
        await until_true(lambda: len(edge.withdrawn) == 3, "the edge is asked until it answers")
        await until_true(lambda: not w.delivery._handover._withdrawals, "its answer is acted on")
        assert w.store.given_back() == {"abc"[index]: EDGE_FULL_PAUSE for index in not_taken}
        assert {(asked.id, asked.items) for asked in edge.withdrawn} == {(edge.taken[0].id, 3)}
    assert len(edge.taken) == 1


async def test_an_edge_that_never_tells_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_module, "WITHDRAWAL_PAUSE", 0.01)
    monkeypatch.setattr(handover_module, "WITHDRAWAL_PATIENCE", 0.1)
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        edge.fault, edge.deaf = RuntimeError("a fault"), 1_000_000
        await w.deliver()
        await until_true(lambda: not w.delivery._handover._withdrawals, "nobody asks any more")
        assert w.store.applied == []


async def test_batches_have_names_of_their_own() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        w.store.batches += [[claim("a", cseq=number)] for number in range(4, 8)]
        await w.deliver()
    assert len({batch.id for batch in edge.taken}) == 5
    assert all(len(batch.id) == 12 for batch in edge.taken)


async def test_documents_that_are_too_many_octets_together_go_in_several_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uris = [f"sip:user-{number}@example.com" for number in range(5)]
    monkeypatch.setattr(handover_module, "BATCH_BODIES", 2 * len(neutral(uris[0])) + 10)
    claims = [claim(f"{number}{name}", uri) for number, uri in enumerate(uris) for name in "ab"]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge]) as w:
        await w.deliver()
    assert [[item.dialog_id.decode() for item in batch.items] for batch in edge.taken] == [
        ["0a", "0b", "1a", "1b"], ["2a", "2b", "3a", "3b"], ["4a", "4b"],
    ]  # fmt: skip
    assert [len(batch.documents) for batch in edge.taken] == [2, 2, 1]
    assert w.store.applied == []


@pytest.mark.parametrize("limited", [rpc_client, rpc_server], ids=["here", "there"])
async def test_a_batch_that_is_too_large_is_halved_and_one_notify_that_is_so_is_not_sent(
    limited: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = [claim("a"), claim("b", CAROL), claim("c"), claim("d", CAROL)]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge]) as w:
        w.states.publications[CAROL] = [publication("x" * 4000)]
        monkeypatch.setattr(limited, "MAX_BODY", 2000)
        await w.deliver()
        assert [peer.failures for peer in w.delivery._handover._edges.known()] == [0]
    assert edge.dialogs() == ["a", "c"]
    assert [(outcome.dialog_id, settlement.verdict) for outcome, settlement in w.store.applied] == [
        (b"b", Verdict.KEPT), (b"d", Verdict.KEPT),
    ]  # fmt: skip
    assert w.gone == []


def publication(note: str) -> PublicationRecord:
    return PublicationRecord(b"p" * 16, 5, 1, "application/pidf+xml", pidf(note=note), 2000.0)


async def test_an_edge_that_hangs_delays_no_other() -> None:
    async with edges("edge-1", "edge-2") as [slow, quick]:
        slow.gate.clear()
        async with delivering([claim("a"), claim("b")], to=[slow, quick]) as w:
            w.store.batches.append([claim("b", cseq=4)])
            running = asyncio.create_task(w.deliver())
            await until_true(lambda: len(quick.taken) == 2, "the other edge gets both its batches")
            assert not running.done()
            slow.gate.set()
            await running
    assert [slow.dialogs(), quick.dialogs()] == [["a"], ["b", "b"]]


async def test_a_fault_of_ours_with_one_edge_gives_back_nothing_that_another_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        edges("edge-1", "edge-2") as [edge, other],
        delivering([claim("a"), claim("b")], to=[edge, other]) as w,
    ):
        encode = w.delivery._handover._encode

        def encode_or_fail(batch: NotifyBatch) -> bytes:
            if batch.items[0].dialog_id == b"a":
                raise OverflowError("a fault of ours")
            return encode(batch)

        monkeypatch.setattr(w.delivery._handover, "_encode", encode_or_fail)
        await w.deliver()
        assert w.store.given_back("again") == {"a": FAULT_PAUSE}
    assert [edge.dialogs(), other.dialogs()] == [[], ["b"]]


async def test_what_cannot_be_read_is_owed_again() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a"), claim("b")], to=[edge]) as w:
        w.states.fault = StoreUnavailableError("gone")
        await w.deliver()
    assert edge.taken == []
    assert w.store.given_back() == {"a": EDGE_GONE_PAUSE, "b": EDGE_GONE_PAUSE}
    assert w.lost == []


async def test_marks_that_can_neither_be_used_nor_given_back_are_told() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        w.states.fault = w.store.fault = StoreUnavailableError("gone")
        await w.deliver()
    assert (w.store.applied, w.lost) == ([], [True])


async def test_no_more_is_claimed_than_can_be_handed_over() -> None:
    async with edges("edge-1") as [edge]:
        edge.gate.clear()
        async with delivering([claim("a")], to=[edge]) as w:
            w.store.batches += [[claim("a", cseq=number)] for number in range(4, 4 + 2 * DISPATCHES)]
            running = asyncio.create_task(w.deliver())
            await until_true(lambda: len(edge.taken) == DISPATCHES, "as many batches as may be are under way")
            assert w.store.claims == DISPATCHES
            edge.gate.set()
            await running
    assert len(edge.taken) == 2 * DISPATCHES + 1


# what brings nothing new

NEUTRAL = digest_of(Document("application/pidf+xml", neutral(ALICE)))


def settled(owed: Claim, digest: bytes) -> tuple[Outcome, Settlement]:
    """The claim, settled as unchanged."""
    outcome = Outcome(owed.presentity_hash, owed.dialog_id, owed.cseq, 0, None, digest)
    return outcome, Settlement(Verdict.UNCHANGED)


async def test_parameter_suppress_unchanged_sends_no_document_that_is_known() -> None:
    known = claim("a", acked_digest=NEUTRAL)
    claims = [known, claim("b"), claim("c", acked_digest=bytes(16))]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge]) as w:
        await w.deliver()
    assert edge.dialogs() == ["b", "c"]
    assert {item.digest for item in edge.taken[0].items} == {NEUTRAL}
    assert w.store.applied == [settled(known, NEUTRAL)]
    assert (w.delivery.suppressed, w.lost, w.store.claims) == (1, [], 2)


async def test_not_22_what_a_subscribe_or_an_end_owes_is_sent_whatever_the_watcher_knows() -> None:
    claims = [
        claim("a", acked_digest=NEUTRAL, sent_before=0),
        claim("b", acked_digest=NEUTRAL, status=TERMINATED),
        claim("c", acked_digest=NO_VIEW, sent_before=0, status=PENDING),
    ]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge]) as w:
        await w.deliver()
    assert edge.dialogs() == ["a", "b", "c"]
    assert w.store.applied == []


async def test_prs_07_a_pending_watcher_learns_of_no_change_but_of_its_admission() -> None:
    pending = claim("a", acked_digest=NO_VIEW, status=PENDING)
    async with edges("edge-1") as [edge], delivering([pending, claim("b", acked_digest=NO_VIEW)], to=[edge]) as w:
        await w.deliver()
    assert edge.dialogs() == ["b"]
    assert w.store.applied == [settled(pending, NO_VIEW)]


async def test_parameter_suppress_unchanged_0_sends_every_change() -> None:
    async with (
        edges("edge-1") as [edge],
        delivering([claim("a", acked_digest=NEUTRAL)], to=[edge], suppress=False) as w,
    ):
        await w.deliver()
    assert edge.dialogs() == ["a"]
    assert w.store.applied == []


@pytest.mark.parametrize("owed", [0, 1])
async def test_a_dialog_that_lags_again_when_it_is_found_unchanged_is_delivered(
    owed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edges("edge-1") as [edge], delivering([claim("a", acked_digest=NEUTRAL)], to=[edge]) as w:
        wakes: list[bool] = []
        monkeypatch.setattr(w.delivery, "wake", lambda: wakes.append(True))
        w.store.owed_again = owed
        await w.deliver()
        assert wakes == [True] * owed


@pytest.mark.parametrize("fault", [StoreUndecidedError("broken"), RuntimeError("a fault of ours")])
async def test_what_cannot_be_settled_as_unchanged_is_never_given_back_and_holds_up_nobody(fault: Exception) -> None:
    """It may have been settled all the same, and its CSeq be that of another claim by now."""
    async with (
        edges("edge-1") as [edge],
        delivering([claim("a", acked_digest=NEUTRAL), claim("b")], to=[edge]) as w,
    ):
        w.store.fault = fault
        await w.deliver()
    assert edge.dialogs() == ["b"]
    assert (w.store.applied, w.store.refused, w.lost) == ([], 1, [True])


# the loop


@contextlib.contextmanager
def running(w: World) -> Iterator[asyncio.Task[None]]:
    """The delivery as a task, ended at the end."""
    task = asyncio.create_task(w.delivery.run())
    try:
        yield task
    finally:
        task.cancel()


async def test_not_10_a_wake_up_claims_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "POLL", 3600.0)
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        with running(w):
            w.delivery.wake()
            await until_true(lambda: edge.dialogs() == ["a"], "the claim is delivered")
            w.store.batches.append([claim("a", cseq=4)])
            w.delivery.wake()
            await until_true(lambda: edge.dialogs() == ["a", "a"], "the next claim is delivered")


async def test_the_bell_is_told_what_a_claim_found_and_nothing_where_it_found_nothing() -> None:
    found: list[int] = []
    async with edges("edge-1") as [edge], delivering([claim("a"), claim("b")], to=[edge]) as w:
        w.delivery._found = found.append
        await w.deliver()
        await w.delivery._step()
    assert found == [2]


async def test_a_claim_that_found_little_has_left_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "POLL", 3600.0)
    monkeypatch.setattr(delivery_module, "ENOUGH", 2)
    async with edges("edge-1") as [edge], delivering([claim("a"), claim("b")], to=[edge]) as w:
        w.store.batches = [[claim("a"), claim("b")], [claim("a", cseq=4)], [claim("b", cseq=4)]]
        with running(w):
            w.delivery.wake()
            await until_true(lambda: edge.dialogs() == ["a", "b", "a"], "a claim follows a large one")
            await w.delivery.drain()  # many turns of the loop
        assert w.store.claims == 2


async def test_after_a_claim_that_found_little_there_is_room_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "SPACE", 3600.0)
    monkeypatch.setattr(delivery_module, "ENOUGH", 2)
    owed = [claim("a"), claim("b")]
    async with edges("edge-1") as [edge], delivering(owed, to=[edge]) as w:
        w.store.batches = [owed, [claim("a", cseq=4)], [claim("b", cseq=4)]]
        with running(w):
            w.delivery.wake()
            await until_true(lambda: edge.dialogs() == ["a", "b", "a"], "a claim follows a large one at once")
            w.delivery.wake()
            await w.delivery.drain()  # many turns of the loop
        assert w.store.claims == 2


@pytest.mark.parametrize(("heard", "interval"), [(True, "POLL"), (False, "POLL_WITHOUT_BELL")])
async def test_without_wake_ups_it_polls(heard: bool, interval: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    for name in ("POLL", "POLL_WITHOUT_BELL"):
        monkeypatch.setattr(delivery_module, name, 0.01 if name == interval else 3600.0)
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        w.delivery._bell_heard = lambda: heard
        with running(w):
            await until_true(lambda: edge.dialogs() == ["a"], "the claim is delivered")


async def test_a_poll_that_leaves_changes_is_followed_by_the_next_one_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "POLL", 3600.0)
    monkeypatch.setattr(delivery_module, "POLL_WITHOUT_BELL", 0.01)
    async with edges("edge-1") as [edge], delivering([claim("a"), claim("b")], to=[edge]) as w:
        w.store.batches = [[claim("a")], [claim("b")], [], [claim("a", cseq=4)]]
        w.delivery._bell_heard = lambda: w.store.claims > 0  # it is, from the first claim on
        with running(w):
            await until_true(lambda: edge.dialogs() == ["a", "b", "a"], "all of them are delivered")


@pytest.mark.parametrize(
    ("fault", "lost"),
    [(StoreUnavailableError("gone"), []), (StoreUndecidedError("broken"), [True])],
)
async def test_a_claim_that_failed_is_made_again_and_told_where_it_may_have_been_made(
    fault: StoreError, lost: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "POLL", 0.01)
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        w.store.batches.insert(0, fault)
        with running(w):
            await until_true(lambda: edge.dialogs() == ["a"], "the claim is delivered")
        assert w.lost == lost


async def test_a_claim_whose_answer_was_lost_is_asked_for_at_once_where_the_store_knows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery_module, "POLL", 3600.0)
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        w.store.asks_again = True
        w.store.batches.insert(0, StoreUndecidedError("broken"))
        with running(w):
            w.delivery.wake()
            await until_true(lambda: edge.dialogs() == ["a"], "the claim is delivered without another wake-up")
        assert w.lost == []
        assert not w.delivery.is_unsure
        w.store.misses_claims = True
        assert w.delivery.is_unsure


async def test_a_batch_says_until_when_on_the_edges_own_clock_it_may_be_taken() -> None:
    begun = time.monotonic()
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        await w.deliver()
        (batch,) = edge.taken
    uptime = hello().uptime
    assert abs(batch.until - (uptime + HANDOVER_AGE)) <= time.monotonic() - begun


async def test_an_edge_whose_clock_is_not_known_is_asked_and_gets_nothing_where_it_does_not_tell() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a")], to=[edge]) as w:
        edge.instance = "edge-2"
        w.states.known[b"a"] = replace(w.states.known[b"a"], edge_instance="edge-2")
        await w.deliver()
        assert edge.taken == []
        assert w.store.given_back() == {"a": EDGE_GONE_PAUSE}


# who watches


def watcher_row(name: str, status: int = 1) -> WatcherRow:
    return WatcherRow(
        name.encode(), name, "example.net", f"<sip:{name}@example.net>", status, "subscribe", 990.0, 1600.0
    )


def reader(name: str, uri: str = ALICE, **fields: Any) -> Claim:
    """The claim of a reader of watcher information."""
    return claim(name, uri, event="presence.winfo", **{"since": 10, "until": 20, **fields})


async def test_win_06_readers_of_one_span_share_one_document_and_each_has_its_number() -> None:
    claims = [
        reader("a", document_version=0),
        reader("b", document_version=7),
        reader("c", document_version=1, since=15),
    ]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge]) as w:
        w.states.watching[ALICE] = WatcherRows(full=False, rows=[watcher_row("bob")])
        await w.deliver()
    [batch] = edge.taken
    assert [(item.document, item.version) for item in batch.items] == [(0, 0), (0, 7), (1, 1)]
    key = (presentity_hash(ALICE), ALICE, "presence")
    assert w.states.asked_watchers == [(key, Span(10, 20, whole=False)), (key, Span(15, 20, whole=False))]
    assert w.states.asked == []
    [first, second] = batch.documents
    assert first == second
    seen = read(VersionedDocument(first.body, first.version_at).with_version(7))
    assert (seen.version, seen.state, seen.what) == (7, "partial", [("sip:bob@example.net", "active", "subscribe")])


async def test_win_07_whoever_may_lack_something_gets_a_whole_document_of_its_own() -> None:
    claims = [reader("a"), reader("b", whole=True)]
    async with edges("edge-1") as [edge], delivering(claims, to=[edge]) as w:
        await w.deliver()
    [batch] = edge.taken
    states = [read(VersionedDocument(d.body, d.version_at).with_version(0)).state for d in batch.documents]
    assert states == ["partial", "full"]


async def test_watcher_information_is_read_each_time_and_never_held_back() -> None:
    async with edges("edge-1") as [edge], delivering([reader("a")], to=[edge]) as w:
        w.store.batches.append([reader("a", cseq=4)])
        await w.deliver()
    assert len(edge.taken) == len(w.states.asked_watchers) == 2
    assert (w.delivery.suppressed, w.store.applied) == (0, [])


async def test_publications_and_watchers_are_read_in_one_dispatch() -> None:
    async with edges("edge-1") as [edge], delivering([claim("a"), reader("b")], to=[edge]) as w:
        await w.deliver()
    [batch] = edge.taken
    assert [document.content_type for document in batch.documents] == [
        "application/pidf+xml",
        "application/watcherinfo+xml",
    ]
    assert [document.version_at > 0 for document in batch.documents] == [False, True]


async def test_watchers_that_cannot_be_shown_hold_up_nobody_else() -> None:
    async with edges("edge-1") as [edge], delivering([reader("a"), reader("b", CAROL)], to=[edge]) as w:
        w.states.watching[ALICE] = WatcherRows(full=False, rows=[watcher_row("bob", status=9)])
        await w.deliver()
        assert w.store.given_back() == {"a": FAULT_PAUSE}
    assert edge.dialogs() == ["b"]


# the end


async def test_the_end_cuts_off_no_claim_and_nothing_is_claimed_after_it() -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    class Slow(ClaimStore):
        async def claim(self, events: int, dialogs: int) -> list[Claim]:
            begun.set()
            await gate.wait()
            return await super().claim(events, dialogs)

    async with edges("edge-1") as [edge], peers_of(edge.address) as peers:
        await peers.probe()
        store = Slow([claim("a")], [claim("b")])
        scene = world(store, States(dialog("a", edge_instance="edge-1", edge_address=edge.address)), peers)
        running = asyncio.create_task(scene.delivery.run())
        scene.delivery.wake()
        await begun.wait()
        ending = asyncio.create_task(scene.delivery.drain())
        await until_true(lambda: scene.delivery._ending, "it is told to end")
        assert not ending.done()
        gate.set()
        await ending
        assert edge.dialogs() == ["a"]
        assert not await scene.delivery._step()
        assert store.claims == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
