"""The last NOTIFY of a dialog: tried again a few times where it was held up, and then given up (0004)."""

import pytest

from notifier.domain.claims import TERMINATED, Claim
from notifier.domain.outcome_policy import SILENCES, Settlement, Verdict, settle
from notifier.flows.handover import EDGE_GONE_PAUSE, FAULT_PAUSE
from tests.integration.calls import in_dialog, subscribe
from tests.integration.replicas import Core, DialogStore, Sql
from vedette.rpc.contract import FLOW_GONE, TIMEOUT, UNREACHABLE, Outcome


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


class LastNotify:
    """A dialog that has ended and whose last NOTIFY is owed."""

    def __init__(self, notifier: DialogStore, sql: Sql) -> None:
        self.notifier = notifier
        self.sql = sql

    async def claim(self) -> Claim:
        """Of that NOTIFY, after whatever pause."""
        await self.sql.execute("UPDATE delivery SET not_before = NULL")
        await self.sql.execute("UPDATE change_event SET due = clock_timestamp()")
        (claim,) = await self.notifier.claim(10, 10)
        assert claim.status == TERMINATED
        return claim

    async def settle(self, claim: Claim, settlement: Settlement) -> bool:
        """Whether it is owed again."""
        outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 0)
        again = await self.notifier.apply([(outcome, settlement)])
        kept = await self.sql.fetchval("SELECT count(*) FROM delivery")
        assert again == kept, "what is not owed again is gone"
        return bool(kept)


@pytest.fixture
async def last(core: Core, notifier: DialogStore, sql: Sql) -> LastNotify:
    call = subscribe()
    to_tag = (await core.subscribe_one(call)).to_tag
    (first,) = await notifier.claim(10, 10)
    await notifier.apply(
        [(Outcome(first.presentity_hash, first.dialog_id, first.cseq, 200), Settlement(Verdict.DELIVERED))]
    )
    assert (await core.subscribe_one(in_dialog(call, to_tag, cseq=2, expires=0))).verdict == "ended"
    return LastNotify(notifier, sql)


@pytest.mark.parametrize("verdict", [Verdict.AGAIN, Verdict.UNSENT])
async def test_a_fault_of_ours_does_not_lose_it_and_is_not_met_for_ever(last: LastNotify, verdict: Verdict) -> None:
    cseqs = []
    for number in range(1, SILENCES + 1):
        claim = await last.claim()
        cseqs.append(claim.cseq)
        assert await last.settle(claim, Settlement(verdict, FAULT_PAUSE)) == (number < SILENCES)
    assert cseqs == sorted(set(cseqs))


async def test_it_waits_for_an_edge_as_long_as_that_takes(last: LastNotify) -> None:
    for _ in range(3 * SILENCES):
        assert await last.settle(await last.claim(), Settlement(Verdict.UNSENT, EDGE_GONE_PAUSE))


async def test_not_17_it_is_sent_again_after_a_short_retry_after_and_not_after_a_long_one(last: LastNotify) -> None:
    assert await last.settle(await last.claim(), settle(503, 1))
    assert await last.settle(await last.claim(), settle(503, 30))
    assert not await last.settle(await last.claim(), settle(503, 600))


@pytest.mark.parametrize("status", [200, 481, 500, TIMEOUT, UNREACHABLE, FLOW_GONE])
async def test_any_other_end_is_the_end(last: LastNotify, status: int) -> None:
    assert not await last.settle(await last.claim(), settle(status, None, end_sub_on_timeout=False))
