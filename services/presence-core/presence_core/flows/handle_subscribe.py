"""The flow of SUBSCRIBE requests."""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from presence_core.domain.policy import Policy
from presence_core.domain.subscribe import (
    SubscribeCommand,
    SubscribeVerdict,
    conclude_subscribe,
    plan_subscribe,
)
from presence_core.flows.announcements import Announcer, dialog_entries
from presence_core.flows.live_events import of_subscribe
from presence_core.flows.request_flow import FlowLimits, ReplyFuture, RequestFlow
from vedette.live import NOBODY, Teller
from vedette.rpc.contract import Reply, SubscribeCall
from vedette.runtime.journal import NO_JOURNAL, Journal


class SubscribeFlow:
    """Plans, has the database decide, concludes, announces. One dialog's requests keep their order."""

    def __init__(
        self,
        apply: Callable[[list[SubscribeCommand]], Awaitable[list[SubscribeVerdict]]],
        announcer: Announcer,
        policy: Policy,
        limits: FlowLimits,
        live: Teller = NOBODY,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        """`live`: who else is told."""
        self._live = live
        self._apply = apply
        self._announcer = announcer
        self.flow: RequestFlow[SubscribeCall, SubscribeCommand, SubscribeVerdict] = RequestFlow(
            plan=partial(plan_subscribe, policy=policy),
            lane=lambda command: command.callid,
            apply=self._apply_and_announce,
            conclude=partial(conclude_subscribe, policy=policy),
            limits=limits,
            journal=journal,
            name=lambda call: (call.call_id, call.trace),
        )
        self.drain = self.flow.drain

    def handle_subscribe(self, calls: Sequence[SubscribeCall]) -> list[Reply | ReplyFuture]:
        """The answer to each SUBSCRIBE, or where it will come from."""
        return self.flow.handle(calls)

    async def _apply_and_announce(self, commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        verdicts = await self._apply(commands)
        entries = [entry for verdict in verdicts for entry in dialog_entries(verdict)]
        if entries:
            self._announcer.announce(dialogs=entries, wake=True)
        if self._live.wanted:
            self._live.tell(of_subscribe(zip(commands, verdicts, strict=True), time.time()))
        return verdicts
