"""No state is ever skipped: whatever happens to NOTIFYs and answers, each watcher ends with the current state.

Two notifiers claim, compare, send and settle as `Delivery` does; the network between them and the watchers loses,
delays and repeats. A watcher takes a NOTIFY whose CSeq is above the last one (RFC 3261 section 12.2.2).
"""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict, settle
from tests.integration.calls import EDGE, in_dialog, publish, subscribe
from tests.integration.replicas import Core, DialogStore, MakeNotifier, Sql, let_marks_run_out
from tests.phone import pidf, token
from vedette.rpc.contract import TIMEOUT, Outcome, SubscribeCall
from vedette.sip.flow import Flow

LOOKS = 3
"""How many documents watchers can tell apart; few, so that states come back to what they were."""
SENDER = "sip:alice@192.0.2.9:5060"
STEPS = 60


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


@dataclass
class Notify:
    """A NOTIFY on the wire."""

    claim: Claim
    look: int


@dataclass
class Watcher:
    """A dialog from its watcher's side."""

    call: SubscribeCall
    to_tag: str
    dialog_id: bytes
    cseq: int = 1
    notified: int = 0
    """The CSeq of the last NOTIFY that was taken."""
    sees: int | None = None
    wire: dict[int, Notify] = field(default_factory=dict)
    """Every NOTIFY that was sent, by its CSeq."""


