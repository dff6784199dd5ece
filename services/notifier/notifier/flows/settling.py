"""Settle the outcomes that the edges report."""

from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from notifier.domain.outcome_policy import Settlement, Verdict, settle
from notifier.flows.live_events import LiveOutcomes
from notifier.flows.ports import DeliveryStore
from vedette.counting import SIZES, Distribution, Tally
from vedette.rpc.contract import Outcome
from vedette.runtime.journal import NO_JOURNAL, Journal

REPORTED = (Verdict.DELIVERED, Verdict.ENDED, Verdict.KEPT, Verdict.AGAIN, Verdict.SILENT, Verdict.WAITS)
"""What `settle` may find."""

log = structlog.get_logger()


class Settling:
    """One database call for a batch of outcomes; what is owed again is delivered by us."""

    def __init__(
        self,
        store: DeliveryStore,
        wake: Callable[[], None],
        *,
        end_sub_on_timeout: bool = True,
        clock: Callable[[], float] = lambda: 0.0,
        live: LiveOutcomes | None = None,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        """`clock`: Postgres's time, 0.0 where it is not known. `live`: who else is told."""
        self._live = live
        self._end_sub_on_timeout = end_sub_on_timeout
        self._store = store
        self._wake = wake
        self.settled = 0
        self._clock = clock
        self._journal = journal
        self.verdicts = Tally({(verdict.value,): 0 for verdict in REPORTED})
        self.batches = Distribution(SIZES)
        """How many outcomes came together."""
        self.seconds = Distribution()
        """From the commit of a PUBLISH to the answer to the NOTIFY that showed it."""

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Apply outcomes, in their order. Raises StoreError, and then nothing was applied for sure or all may be."""
        settlements = [
            (
                outcome,
                settle(outcome.status, outcome.retry_after, end_sub_on_timeout=self._end_sub_on_timeout),
            )
            for outcome in outcomes
        ]
        self._count(settlements)
        for outcome, settlement in settlements:
            if settlement.verdict is not Verdict.DELIVERED:
                log.info(
                    "notify failed",
                    status=outcome.status,
                    verdict=settlement.verdict.value,
                    cseq=outcome.cseq,
                    call_id=outcome.call_id,
                    trace=outcome.trace,
                )
        again, ended = await self._store.settle(settlements)
        if self._journal.on:
            self._journal.many(
                "settled",
                [outcome.call_id for outcome in outcomes],
                f"{len(outcomes)} in the database call",
                traces=[outcome.trace for outcome in outcomes],
                own=[f"NOTIFY {outcome.cseq}: {settlement.verdict.value}" for outcome, settlement in settlements],
            )
        self.settled += len(settlements)
        if self._live is not None and self._live.wanted:
            self._live.settled(settlements, ended)
        if again:
            self._wake()

    def _count(self, settlements: Sequence[tuple[Outcome, Settlement]]) -> None:
        self.batches.add(len(settlements))
        for verdict, times in Counter(settlement.verdict for _, settlement in settlements).items():
            self.verdicts.add(verdict.value, times=times)
        now = self._clock()
        if not now:
            return
        for outcome, _ in settlements:
            if outcome.changed and outcome.status > 0:
                self.seconds.add(max(0.0, now - outcome.changed))
