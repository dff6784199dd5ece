"""Cleaning up now, as `cleanup` of the module did: without waiting for clean_period."""

import msgspec
from pydantic import BaseModel, Field

from presence_core.adapters.rest.access import CallerDep
from presence_core.adapters.rest.audited import elsewhere, entry
from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.problems import RestError
from presence_core.adapters.rest.replica_calls import NoReplicaError
from vedette.rpc.client import OutcomeUnknownError
from vedette.rpc.contract import CLEANUP, UNREADABLE, Cleaned
from vedette.store.api_tokens import Role

PATIENCE = 30.0


class CleanupView(BaseModel):
    """What was done."""

    ended: int = Field(description="Publications and subscriptions whose time was over.")
    removed: int = Field(description="Remains of what ended long ago.")


def add_cleanup(operations: Operations, parts: Parts) -> None:
    """Add the operation."""

    @operations.add(
        "POST",
        "/cleanup",
        tag="system",
        role=Role.ADMIN,
        whole_system=True,
        errors=(504,),
        example={"ended": 3, "removed": 120},
    )
    async def clean_up(caller: CallerDep) -> CleanupView:
        """End what is over and remove what nobody needs any more, at once."""

        async def work() -> Cleaned:
            try:
                answer = await parts.replica_calls.any_of("notifier", CLEANUP, timeout=PATIENCE)
                return msgspec.msgpack.decode(answer, type=Cleaned)
            except NoReplicaError as error:
                raise RestError(503, str(error)) from None
            except (OutcomeUnknownError, *UNREADABLE) as error:
                raise RestError(504, f"it is not known how far the notifier has come: {error}") from None

        cleaned = await elsewhere(parts.database, entry(caller, "clean_up", "system", domain=None), work)
        return CleanupView(ended=cleaned.ended, removed=cleaned.removed)
