"""Outcomes that edges report, settled in one call (rows NOT-14 to NOT-18)."""

import msgspec
import pytest

from notifier.adapters.rpc import OutcomesHandler
from notifier.domain.outcome_policy import Settlement, Verdict
from notifier.flows.settling import Settling
from tests.unit.notifier.worlds import ClaimStore
from tests.unit.rpc.serving import peer_of, served
from vedette.rpc.client import NotDoneError
from vedette.rpc.contract import OUTCOMES, TIMEOUT, Outcome, OutcomeBatch
from vedette.store.database import StoreError, StoreUnavailableError, StoreUndecidedError

REPORTED = [
    Outcome(1, b"a", 3, 200),
    Outcome(1, b"b", 4, 481),
    Outcome(1, b"c", 5, 503, 7),
    Outcome(1, b"d", 6, TIMEOUT),
    Outcome(1, b"e", 7, 500),
]
SETTLED = [
    Settlement(Verdict.DELIVERED),
    Settlement(Verdict.ENDED, reason="deactivated"),
    Settlement(Verdict.AGAIN, seconds=7.0),
    Settlement(Verdict.ENDED, reason="timeout"),
    Settlement(Verdict.KEPT),
]


@pytest.mark.parametrize("owed", [0, 2])
async def test_a_batch_is_settled_in_its_order_and_what_is_owed_again_is_delivered(owed: int) -> None:
    wakes: list[bool] = []
    store = ClaimStore()
    store.owed_again = owed
    settling = Settling(store, lambda: wakes.append(True))
    await settling.settle(REPORTED)
    assert store.applied == list(zip(REPORTED, SETTLED, strict=True))
    assert settling.settled == 5
    assert wakes == ([True] if owed else [])


async def test_parameter_end_sub_on_timeout_reaches_the_policy() -> None:
    store = ClaimStore()
    await Settling(store, lambda: None, end_sub_on_timeout=False).settle(REPORTED)
    verdicts = [settlement.verdict for _, settlement in store.applied]
    assert verdicts == [Verdict.DELIVERED, Verdict.ENDED, Verdict.AGAIN, Verdict.SILENT, Verdict.KEPT]


@pytest.mark.parametrize("fault", [StoreUnavailableError("gone"), StoreUndecidedError("broken")])
async def test_an_edge_keeps_its_outcomes_until_they_are_applied(fault: StoreError) -> None:
    store = ClaimStore()
    body = msgspec.msgpack.encode(OutcomeBatch(REPORTED))
    handler = OutcomesHandler(Settling(store, lambda: None))
    async with served({OUTCOMES: handler}) as here, peer_of(here.address) as (peers, peer):
        store.fault = fault
        with pytest.raises(NotDoneError, match="503"):
            await peers.call(peer, OUTCOMES, body, timeout=10)
        store.fault = None
        assert await peers.call(peer, OUTCOMES, body, timeout=10) == b""
    assert [outcome for outcome, _ in store.applied] == REPORTED