class World:
    """One presentity, three watchers, of whom the last one publishes, too."""

    def __init__(self, core: Core, notifiers: list[DialogStore], sql: Sql, seed: int) -> None:
        self.core = core
        self.notifiers = notifiers
        self.sql = sql
        self.dice = random.Random(seed)
        self.uri = f"sip:{token('alice')}@example.com"
        self.look = 0
        self.etag = ""
        self.watchers: dict[bytes, Watcher] = {}
        self.claims: list[Claim] = []
        """Claimed, and not compared yet."""
        self.flying: list[Notify] = []
        """Sent, and not yet with the watcher; may come late, or twice."""
        self.outcomes: list[tuple[Outcome, Settlement]] = []
        """On their way back; may come late, or twice."""
        self.done: Counter[str] = Counter()
        self.flows = 0

    async def open(self) -> None:
        for contact in ("sip:bob@192.0.2.7:5060", "sip:carol@192.0.2.8:5060", SENDER):
            call = subscribe(self.uri, contacts=[f"<{contact}>"])
            answer = await self.core.subscribe_one(call)
            self.watchers[answer.dialog_id] = Watcher(call, answer.to_tag, answer.dialog_id)

    # what happens

    async def change(self) -> None:
        """A document that was never published before, but may look like one that was."""
        self.look = self.dice.randrange(LOOKS)
        sender = SENDER if self.dice.random() < 0.3 else None
        call = publish(self.uri, etag=self.etag or None, body=pidf(self.uri, note=token()), sender=sender)
        self.etag = (await self.core.publish_one(call)).etag
        if sender is not None:
            # It knows its own change; where it may lag behind others it is told.
            [watcher] = [w for w in self.watchers.values() if w.call.contacts == [f"<{SENDER}>"]]
            watcher.sees = self.look

    async def claim(self) -> None:
        self.claims += await self.dice.choice(self.notifiers).claim(100, self.dice.choice([1, 2, 100]))

    async def compare(self) -> None:
        """What a notifier does with a claim, however late: it reads the state as it is now."""
        claim = self.claims.pop(self.dice.randrange(len(self.claims)))
        digest = digest_of(self.look)
        if claim.brings_nothing(digest):
            self.done["unchanged"] += 1
            outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 0, None, digest)
            await self.notifiers[0].apply([(outcome, Settlement(Verdict.UNCHANGED))])
            return
        match self.dice.choice(["sent"] * 6 + ["refused", "dead"]):
            case "refused":
                outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 0)
                await self.notifiers[0].apply([(outcome, Settlement(Verdict.UNSENT, 0.5))])
            case "sent":
                watcher = self.watchers[claim.dialog_id]
                assert claim.cseq not in watcher.wire, "a CSeq that may have been on the wire is never used again"
                notify = watcher.wire[claim.cseq] = Notify(claim, self.look)
                self.flying.append(notify)
        self.done["compared"] += 1

    async def arrive(self) -> None:
        """A NOTIFY reaches its watcher, or is lost; it is answered, or not."""
        notify = self.flying[self.dice.randrange(len(self.flying))]
        if self.dice.random() < 0.8:
            self.flying.remove(notify)
        fate = self.dice.choice([200] * 6 + [500, 503, TIMEOUT, TIMEOUT])
        if fate != TIMEOUT or self.dice.random() < 0.5:
            self.take(notify)
        claim = notify.claim
        retry_after = 1 if fate == 503 else None
        outcome = Outcome(
            claim.presentity_hash, claim.dialog_id, claim.cseq, fate, retry_after, digest_of(notify.look)
        )
        self.outcomes.append((outcome, settle(fate, retry_after, end_sub_on_timeout=False)))

    def take(self, notify: Notify) -> None:
        watcher = self.watchers[notify.claim.dialog_id]
        if notify.claim.cseq > watcher.notified:
            watcher.notified, watcher.sees = notify.claim.cseq, notify.look

    async def settle(self) -> None:
        found = self.dice.choice(self.outcomes)
        if self.dice.random() < 0.8:
            self.outcomes.remove(found)
        await self.dice.choice(self.notifiers).apply([found])
        # So that nobody ends here: that is another test's.
        await self.sql.execute("UPDATE delivery SET failures = least(failures, 2)")

    async def overdue(self) -> None:
        await let_marks_run_out(self.sql)
        await self.notifiers[0].clear_marks([], 100, 0.0)

    async def edge_gone(self) -> None:
        await self.notifiers[0].rehome(EDGE, EDGE, "127.0.0.1:1", 100)

    async def refresh(self) -> None:
        watcher = self.dice.choice(list(self.watchers.values()))
        watcher.cseq += 1
        if self.dice.random() < 0.5:
            self.flows += 1
        flow = Flow("udp", "192.0.2.7", 6000 + self.flows)
        call = in_dialog(watcher.call, watcher.to_tag, cseq=watcher.cseq, flow=flow)
        assert (await self.core.subscribe_one(call)).verdict == "refreshed"

    async def time_passes(self) -> None:
        await self.sql.execute("UPDATE delivery SET not_before = NULL")
        await self.sql.execute("UPDATE change_event SET due = clock_timestamp()")

    async def step(self) -> None:
        possible = [self.change] * 3 + [self.claim] * 3 + [self.refresh, self.time_passes]
        possible += [self.compare] * 3 * bool(self.claims)
        possible += [self.arrive] * 6 * bool(self.flying)
        possible += [self.settle] * 6 * bool(self.outcomes)
        possible += [self.overdue, self.edge_gone] * (self.dice.random() < 0.2)
        await self.dice.choice(possible)()

    async def calm(self) -> None:
        """From now on everything arrives and is answered."""
        self.claims.clear()
        self.outcomes.clear()
        await self.overdue()
        for _ in range(10):
            await self.time_passes()
            claims = await self.notifiers[1].claim(100, 100)
            if not claims:
                return
            for claim in claims:
                digest = digest_of(self.look)
                outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200, None, digest)
                if claim.brings_nothing(digest):
                    await self.notifiers[1].apply([(outcome, Settlement(Verdict.UNCHANGED))])
                    continue
                watcher = self.watchers[claim.dialog_id]
                assert claim.cseq not in watcher.wire
                self.take(Notify(claim, self.look))
                await self.notifiers[1].apply([(outcome, settle(200, None))])
        raise AssertionError("it never ends")


def digest_of(look: int) -> bytes:
    return bytes([look]) * 16


@pytest.mark.parametrize("seed", range(10))
async def test_not_11_not_13_parameter_suppress_unchanged_every_watcher_ends_with_the_current_state(
    seed: int, core: Core, make_notifier: MakeNotifier, sql: Sql
) -> None:
    notifiers = [make_notifier(f"notifier {number}") for number in range(2)]
    world = World(core, notifiers, sql, seed)
    await world.open()
    for _ in range(6):
        for _ in range(STEPS):
            await world.step()
        await world.calm()
        for watcher in world.watchers.values():
            assert watcher.sees == world.look, (seed, watcher.call.contacts)
            late = [notify for notify in world.flying if notify.claim.dialog_id == watcher.dialog_id]
            for notify in late:
                world.take(notify)
            assert watcher.sees == world.look, "what comes late is older, and is not taken"
    assert world.done["unchanged"] > 0
    assert world.done["compared"] > 20
