"""Settle the outcomes that the edges report."""

from collections.abc import Callable, Sequence

import structlog

from notifier.domain.outcome_policy import Verdict, settle
from notifier.flows.ports import DeliveryStore
from vedette.rpc.contract import Outcome

log = structlog.get_logger()


class Settling:
    """One database call for a batch of outcomes; what is owed again is delivered by us."""

    def __init__(self, store: DeliveryStore, wake: Callable[[], None], *, end_sub_on_timeout: bool = True) -> None:
        self._end_sub_on_timeout = end_sub_on_timeout
        self._store = store
        self._wake = wake
        self.settled = 0

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Apply outcomes, in their order. Raises StoreError, and then nothing was applied for sure or all may be."""
        settlements = [
            (
                outcome,
                settle(outcome.status, outcome.retry_after, end_sub_on_timeout=self._end_sub_on_timeout),
            )
            for outcome in outcomes
        ]
        for outcome, settlement in settlements:
            if settlement.verdict is not Verdict.DELIVERED:
                log.info("notify failed", status=outcome.status, verdict=settlement.verdict.value, cseq=outcome.cseq)
        again = await self._store.apply(settlements)
        self.settled += len(settlements)
        if again:
            self._wake()
