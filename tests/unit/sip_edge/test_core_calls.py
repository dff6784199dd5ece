"""Calls to presence-core over real RPC: each gets exactly one reply, and the right one (invariants 1, 2, 5, 6)."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType

import msgspec
import pytest

from sip_edge.domain.admission import RETRY_LATEST, RETRY_SOONEST
from sip_edge.flows import core_calls as core_calls_module
from sip_edge.flows.core_calls import MAX_LOST_REPLICAS, CoreCalls
from tests.integration.calls import publish
from tests.unit.rpc.serving import crooked, hello, http, peers_of, read_request, served, served_together
from tests.wait import until_true
from vedette.rpc import client as rpc_client
from vedette.rpc import server as rpc_server
from vedette.rpc.client import Peers
from vedette.rpc.contract import HELLO, REQUESTS, UNKNOWN, PublishCall, Reply, ReplyBatch, RequestBatch
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import NotReadyError

UNDECIDED = Reply(504, "Outcome unknown")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_calls_module, "PAUSE", 0.01)


@pytest.fixture(autouse=True)
def _stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this process stands still for a while, no call has failed: tests of an end say when it comes."""
    for name in ("PATIENCE", "NOBODY_PATIENCE", "RPC_TIMEOUT"):
        monkeypatch.setattr(core_calls_module, name, 60.0)


@dataclass
class Core:
    """A replica: answers 200 with the Call-ID as reason, once for all copies, unless `treat` has it otherwise."""

    treat: Callable[[list[str]], Awaitable[bytes | None]] | None = None
    batches: list[list[str]] = field(default_factory=list)

    async def __call__(self, body: bytes) -> bytes:
        names = [call.call_id for call in msgspec.msgpack.decode(body, type=RequestBatch).calls]
        self.batches.append(names)
        answer = await self.treat(names) if self.treat is not None else None
        return replies(*(Reply(200, name) for name in names)) if answer is None else answer

    def seen(self) -> list[str]:
        """The Call-IDs of all calls in order."""
        return [name for batch in self.batches for name in batch]


def is_unavailable(reply: Reply) -> bool:
    """Whether it is 503, with a time within the bounds."""
    (name, seconds), *more = reply.headers
    return (reply.status, name, more) == (503, "Retry-After", []) and RETRY_SOONEST <= int(seconds) <= RETRY_LATEST


def replies(*answers: Reply) -> bytes:
    return msgspec.msgpack.encode(ReplyBatch(list(answers)))


class Caller:
    """Submits calls and holds their replies; a second reply to a call fails the test."""

    def __init__(self, peers: Peers, *, max_batch: int = 100, max_queue: int = 1000) -> None:
        self.calls = CoreCalls(peers, max_batch=max_batch, max_queue=max_queue)
        peers._on_change = self.calls.peers_changed
        self.answered: dict[str, Reply] = {}
        self.order: list[str] = []

    def submit(self, *names: str, lane: str = "", body: bytes | None = None) -> None:
        for name in names:
            self.calls.submit(lane or name, call(name, body), lambda reply, name=name: self._answer(name, reply))  # type: ignore[misc]

    def _answer(self, name: str, reply: Reply) -> None:
        assert name not in self.answered, "a second reply"
        self.answered[name] = reply
        self.order.append(name)

    async def statuses(self, *names: str) -> list[int]:
        """The statuses of these calls, once all of them are there."""
        await until_true(lambda: set(names) <= self.answered.keys(), f"replies to {names}")
        return [self.answered[name].status for name in names]


def call(name: str, body: bytes | None = None) -> PublishCall:
    return publish(call_id=name) if body is None else publish(call_id=name, body=body)


@asynccontextmanager
async def calling(*cores: Core, max_batch: int = 100, max_queue: int = 1000) -> AsyncIterator[Caller]:
    """A caller that knows these replicas are ready."""
    async with (
        served_together(*({REQUESTS: core} for core in cores)) as heres,
        peers_of(*(here.address for here in heres)) as peers,
    ):
        await peers.probe()
        caller = Caller(peers, max_batch=max_batch, max_queue=max_queue)
        yield caller
        await caller.calls.drain()


async def test_what_is_read_together_is_one_batch_and_each_call_gets_its_reply() -> None:
    core = Core()
    async with calling(core) as caller:
        caller.submit("a", "b", "c")
        assert await caller.statuses("a", "b", "c") == [200] * 3
    assert core.batches == [["a", "b", "c"]]
    assert [reply.reason for reply in caller.answered.values()] == ["a", "b", "c"]


