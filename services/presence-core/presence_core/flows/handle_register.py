"""The flow of REGISTER requests."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from presence_core.domain.policy import Policy
from presence_core.domain.register import RegisterCommand, RegisterVerdict, conclude_register, plan_register
from presence_core.flows.request_flow import FlowLimits, ReplyFuture, RequestFlow
from vedette.rpc.contract import RegisterCall, Reply


class RegisterFlow:
    """Plans, has the bindings read, judged and written, concludes. One user's requests keep their order."""

    def __init__(
        self,
        apply: Callable[[list[RegisterCommand]], Awaitable[list[RegisterVerdict]]],
        policy: Policy,
        limits: FlowLimits,
    ) -> None:
        self.flow: RequestFlow[RegisterCall, RegisterCommand, RegisterVerdict] = RequestFlow(
            plan=partial(plan_register, policy=policy),
            lane=lambda command: command.aor,
            apply=apply,
            conclude=lambda _command, verdict: conclude_register(verdict),
            limits=limits,
        )
        self.drain = self.flow.drain

    def handle_register(self, calls: Sequence[RegisterCall]) -> list[Reply | ReplyFuture]:
        """The answer to each REGISTER, or where it will come from."""
        return self.flow.handle(calls)
