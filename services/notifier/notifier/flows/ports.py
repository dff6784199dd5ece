"""What the flows need of the world. Every method of a store raises StoreError."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from notifier.domain.claims import Claim
from notifier.domain.ended import Ended
from notifier.domain.outcome_policy import Settlement
from notifier.domain.watchers import Span, WatcherRows
from vedette.records import DialogRecord, PublicationRecord
from vedette.rpc.contract import Outcome


@dataclass(frozen=True, slots=True)
class MissingNotifier:
    """A notifier whose lock is free: it is dead, or has lost its connection to Postgres."""

    instance: str
    address: str
    silent: bool
    """Whether no heartbeat of it has come for so long that it is dead for certain."""


PresentityKey = tuple[int, str, str]
"""Hash, URI, event."""


class DeliveryStore(Protocol):
    """Where NOTIFYs are claimed and settled."""

    async def claim(self, events: int, dialogs: int) -> list[Claim]:
        """NOTIFYs that are owed, now marked as ours."""

    async def apply(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> int:
        """Settle outcomes; how many dialogs owe another NOTIFY now."""


class StateReading(Protocol):
    """Where dialogs and states are read."""

    async def dialogs(self, claims: Sequence[Claim]) -> dict[bytes, DialogRecord]:
        """The dialogs of the claims by id; one that is not there any more is left out."""

    async def states(
        self, wanted: Sequence[tuple[PresentityKey, int]]
    ) -> dict[tuple[PresentityKey, int], list[PublicationRecord]]:
        """The publications of presentities at these versions or newer ones."""

    async def published_now(self, wanted: Sequence[PresentityKey]) -> dict[PresentityKey, list[PublicationRecord]]:
        """The publications of presentities as they are at a moment after the call."""

    async def watchers(self, wanted: Sequence[tuple[PresentityKey, Span]]) -> list[WatcherRows]:
        """For each presentity and event that is watched, the watchers that a document of that span shows.

        All are of one moment, after the call.
        """


class ExpiryStore(Protocol):
    """Where things end."""

    async def expire(self, limit: int) -> list[Ended]:
        """End what is over; what ended."""

    async def sweep(self, age: float, limit: int) -> int:
        """Remove tombstones older than `age` seconds; how many rows."""

    async def forget_replicas(self, age: float) -> None:
        """Forget the processes that were not seen for `age` seconds."""


class RecoveryStore(Protocol):
    """Where the dead leave something."""

    async def clear_marks(self, dead: Sequence[str], limit: int, grace: float) -> int:
        """Give up the marks of dead notifiers, and those whose time is over; how many."""

    async def have_marks(self, notifiers: Sequence[str]) -> set[str]:
        """Those of the notifiers that still have marks: `clear_marks` passes over a presentity that is busy."""

    async def rehome(self, gone: str, instance: str, address: str, limit: int, *, gently: bool = False) -> int:
        """Give the dialogs of an edge that is gone to another one; how many.

        `gently`: it is about to go, and only its UDP dialogs with nothing outstanding are moved.
        """

    async def datagram_dialogs(self, edge: str) -> int:
        """How many UDP dialogs an edge has."""


class LivenessPort(Protocol):
    """Who is alive."""

    async def missing(self) -> list[MissingNotifier]:
        """The notifiers that were there and whose lock is free."""

    async def gone_edges(self, seconds: float) -> list[tuple[str, str]]:
        """Instance and address of the edges that no core has heard of for so many seconds."""

    async def forget(self, instance: str) -> None:
        """Nothing more is to be done for this process."""
