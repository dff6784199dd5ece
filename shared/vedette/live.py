"""What happened, as live readers see it: one small struct for each change and each outcome (docs/rest.md)."""

from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

Kind = Literal["publication", "subscription", "notify"]
OfState = Literal["created", "refreshed", "modified", "removed", "expired", "fetched"]
OfNotify = Literal["delivered", "failed", "timeout", "unreachable", "flow_gone"]
What = OfState | OfNotify


class LiveEvent(msgspec.Struct, array_like=True, frozen=True):
    """One thing that was committed, or the end of one NOTIFY."""

    kind: Kind
    what: What
    """Of a publication or subscription what became of it, of a NOTIFY its outcome."""
    time: float
    """Seconds since the epoch: Postgres's of a publication, else of the process that tells."""
    presentity: str
    event: str
    id: str
    """As REST has it: of the publication, or of the subscription."""
    watcher: str = ""
    """Of a subscription or NOTIFY."""
    expires: int | None = None
    """Seconds granted to a publication or subscription."""
    version: int | None = None
    """The presentity's new version, where a publication has raised it."""
    code: int | None = None
    """The final response to a NOTIFY; None where there was none."""
    cseq: int | None = None
    """Of a NOTIFY."""
    reason: str = ""
    """Why a subscription was removed, as Subscription-State has it."""


class LiveBatch(msgspec.Struct, array_like=True, frozen=True):
    """What one process did, in its order."""

    instance: str
    service: str
    number: int
    """Rises by one with each batch that has events; one without says the number of the last."""
    events: list[LiveEvent] = []
    leaving: bool = False
    """Nothing more comes of this process."""


class Teller(Protocol):
    """Takes what happened; never blocks, never fails."""

    @property
    def wanted(self) -> bool:
        """Whether somebody listens: else nothing is to be made for `tell`."""

    def tell(self, events: Sequence[LiveEvent]) -> None:
        """These things happened, in this order."""

    def missed(self) -> None:
        """Something happened that cannot be told: listeners are to know that."""


class _Nobody:
    wanted = False

    def tell(self, events: Sequence[LiveEvent]) -> None:
        del events

    def missed(self) -> None:
        return


NOBODY: Final[Teller] = _Nobody()
"""Has no listeners."""
