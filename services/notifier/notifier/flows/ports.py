"""What the flows need of the world. Every method of a store raises StoreError."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from notifier.domain.claims import Claim, Decided
from notifier.domain.ended import Ended
from notifier.domain.outcome_policy import Settlement
from notifier.domain.views import ReadState
from notifier.domain.watchers import Span, WatcherRows
from vedette.records import DialogRecord, PublicationRecord
from vedette.rpc.contract import Outcome


@dataclass(frozen=True, slots=True)
class MissingNotifier:
    """A notifier that is dead, has lost its connection to Postgres, or is stopped."""

    instance: str
    address: str
    silent: bool
    """Whether no heartbeat of it has come for a while: where its lock is free, too, it is not alive as others are."""
    holds_lock: bool = False
    """Its connection is there, and no heartbeat has come for longer than that: stopped, unless it answers."""


PresentityKey = tuple[int, str, str]
"""Hash, URI, event."""


class Settled(NamedTuple):
    """What became of the dialogs whose outcomes were settled."""

    again: int
    """How many owe another NOTIFY now."""
    ended: Sequence[bytes]
    """Those that an outcome has ended."""


class DeliveryStore(Protocol):
    """Where NOTIFYs are claimed and settled."""

    @property
    def asks_again(self) -> bool:
        """Whether what a claim has marked whose answer was lost is had by the next one."""

    @property
    def misses_claims(self) -> bool:
        """Whether the answer of a claim was lost and has not been asked for yet."""

    async def claim(self, events: int, dialogs: int) -> list[Claim]:
        """NOTIFYs that are owed, now marked as ours."""

    async def changes_left(self) -> bool:
        """Whether there are changes that a claim would take now, and maybe has left to the next one."""

    async def apply(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> int:
        """Settle outcomes; how many dialogs owe another NOTIFY now."""

    async def decide(self, decided: Sequence[Decided]) -> int:
        """Have the subscriptions become what was decided; how many owe a NOTIFY now."""

    async def settle(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> Settled:
        """The same; also which dialogs have ended."""


class StateReading(Protocol):
    """Where dialogs and states are read."""

    async def dialogs(self, claims: Sequence[Claim]) -> dict[bytes, DialogRecord]:
        """The dialogs of the claims by id; one that is not there any more is left out."""

    async def states(self, wanted: Sequence[tuple[PresentityKey, int]]) -> dict[tuple[PresentityKey, int], ReadState]:
        """The states of presentities at these versions or newer ones."""

    async def published_now(self, wanted: Sequence[PresentityKey]) -> dict[PresentityKey, list[PublicationRecord]]:
        """The publications of presentities as they are at a moment after the call."""

    async def rules_now(self, wanted: Sequence[PresentityKey]) -> dict[PresentityKey, int]:
        """The versions of the rules of presentities at a moment after the call."""

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

    async def judge_due(self, limit: int) -> int:
        """Have those judged again for whom rules begin or cease to be valid; of how many presentities."""

    async def sweep_decisions(self, limit: int) -> int:
        """Forget what rules decided about watchers who are long gone; how many rows."""

    async def forget_replicas(self, age: float) -> None:
        """Forget the processes that were not seen for `age` seconds."""


class BindingStore(Protocol):
    """Where users have registered."""

    async def follow(self, limit: int) -> tuple[int, bool]:
        """Move dialogs to where their clients have registered; how many, and whether there may be more."""

    async def sweep_bindings(self, age: float, limit: int) -> int:
        """Remove the bindings that have been over for `age` seconds; how many."""


class RecoveryStore(Protocol):
    """Where the dead leave something."""

    async def clear_marks(self, dead: Sequence[str], limit: int, grace: float) -> int:
        """Give up the marks of dead notifiers, and those whose time is over; how many: the limit, or a call more."""

    async def have_marks(self, notifiers: Sequence[str]) -> set[str]:
        """Those of the notifiers that may still have marks: `clear_marks` passes over a presentity that is busy."""

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