async def test_what_comes_while_calls_are_under_way_forms_the_next_batches() -> None:
    gate = asyncio.Event()

    async def hold(_: list[str]) -> None:
        await gate.wait()

    core = Core(hold)
    async with calling(core, max_batch=4) as caller:
        for name in "abc":
            caller.submit(name)
            await until_true(lambda name=name: name in core.seen(), "the call is under way")  # type: ignore[misc]
        caller.submit(*"defghi")
        assert caller.calls.queued == 6
        gate.set()
        assert await caller.statuses(*"abcdefghi") == [200] * 9
    assert core.batches == [["a"], ["b"], ["c"], ["d", "e", "f", "g"], ["h", "i"]]


async def test_pub_19_calls_of_one_lane_go_one_after_the_other() -> None:
    core = Core()
    async with calling(core) as caller:
        caller.submit("a1", "a2", "a3", lane="a")
        caller.submit("b")
        assert await caller.statuses("a1", "a2", "a3", "b") == [200] * 4
    assert core.batches == [["a1", "b"], ["a2"], ["a3"]]


@pytest.fixture
def never_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are given out by how much waits alone, in one turn of the replicas."""
    monkeypatch.setattr(core_calls_module, "STALLED", 3600.0)
    monkeypatch.setattr(rpc_client, "TURN", 1e9)


@asynccontextmanager
async def one_full(gate: asyncio.Event) -> AsyncIterator[tuple[Caller, Core, Core]]:
    """Two replicas, of which the first has its three batches under way until the gate opens, and the other none."""

    async def hold(_: list[str]) -> None:
        await gate.wait()

    both = Core(hold), Core(hold)
    async with calling(*both) as caller:
        for name in "abc":
            caller.submit(name)
            await until_true(lambda name=name: any(name in core.seen() for core in both), "it is under way")  # type: ignore[misc]
        full, other = sorted(both, key=lambda core: not core.batches)
        assert (full.batches, other.batches) == ([["a"], ["b"], ["c"]], [])
        yield caller, full, other
        gate.set()


@pytest.mark.usefixtures("never_stalled")
async def test_few_calls_wait_for_the_replica_that_has_some_already() -> None:
    gate = asyncio.Event()
    few = [f"{number}" for number in range(core_calls_module.PLENTY - 1)]
    async with one_full(gate) as (caller, full, other):
        caller.submit(*few)
        gate.set()
        await caller.statuses(*few)
    assert full.batches[3:] == [few]
    assert other.batches == []


@pytest.mark.usefixtures("never_stalled")
async def test_many_calls_are_spread_over_the_replicas() -> None:
    gate = asyncio.Event()
    many = [f"{number}" for number in range(core_calls_module.PLENTY)]
    async with one_full(gate) as (caller, full, other):
        caller.submit(*many)
        await until_true(lambda: other.batches == [many], "the other one has them")
        assert len(full.batches) == 3


async def test_a_call_waits_for_no_replica_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_client, "TURN", 1e9)
    gate = asyncio.Event()
    monkeypatch.setattr(core_calls_module, "STALLED", 3600.0)
    async with one_full(gate) as (caller, _, other):
        monkeypatch.setattr(core_calls_module, "STALLED", 0.02)
        caller.submit("d")
        await until_true(lambda: other.batches == [["d"]], "the other one has it")
        caller.submit("e")
        await until_true(lambda: other.batches == [["d"], ["e"]], "and the next one")


async def test_a_replica_that_refuses_costs_nothing_but_the_way_to_another() -> None:
    refusing: list[int] = []

    def refuses_if_first(number: int) -> Core:
        async def treat(_: list[str]) -> None:
            if not refusing:
                refusing.append(number)
            if refusing == [number]:
                raise NotReadyError

        return Core(treat)

    cores = [refuses_if_first(number) for number in range(2)]
    async with calling(*cores) as caller:
        for name in "abcd":
            caller.submit(name)
            assert await caller.statuses(name) == [200]
    [unready] = refusing
    assert cores[1 - unready].seen() == ["a", "b", "c", "d"]
    assert len(cores[unready].batches) == 1


@pytest.mark.parametrize(
    ("treat", "known"),
    [
        (lambda _: b"\xc1", "no msgpack"),
        (lambda _: b"", "empty"),
        (lambda _: b"\x91\x91\x92\xcc\xc8\xa1\xff", "no UTF-8"),
        (lambda _: replies(), "no reply"),
        (lambda names: replies(*(Reply(200) for _ in names), Reply(200)), "one reply too many"),
        (lambda names: replies(*(Reply(200) for _ in names[1:])), "one reply too few"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_replica_that_answers_rubbish_is_asked_again_and_so_are_others(
    treat: Callable[[list[str]], bytes], known: str
) -> None:
    async def once(names: list[str]) -> bytes | None:
        return treat(names) if len(core.batches) == 1 else None

    core = Core(once)
    async with calling(core) as caller:
        caller.submit("a", "b", "c", "d")
        assert await caller.statuses("a", "b", "c", "d") == [200] * 4, known
        caller.submit("a2", lane="a")
        assert await caller.statuses("a2") == [200]
    assert sorted(core.seen()) == sorted([*"abcd", *"abcd", "a2"])


async def test_a_reply_that_nobody_knows_yet_is_asked_for_until_it_is_known() -> None:
    async def later(names: list[str]) -> bytes | None:
        known = len(core.batches) > 3
        return replies(*(Reply(200 if known or name != "b" else UNKNOWN, name) for name in names))

    core = Core(later)
    async with calling(core) as caller:
        caller.submit("a", "b", "c")
        assert await caller.statuses("a", "b", "c") == [200] * 3
    assert core.batches == [["a", "b", "c"], ["b"], ["b"], ["b"]]
    assert caller.order == ["a", "c", "b"]


async def test_pub_20_a_503_after_an_unknown_outcome_is_not_believed() -> None:
    answers = [UNKNOWN, 503, 503, 200]

    async def treat(names: list[str]) -> bytes:
        return replies(Reply(answers[len(core.batches) - 1]))

    core = Core(treat)
    async with calling(core) as caller:
        caller.submit("a")
        assert await caller.statuses("a") == [200]
    assert len(core.batches) == 4


async def test_a_503_of_the_core_itself_is_passed_on_at_once() -> None:
    async def treat(names: list[str]) -> bytes:
        return replies(*(Reply(503, headers=[("Retry-After", "9")]) for _ in names))

    core = Core(treat)
    async with calling(core) as caller:
        caller.submit("a")
        await caller.statuses("a")
    assert caller.answered == {"a": Reply(503, headers=[("Retry-After", "9")])}
    assert len(core.batches) == 1


async def test_503_where_nobody_is_ready_and_surely_nothing_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_calls_module, "NOBODY_PATIENCE", 0.1)
    async with calling() as caller:
        caller.submit("a", "b")
        caller.submit("a2", lane="a")
        assert await caller.statuses("a", "b", "a2") == [503] * 3
    assert is_unavailable(caller.answered["a"])


async def test_a_call_waits_a_moment_for_a_replica_to_become_ready() -> None:
    core = Core()
    async with served({REQUESTS: core}, me=hello("core", ready=False)) as here, peers_of(here.address) as peers:
        caller = Caller(peers)
        await peers.probe()
        caller.submit("a")
        await until_true(lambda: caller.calls.queued == 0, "the call waits for a replica")
        here.me = hello("core")
        await peers.probe()
        assert await caller.statuses("a") == [200]


async def test_504_where_the_outcome_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_calls_module, "NOBODY_PATIENCE", 0.0)

    async def never(names: list[str]) -> bytes:
        if len(core.batches) == 3:
            monkeypatch.setattr(core_calls_module, "PATIENCE", 0.0)
        return replies(*(Reply(UNKNOWN) for _ in names))

    core = Core(never)
    async with calling(core) as caller:
        caller.submit("a", "b")
        await caller.statuses("a", "b")
    assert caller.answered == {"a": UNDECIDED, "b": UNDECIDED}
    assert core.batches == [["a", "b"]] * 3


async def test_504_and_never_503_where_everybody_is_gone_after_the_call_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_calls_module, "PATIENCE", 0.3)
    monkeypatch.setattr(core_calls_module, "NOBODY_PATIENCE", 0.05)
    seen: list[list[str]] = []
    async with peers_of("") as peers:
        caller = Caller(peers)
        async with crooked(dying(lambda _: True, seen)) as address:
            peers._discovery = Discovery(address)
            await peers.probe()
            caller.submit("a")
            await until_true(lambda: seen, "the replica has the call")
        assert await caller.statuses("a") == [504]


def dying(on: Callable[[list[str]], bool], seen: list[list[str]]) -> Callable[..., Awaitable[None]]:
    """A replica that loses its connection instead of answering a batch that `on` is true for."""

    async def treat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                line = await reader.readline()
                body = await read_request(reader)
            except (asyncio.IncompleteReadError, StopIteration):
                return
            if HELLO.encode() in line:
                writer.write(http(200, msgspec.msgpack.encode(hello("core"))))
            else:
                names = [call.call_id for call in msgspec.msgpack.decode(body, type=RequestBatch).calls]
                seen.append(names)
                if on(names):
                    return
                writer.write(http(200, replies(*(Reply(200, name) for name in names))))
            await writer.drain()

    return treat


@pytest.mark.parametrize("size", [1, 2, 3, 8, 21])
async def test_a_call_that_kills_replicas_soon_travels_alone_and_is_given_up(size: int) -> None:
    names = [f"{number}" for number in range(size)]
    poison = names[size // 2]
    seen: list[list[str]] = []
    async with crooked(dying(lambda batch: poison in batch, seen)) as address, peers_of(address) as peers:
        await peers.probe()
        caller = Caller(peers)
        caller.submit(*names)
        assert await caller.statuses(*names) == [504 if name == poison else 200 for name in names]
        await caller.calls.drain()
    lost = [batch for batch in seen if poison in batch]
    assert lost[-1] == [poison]
    assert len(lost) == max(MAX_LOST_REPLICAS, lost.index([poison]) + 1)
    assert lost.index([poison]) <= size.bit_length()


async def test_a_batch_is_split_before_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_calls_module, "BATCH_BODIES", 250)
    core = Core()
    async with calling(core) as caller:
        caller.submit(*"abcdefgh", body=b"x" * 100)
        assert await caller.statuses(*"abcdefgh") == [200] * 8
    assert sorted(core.batches) == [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]]


async def test_a_batch_that_is_refused_as_too_large_is_halved_and_fails_no_replica(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc_server, "MAX_BODY", 1900)
    core = Core()
    async with calling(core) as caller:
        caller.submit(*"abcd", body=b"x" * 1000)
        assert await caller.statuses(*"abcd") == [200] * 4
        assert [peer.failures for peer in caller.calls._peers.known()] == [0]
    assert sorted(core.batches) == [["a"], ["b"], ["c"], ["d"]]


@pytest.mark.parametrize("limited", [rpc_client, rpc_server], ids=["here", "there"])
async def test_a_call_that_is_too_large_by_itself_is_refused_alone(
    limited: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "MAX_BODY", 2500)
    core = Core()
    async with calling(core) as caller:
        caller.submit("a", "b")
        caller.submit("c", body=b"x" * 2600)
        caller.submit("d")
        assert await caller.statuses(*"abcd") == [200, 200, 513, 200]
        assert [peer.failures for peer in caller.calls._peers.known()] == [0]
    assert "c" not in core.seen()


async def test_what_finds_the_queue_full_is_503_at_once_and_the_rest_goes_on() -> None:
    gate = asyncio.Event()

    async def hold(_: list[str]) -> None:
        await gate.wait()

    async with calling(Core(hold), max_batch=1, max_queue=2) as caller:
        caller.submit("a")
        await until_true(lambda: caller.calls.queued == 0, "the first call is under way")
        caller.submit("b", "c", lane="a")
        caller.submit("d")
        assert list(caller.answered) == ["d"]
        assert is_unavailable(caller.answered["d"])
        gate.set()
        assert await caller.statuses("a", "b", "c") == [200] * 3


async def test_calls_that_hang_in_a_replica_hold_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_calls_module, "NOBODY_PATIENCE", 0.1)
    gate = asyncio.Event()

    async def hold(_: list[str]) -> None:
        await gate.wait()

    hanging = Core(hold)
    async with served({REQUESTS: hanging}, me=hello("core")) as here, peers_of(here.address) as peers:
        await peers.probe()
        caller = Caller(peers)
        for name in "abc":
            caller.submit(name)
            await until_true(lambda name=name: name in hanging.seen(), "the call hangs")  # type: ignore[misc]
        here.me = hello("core", ready=False)
        await peers.probe()
        caller.submit("d")
        assert await caller.statuses("d") == [503]
        gate.set()
        assert await caller.statuses("a", "b", "c") == [200] * 3


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_replicas_do_each_call_gets_one_reply_and_its_lane_keeps_its_order(seed: int) -> None:
    chance = random.Random(seed)
    done: list[str] = []

    async def erratic(names: list[str]) -> bytes | None:
        what = chance.choice(["fine", "fine", "unknown", "refuse", "crash", "rubbish", "some unknown"])
        if what == "refuse":
            raise NotReadyError
        done.extend(name for name in names if name not in done)
        if what == "crash":
            raise RuntimeError("a fault")
        if what == "rubbish":
            return b"\xc1"
        return replies(
            *(
                Reply(UNKNOWN if what == "unknown" or (what == "some unknown" and chance.random() < 0.5) else 200)
                for _ in names
            )
        )

    names = [f"{lane}{number}" for number in range(5) for lane in "abcdef"]
    async with calling(Core(erratic), Core(erratic), max_batch=4) as caller:
        probing = asyncio.create_task(_probe_often(caller.calls._peers))
        for name in names:
            caller.submit(name, lane=name[0])
        answered = await caller.statuses(*names)
        probing.cancel()
    assert set(answered) <= {200, 504, 503}
    assert set(caller.answered) == set(names)
    assert [name for name, status in zip(names, answered, strict=True) if status == 200 and name not in done] == []
    assert [name for name, status in zip(names, answered, strict=True) if status == 503 and name in done] == []
    for lane in "abcdef":
        mine = [f"{lane}{number}" for number in range(5)]
        assert [name for name in caller.order if name[0] == lane] == mine
        assert [name for name in done if name[0] == lane] == [name for name in mine if name in done]


async def _probe_often(peers: Peers) -> None:
    while True:
        await peers.probe()
        await asyncio.sleep(0.01)


# how long a call would wait


async def test_the_waiting_time_is_that_of_the_batches_that_came_back_and_grows_while_none_does() -> None:
    gate = asyncio.Event()

    async def hold(_: list[str]) -> None:
        await gate.wait()

    async with calling(Core(hold), max_batch=2) as caller:
        assert caller.calls.waiting_time == 0.0
        names = [f"call {number}" for number in range(20)]
        caller.submit(*names)
        await until_true(lambda: caller.calls.queued == 14, "three batches are under way")
        first = caller.calls.waiting_time
        assert first > 0.0
        await until_true(lambda: caller.calls.waiting_time > first + 0.05, "nothing comes back")
        gate.set()
        assert await caller.statuses(*names) == [200] * 20
        await until_true(lambda: caller.calls.waiting_time == 0.0, "nothing waits")


async def test_what_waits_behind_its_own_lane_is_in_nobody_elses_way() -> None:
    """A presentity that somebody publishes fifty times at once: only its own requests wait, and are told so."""
    gate = asyncio.Event()

    async def hold(_: list[str]) -> None:
        await gate.wait()

    async with calling(Core(hold), max_batch=2) as caller:
        names = [f"call {number}" for number in range(50)]
        caller.submit(*names, lane="hot")
        await until_true(lambda: caller.calls.queued == 49, "the first is under way")
        await until_true(lambda: caller.calls.waiting_time_of("hot") > 0.05, "nothing comes back")
        assert (caller.calls.waiting_time, caller.calls.waiting_time_of("other")) == (0.0, 0.0)
        gate.set()
        assert await caller.statuses(*names) == [200] * 50
        await until_true(lambda: caller.calls.waiting_time_of("hot") == 0.0, "nothing waits")


async def test_an_answer_that_cannot_be_written_takes_no_other_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: Reply) -> None:
        raise ValueError("cannot be written")

    async with calling(Core()) as caller:
        caller.calls.submit("lane", call("first"), refuse)
        caller.submit("second")
        caller.submit("third", lane="lane")
        assert await caller.statuses("second", "third") == [200, 200]
    assert "cannot be written" in capsys.readouterr().out


async def test_a_loop_that_is_late_for_a_while_counts() -> None:
    async with calling(Core()) as caller:
        watch = asyncio.create_task(caller.calls.watch_loop())
        try:
            until_late = asyncio.get_running_loop().time() + 30
            while not caller.calls.waiting_time:
                assert asyncio.get_running_loop().time() < until_late
                await asyncio.sleep(0)
                busy_until = time.monotonic() + 0.15
                while time.monotonic() < busy_until:
                    pass
            await until_true(lambda: caller.calls.waiting_time < 0.05, "it is in time again")
        finally:
            watch.cancel()
