"""What the delivery rows know of a watcher: which document it has, and how often it was silent (0004)."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import pytest

from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import SILENCE_PAUSE, SILENCES, Settlement, Verdict, settle
from tests.integration.calls import ALICE, EDGE, in_dialog, publish, subscribe
from tests.integration.replicas import Core, DialogStore, Sql, let_dialogs_expire, let_marks_run_out
from tests.phone import pidf
from vedette.rpc.contract import TIMEOUT, Outcome, SubscribeCall
from vedette.sip.flow import Flow

A, B = bytes(16), bytes([1]) * 16
"""Digests of two documents."""


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


class Scene:
    """One dialog of a presentity that has a publication; the first NOTIFY was acknowledged with the digest A."""

    def __init__(self, core: Core, notifier: DialogStore, sql: Sql) -> None:
        self.core = core
        self.notifier = notifier
        self.sql = sql
        self.call = subscribe()
        self.to_tag = ""
        self.cseq = 1
        self._changes = 0
        self._etag = ""

    async def open(self) -> None:
        """Publish, subscribe, deliver the first NOTIFY."""
        await self.change()
        self.to_tag = (await self.core.subscribe_one(self.call)).to_tag
        claim = await self.claim()
        assert (claim.sent_before, claim.acked_digest) == (0, None), "the first NOTIFY is owed whatever the state"
        await self.end(claim, Verdict.DELIVERED, digest=A)

    async def change(self, sender: str | None = None) -> None:
        """Publish something that was not there before."""
        self._changes += 1
        body = pidf(note=str(self._changes))
        call = publish(etag=self._etag, body=body, sender=sender) if self._etag else publish(body=body, sender=sender)
        self._etag = (await self.core.publish_one(call)).etag

    async def refresh(self, flow: Flow | None = None) -> SubscribeCall:
        """A SUBSCRIBE in the dialog, over another flow where one is given."""
        self.cseq += 1
        call = in_dialog(self.call, self.to_tag, cseq=self.cseq, flow=flow or self.call.flow)
        assert (await self.core.subscribe_one(call)).verdict == "refreshed"
        return call

    async def claims(self) -> list[Claim]:
        return await self.notifier.claim(100, 100)

    async def claim(self) -> Claim:
        (claim,) = await self.claims()
        return claim

    async def end(
        self, claim: Claim, verdict: Verdict, seconds: float = 0.0, *, digest: bytes = b"", status: int = 200
    ) -> int:
        """Settle the claim; how many dialogs owe another NOTIFY."""
        outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, status, None, digest)
        return await self.notifier.apply([(outcome, Settlement(verdict, seconds, "timeout"))])

    async def pass_over(self, seconds: float) -> None:
        """As if so many seconds had passed for what waits."""
        await self.sql.execute(f"UPDATE change_event SET due = due - interval '{seconds} s'")
        await self.sql.execute(f"UPDATE delivery SET not_before = not_before - interval '{seconds} s'")

    async def row(self, *columns: str) -> tuple[object, ...]:
        """Of the delivery."""
        row = await self.sql.fetchrow(f"SELECT {', '.join(columns)} FROM delivery")
        assert row is not None
        return tuple(row)


@pytest.fixture
async def scene(core: Core, notifier: DialogStore, sql: Sql) -> Scene:
    made = Scene(core, notifier, sql)
    await made.open()
    return made


async def test_parameter_suppress_unchanged_a_claim_tells_what_the_watcher_acknowledged(scene: Scene) -> None:
    before = await scene.row("sent_version")
    await scene.change()
    claim = await scene.claim()
    assert (claim.sent_before,) == before
    assert claim.acked_digest == A
    assert await scene.row("acked_digest") == (None,), "while one is outstanding nobody knows"
    await scene.end(claim, Verdict.DELIVERED, digest=B)
    assert await scene.row("acked_digest") == (B,)
    await scene.refresh()
    assert (await scene.claim()).sent_before == 0, "a SUBSCRIBE is answered whatever the watcher has (NOT-22)"


async def test_not_25_unchanged_gives_cseq_and_document_version_back(scene: Scene) -> None:
    columns = ("local_cseq", "version", "acked_digest", "outstanding_cseq", "not_before")
    before = await scene.row(*columns)
    for _ in range(3):
        await scene.change()
        claim = await scene.claim()
        assert await scene.end(claim, Verdict.UNCHANGED, digest=A) == 0
        assert await scene.row(*columns) == before
        assert await scene.row("sent_version") == (claim.version,)
        assert await scene.claims() == []
    await scene.change()
    claim = await scene.claim()
    assert (claim.cseq, claim.document_version, claim.acked_digest) == (2, 1, A)


async def test_not_13_a_change_while_the_document_was_compared_is_not_lost(scene: Scene) -> None:
    await scene.change()
    claim = await scene.claim()
    await scene.change()
    assert await scene.claims() == [], "one is outstanding"
    assert await scene.end(claim, Verdict.UNCHANGED, digest=A) == 1
    again = await scene.claim()
    assert again.version > claim.version
    assert (again.cseq, again.sent_before, again.acked_digest) == (claim.cseq, claim.version, A)


async def test_not_22_a_subscribe_while_the_document_was_compared_is_answered(scene: Scene) -> None:
    await scene.change()
    claim = await scene.claim()
    await scene.refresh()
    assert await scene.end(claim, Verdict.UNCHANGED, digest=A) == 1
    again = await scene.claim()
    assert (again.cseq, again.sent_before) == (claim.cseq, 0)


Loss = Callable[[Scene, Claim], Awaitable[object]]


async def _over(scene: Scene, claim: Claim) -> None:
    await let_marks_run_out(scene.sql)
    assert await scene.notifier.clear_marks([], 10, 0.0) == 1


async def _dead(scene: Scene, claim: Claim) -> None:
    assert await scene.notifier.clear_marks(["notifier"], 10, 0.0) == 1


async def _edge_gone(scene: Scene, claim: Claim) -> None:
    assert await scene.notifier.rehome(EDGE, "edge-2", "127.0.0.1:2", 10) == 1


async def _moved(scene: Scene, claim: Claim) -> None:
    await scene.refresh(Flow("udp", "192.0.2.8", 5060))


LOSSES: dict[str, Loss] = {
    "an answer that is a failure": lambda scene, claim: scene.end(claim, Verdict.KEPT, digest=B),
    "Retry-After": lambda scene, claim: scene.end(claim, Verdict.AGAIN, 1, digest=B),
    "silence": lambda scene, claim: scene.end(claim, Verdict.SILENT, 1, digest=B),
    "an edge that did not take it": lambda scene, claim: scene.end(claim, Verdict.UNSENT, 1),
    "an edge that tells no digest": lambda scene, claim: scene.end(claim, Verdict.DELIVERED),
    "a mark whose time was over": _over,
    "a mark of a dead notifier": _dead,
    "an edge that is gone": _edge_gone,
    "a watcher that has moved": _moved,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
async def test_parameter_suppress_unchanged_nothing_is_held_back_from_who_may_have_seen_another(
    scene: Scene, loss: Loss
) -> None:
    await scene.change()
    claim = await scene.claim()
    await loss(scene, claim)
    assert await scene.row("acked_digest", "outstanding_cseq") == (None, None)
    await scene.change()
    await scene.pass_over(1)
    again = await scene.claim()
    assert again.cseq > claim.cseq
    assert not again.brings_nothing(A)
    assert not again.brings_nothing(B)
    # What comes too late for the first one changes nothing, and gives no number back.
    before = await scene.row("*")
    for verdict in Verdict:
        await scene.end(claim, verdict, digest=A)
    assert await scene.row("*") == before


async def test_parameter_suppress_unchanged_an_edge_that_goes_takes_no_knowledge_with_it(scene: Scene) -> None:
    await _edge_gone(scene, await _none(scene))
    assert await scene.row("acked_digest") == (A,)
    await scene.change()
    assert (await scene.claim()).brings_nothing(A)


async def _none(scene: Scene) -> Claim:
    """A claim that was settled; nothing is outstanding."""
    await scene.change()
    claim = await scene.claim()
    await scene.end(claim, Verdict.DELIVERED, digest=A)
    return claim


async def test_parameter_suppress_unchanged_who_changed_the_state_itself_has_another_document(scene: Scene) -> None:
    """A: what it was sent; B: its own change, which it is not told; A again by somebody else, which it is."""
    await scene.change(sender="<sip:bob@192.0.2.7:5060>")
    assert await scene.claims() == [], "it knows its own change"
    await scene.change()
    again = await scene.claim()
    assert not again.brings_nothing(A)


async def test_the_sender_is_told_of_its_own_change_after_an_older_state_that_was_on_its_way(scene: Scene) -> None:
    await scene.change()
    claim = await scene.claim()
    await scene.change(sender="<sip:bob@192.0.2.7:5060>")
    await scene.end(claim, Verdict.DELIVERED, digest=A)
    assert (await scene.claim()).version > claim.version


async def test_the_sender_is_told_what_follows_its_own_change_though_it_acknowledged_that_before(
    scene: Scene,
) -> None:
    """The notifier that compares knows of A alone; that the watcher itself went to B meanwhile counts."""
    await scene.change()
    claim = await scene.claim()
    await scene.change(sender="<sip:bob@192.0.2.7:5060>")
    await scene.change()
    assert claim.brings_nothing(A)
    await scene.end(claim, Verdict.UNCHANGED, digest=A)
    assert (await scene.claim()).sent_before == 0


@pytest.mark.parametrize(
    ("verdict", "version_back"),
    [
        (Verdict.UNSENT, True),
        (Verdict.AGAIN, False),
        (Verdict.SILENT, False),
        (Verdict.KEPT, False),
        (Verdict.DELIVERED, False),
    ],
)
async def test_not_25_what_was_surely_not_sent_leaves_no_gap_in_the_documents(
    scene: Scene, verdict: Verdict, *, version_back: bool
) -> None:
    """A CSeq that was handed to an edge is never used again all the same (NOT-11)."""
    await scene.change()
    claim = await scene.claim()
    await scene.end(claim, verdict, 1)
    await scene.change()
    await scene.pass_over(1)
    again = await scene.claim()
    assert again.cseq == claim.cseq + 1
    assert again.document_version == claim.document_version + (0 if version_back else 1)


async def test_not_25_each_dialog_counts_its_own_documents(scene: Scene) -> None:
    await _none(scene)
    await scene.core.subscribe_one(subscribe(from_uri="sip:carol@example.net"))
    other = await scene.claim()
    assert (other.cseq, other.document_version) == (1, 0)
    await scene.change()
    assert {(claim.cseq, claim.document_version) for claim in await scene.claims()} == {(3, 2)}


# silence


async def silent(scene: Scene) -> None:
    """One more NOTIFY gets no answer."""
    claim = await scene.claim()
    outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, TIMEOUT)
    await scene.notifier.apply([(outcome, settle(TIMEOUT, None, end_sub_on_timeout=False))])


async def silent_for(scene: Scene, pause: float) -> None:
    """One more NOTIFY gets no answer; so many seconds from then on there is none."""
    before = await scene.sql.fetchval("SELECT clock_timestamp()")
    await silent(scene)
    until, after = await scene.row("not_before", "clock_timestamp()")
    a_little = timedelta(milliseconds=10)
    assert isinstance(until, datetime)
    assert isinstance(after, datetime)
    assert before - a_little <= until - timedelta(seconds=pause) <= after + a_little


async def silent_for_good(scene: Scene) -> None:
    """One more NOTIFY gets no answer, which was the last."""
    await silent(scene)
    assert await scene.sql.fetch("SELECT FROM delivery") == []


async def test_parameter_end_sub_on_timeout_0_pauses_longer_each_time_and_gives_up(scene: Scene) -> None:
    await scene.change()
    for number in range(SILENCES - 1):
        pause = SILENCE_PAUSE * 2**number
        await silent_for(scene, pause)
        await scene.pass_over(-100)  # so that it is not over by now, however slow this is
        await scene.change()
        assert await scene.claims() == [], "no change shortens the pause"
        await scene.pass_over(100 + pause)
    await silent_for_good(scene)
    ended = await scene.sql.fetchrow("SELECT status, reason, ended IS NOT NULL AS over FROM active_watchers")
    assert ended is not None
    assert tuple(ended) == (3, "timeout", True)
    assert await scene.sql.fetchval("SELECT watchers FROM presentity_state") == 0


@pytest.mark.parametrize("status", [200, 500, 503])
async def test_parameter_end_sub_on_timeout_0_any_answer_begins_the_count_again(scene: Scene, status: int) -> None:
    await scene.change()
    for _ in range(SILENCES - 1):
        await silent(scene)
        await scene.pass_over(100)
    claim = await scene.claim()
    outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, status, 1 if status == 503 else None)
    await scene.notifier.apply([(outcome, settle(status, outcome.retry_after, end_sub_on_timeout=False))])
    await scene.change()
    await scene.pass_over(1)
    await silent_for(scene, SILENCE_PAUSE)


@pytest.mark.parametrize("verdict", [Verdict.UNSENT, Verdict.UNCHANGED])
async def test_parameter_end_sub_on_timeout_0_what_was_not_sent_got_no_answer(scene: Scene, verdict: Verdict) -> None:
    await scene.change()
    await silent(scene)
    await scene.pass_over(SILENCE_PAUSE)
    await scene.end(await scene.claim(), verdict, 1)
    await scene.change()
    await scene.pass_over(1)
    await silent_for(scene, 2 * SILENCE_PAUSE)


async def test_parameter_end_sub_on_timeout_0_a_subscribe_ends_the_pause_and_the_count(scene: Scene) -> None:
    await scene.change()
    for _ in range(SILENCES - 1):
        await silent(scene)
        await scene.pass_over(100)
    await silent_but_subscribing(scene)
    await silent_for(scene, 2 * SILENCE_PAUSE)  # that NOTIFY was owed at once, and is the second in a row
    await scene.refresh()
    await silent_for(scene, SILENCE_PAUSE)


async def silent_but_subscribing(scene: Scene) -> None:
    """A NOTIFY gets no answer, but a SUBSCRIBE comes meanwhile: the next NOTIFY is owed now."""
    claim = await scene.claim()
    await scene.refresh()
    assert await scene.end(claim, Verdict.SILENT, SILENCE_PAUSE) == 1


async def test_parameter_end_sub_on_timeout_0_an_end_is_told_once(scene: Scene, sql: Sql) -> None:
    await scene.change()
    await silent(scene)
    await let_dialogs_expire(sql, ALICE)
    await scene.notifier.expire(10)
    assert (await scene.row("status", "not_before")) == (3, None), "the pause is no reason to wait"
    await silent_for_good(scene)
    assert await scene.claims() == []
