"""A watcher whose connection is gone for good: its NOTIFY waits for its next SUBSCRIBE."""

import pytest

from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict, settle
from tests.integration.calls import in_dialog, publish, subscribe
from tests.integration.replicas import Core, DialogStore, Sql
from vedette.rpc.contract import FLOW_GONE, Outcome, SubscribeCall
from vedette.sip.flow import Flow

OLD, NEW = Flow("wss", "192.0.2.7", 40000, 7), Flow("wss", "192.0.2.7", 40001, 8)


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


class Browser:
    """A subscription over WSS whose first NOTIFY is claimed."""

    def __init__(self, core: Core, notifier: DialogStore, call: SubscribeCall, to_tag: str) -> None:
        self.core = core
        self.notifier = notifier
        self.call = call
        self.to_tag = to_tag

    async def claims(self) -> list[Claim]:
        return await self.notifier.claim(10, 10)

    async def ends(self, claim: Claim, settlement: Settlement | None = None) -> int:
        """How many are owed again; without a settlement the flow is gone."""
        outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, FLOW_GONE)
        return await self.notifier.apply([(outcome, settlement or settle(FLOW_GONE, None))])

    async def refreshes(self, cseq: int, *, expires: int = 3600) -> str:
        call = in_dialog(self.call, self.to_tag, cseq=cseq, expires=expires, flow=NEW, edge_instance="edge-2")
        return (await self.core.subscribe_one(call)).verdict


@pytest.fixture
async def browser(core: Core, notifier: DialogStore) -> Browser:
    call = subscribe(flow=OLD, contacts=["<sip:bob@a.invalid;transport=ws>"])
    return Browser(core, notifier, call, (await core.subscribe_one(call)).to_tag)


async def test_out_12_nothing_is_owed_to_it_until_it_comes_back_and_then_everything(
    browser: Browser, core: Core
) -> None:
    [first] = await browser.claims()
    assert await browser.ends(first) == 0
    for _ in range(3):
        await core.publish_one(publish())
        assert await browser.claims() == []
    assert await browser.refreshes(2) == "refreshed"
    [claim] = await browser.claims()
    assert claim.cseq > first.cseq
    assert await browser.ends(claim, Settlement(Verdict.DELIVERED)) == 0
    await core.publish_one(publish())
    assert len(await browser.claims()) == 1


async def test_out_12_one_that_came_back_before_the_outcome_is_served_at_once(browser: Browser) -> None:
    [claim] = await browser.claims()
    assert await browser.refreshes(2) == "refreshed"
    await browser.ends(claim)
    assert len(await browser.claims()) == 1


async def test_out_12_one_that_unsubscribes_over_a_new_connection_is_told(browser: Browser) -> None:
    [claim] = await browser.claims()
    await browser.ends(claim)
    assert await browser.refreshes(2, expires=0) == "ended"
    [last] = await browser.claims()
    assert (last.cseq > claim.cseq, last.status) == (True, 3)


async def test_out_12_one_that_does_not_come_back_ends_with_its_time_and_leaves_nothing(
    browser: Browser, sql: Sql
) -> None:
    [claim] = await browser.claims()
    await browser.ends(claim)
    await sql.execute("UPDATE active_watchers SET expires = clock_timestamp()")
    assert [ended.kind for ended in await browser.notifier.expire(10)] == ["dialog"]
    assert await browser.claims() == []
    assert await sql.fetchval("SELECT count(*) FROM delivery") == 0
    assert await sql.fetchval("SELECT reason FROM active_watchers") == "timeout"
