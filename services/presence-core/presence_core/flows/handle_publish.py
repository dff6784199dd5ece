"""The flow of PUBLISH requests."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand, PublishVerdict, conclude_publish, plan_publish
from presence_core.domain.succession import Held, needs_held, succeed
from presence_core.flows.announcements import Announcer, published_entries
from presence_core.flows.live_events import of_publish
from presence_core.flows.request_flow import FlowLimits, ReplyFuture, RequestFlow
from vedette.live import NOBODY, Teller
from vedette.rpc.contract import PublishCall, Reply
from vedette.runtime.journal import NO_JOURNAL, Journal


class PublishFlow:
    """Plans, has the database decide, concludes, announces. One presentity's requests keep their order."""

    def __init__(
        self,
        apply: Callable[[list[PublishCommand]], Awaitable[list[PublishVerdict]]],
        announcer: Announcer,
        policy: Policy,
        limits: FlowLimits,
        held: Callable[[list[PublishCommand]], Awaitable[list[Held]]],
        live: Teller = NOBODY,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        """`held` reads the publications that commands change, as far as they are there. `live`: who else is told."""
        self._live = live
        self._apply = apply
        self._held = held
        self._policy = policy
        self._announcer = announcer
        self.flow: RequestFlow[PublishCall, PublishCommand, PublishVerdict] = RequestFlow(
            plan=partial(plan_publish, policy=policy),
            lane=lambda command: command.presentity,
            apply=self._apply_and_announce,
            conclude=partial(conclude_publish, policy=policy),
            limits=limits,
            journal=journal,
            name=lambda call: (call.call_id, call.trace),
        )
        self.drain = self.flow.drain

    def handle_publish(self, calls: Sequence[PublishCall]) -> list[Reply | ReplyFuture]:
        """The answer to each PUBLISH, or where it will come from."""
        return self.flow.handle(calls)

    async def _succeed(self, commands: list[PublishCommand]) -> list[PublishCommand]:
        """The commands with the bodies and lifetimes that follow from the state before them."""
        wanted = needs_held(commands)
        held = {item.publication_id: item for item in await self._held(wanted)} if wanted else {}
        return [succeed(command, held.get(command.publication_id), self._policy) for command in commands]

    async def _apply_and_announce(self, commands: list[PublishCommand]) -> list[PublishVerdict]:
        commands = await self._succeed(commands)
        verdicts = await self._apply(commands)
        entries = [
            entry
            for command, verdict in zip(commands, verdicts, strict=True)
            for entry in published_entries(command, verdict)
        ]
        if entries:
            self._announcer.announce(published=entries, wake=any(verdict.watched for verdict in verdicts))
        if self._live.wanted:
            self._live.tell(of_publish(zip(commands, verdicts, strict=True)))
        return verdicts
