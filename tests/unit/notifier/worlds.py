"""What the notifier's flows need of the world, in memory (the protocols of notifier/flows/ports.py)."""

from collections.abc import Sequence
from dataclasses import replace

from notifier.domain.claims import Claim, Decided
from notifier.domain.ended import Ended
from notifier.domain.outcome_policy import Settlement, Verdict
from notifier.domain.views import ReadState
from notifier.domain.watchers import Span, WatcherRows
from notifier.flows.ports import MissingNotifier, PresentityKey, Settled
from vedette.identity import Presentity
from vedette.records import DialogRecord, PublicationRecord
from vedette.rpc.contract import Outcome
from vedette.rules.ruling import Rulebook
from vedette.store.database import StoreError

NOBODY = "127.0.0.1:1"
"""An address that refuses connections."""


class ClaimStore:
    """Gives out the claims that were put in, a list at a time, and remembers what is applied."""

    def __init__(self, *batches: list[Claim] | StoreError) -> None:
        self.batches = list(batches)
        self.claims = 0
        self.applied: list[tuple[Outcome, Settlement]] = []
        self.fault: Exception | None = None
        """What `apply` raises."""
        self.refused = 0
        """How often it did."""
        self.owed_again = 0
        self.asks_again = False
        self.misses_claims = False
        self.decided: list[Decided] = []

    async def claim(self, events: int, dialogs: int) -> list[Claim]:
        """The next list, or nothing."""
        self.claims += 1
        batch = self.batches.pop(0) if self.batches else []
        if isinstance(batch, StoreError):
            raise batch
        return batch

    async def changes_left(self) -> bool:
        """Whether a list is left."""
        return bool(self.batches)

    async def apply(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> int:
        """Remember them."""
        if self.fault is not None:
            self.refused += 1
            raise self.fault
        self.applied += outcomes
        return self.owed_again

    async def decide(self, decided: Sequence[Decided]) -> int:
        """Remember them."""
        self.decided += decided
        return 0

    async def settle(self, outcomes: Sequence[tuple[Outcome, Settlement]]) -> Settled:
        """The same; ENDED ends."""
        again = await self.apply(outcomes)
        return Settled(again, [o.dialog_id for o, settlement in outcomes if settlement.verdict is Verdict.ENDED])

    def given_back(self, verdict: str = "unsent") -> dict[str, float]:
        """The dialogs that owe their NOTIFY again, each with its pause; `again`: it may have been sent."""
        assert {settlement.verdict.value for _, settlement in self.applied} <= {verdict}
        return {outcome.dialog_id.decode(): settlement.seconds for outcome, settlement in self.applied}


class States:
    """Reads dialogs and publications from dictionaries."""

    def __init__(self, *dialogs: DialogRecord) -> None:
        self.known = {dialog.dialog_id: dialog for dialog in dialogs}
        self.publications: dict[str, list[PublicationRecord]] = {}
        """By the presentity's URI."""
        self.published: dict[tuple[str, str], list[PublicationRecord]] = {}
        """By URI and event: what is read without a version."""
        self.asked_now: list[PresentityKey] = []
        self.fault: StoreError | None = None
        self.asked: list[tuple[PresentityKey, int]] = []
        self.watching: dict[str, WatcherRows] = {}
        """By the URI of the presentity that is watched."""
        self.asked_watchers: list[tuple[PresentityKey, Span]] = []
        self.rules_read: int | None = None
        """The version of the rules that is read with a state that is newer than the one asked for."""

    async def dialogs(self, claims: Sequence[Claim]) -> dict[bytes, DialogRecord]:
        """Those that are known."""
        if self.fault is not None:
            raise self.fault
        return {claim.dialog_id: self.known[claim.dialog_id] for claim in claims if claim.dialog_id in self.known}

    async def states(self, wanted: Sequence[tuple[PresentityKey, int]]) -> dict[tuple[PresentityKey, int], ReadState]:
        """What was put in."""
        self.asked += wanted
        return {
            (key, version): ReadState(self.publications.get(key[1], []), self.rules_read) for key, version in wanted
        }

    async def rules_now(self, wanted: Sequence[PresentityKey]) -> dict[PresentityKey, int]:
        """What was put in; 1, as claims have it, where nothing was."""
        return dict.fromkeys(wanted, 1 if self.rules_read is None else self.rules_read)

    async def published_now(self, wanted: Sequence[PresentityKey]) -> dict[PresentityKey, list[PublicationRecord]]:
        """What was put in."""
        self.asked_now += wanted
        return {key: self.published.get(key[1:], []) for key in wanted}

    async def watchers(self, wanted: Sequence[tuple[PresentityKey, Span]]) -> list[WatcherRows]:
        """What was put in."""
        self.asked_watchers += wanted
        return [self.watching.get(key[1], WatcherRows(span.whole, [])) for key, span in wanted]


class Books:
    """What is said about watchers: the same of every presentity, at the version that is asked for."""

    def __init__(self, book: Rulebook) -> None:
        self.book = book
        self.due: list[tuple[Presentity, int, float]] = []

    async def at(self, versions: Sequence[tuple[Presentity, int]]) -> dict[Presentity, Rulebook]:
        """What was put in."""
        return {presentity: replace(self.book, version=version) for presentity, version in versions}

    async def note_due(self, moments: Sequence[tuple[Presentity, int, float]]) -> None:
        """Remember them."""
        self.due += moments


class EndingStore:
    """Gives out what ended, a list at a time."""

    def __init__(self, *batches: list[Ended] | StoreError) -> None:
        self.batches = list(batches)
        self.expired = 0
        self.tombstones: list[int | StoreError] = []
        """What `sweep` says in turn; then 0."""
        self.swept: list[tuple[float, int]] = []
        self.forgotten: list[float] = []
        self.due: list[int | StoreError] = []
        """What `judge_due` says in turn; then 0."""

    async def expire(self, limit: int) -> list[Ended]:
        """The next list, or nothing."""
        self.expired += 1
        batch = self.batches.pop(0) if self.batches else []
        if isinstance(batch, StoreError):
            raise batch
        return batch

    async def sweep(self, age: float, limit: int) -> int:
        """The next number."""
        self.swept.append((age, limit))
        count = self.tombstones.pop(0) if self.tombstones else 0
        if isinstance(count, StoreError):
            raise count
        return count

    async def judge_due(self, limit: int) -> int:
        """The next number."""
        count = self.due.pop(0) if self.due else 0
        if isinstance(count, StoreError):
            raise count
        return count

    async def sweep_decisions(self, limit: int) -> int:
        """Nothing."""
        return 0

    async def forget_replicas(self, age: float) -> None:
        """Remember it."""
        self.forgotten.append(age)


class Graveyard:
    """Marks and dialogs of the dead, and who is dead."""

    def __init__(self) -> None:
        self.notifiers: list[str] = []
        """Those that are dead for certain."""
        self.missing_notifiers: list[MissingNotifier] = []
        self.gentle: list[bool] = []
        """How each call of `rehome` asked."""
        self.left = 0
        """What `datagram_dialogs` says."""
        self.edges: list[tuple[str, str]] = []
        self.marks: list[int] = []
        """What `clear_marks` says in turn; then 0."""
        self.busy: set[str] = set()
        """The notifiers whose marks `clear_marks` passes over, for now."""
        self.cleared: list[tuple[list[str], float]] = []
        self.dialogs: list[int] = []
        """What `rehome` says in turn; then 0."""
        self.rehomed: list[tuple[str, str, str]] = []
        self.forgotten: list[str] = []
        self.fault: StoreError | None = None
        self.rounds = 0
        self.given_up: list[tuple[int, int]] = []

    async def clear_marks(self, dead: Sequence[str], limit: int, grace: float) -> int:
        """The next number; `given_up` has each with its round."""
        self.cleared.append((list(dead), grace))
        count = self.marks.pop(0) if self.marks else 0
        if count:
            self.given_up.append((self.rounds, count))
        return count

    async def have_marks(self, notifiers: Sequence[str]) -> set[str]:
        """The busy ones."""
        return self.busy & set(notifiers)

    async def rehome(self, gone: str, instance: str, address: str, limit: int, *, gently: bool = False) -> int:
        """The next number."""
        self.rehomed.append((gone, instance, address))
        self.gentle.append(gently)
        return self.dialogs.pop(0) if self.dialogs else 0

    async def datagram_dialogs(self, edge: str) -> int:
        """What was put in."""
        return self.left

    async def missing(self) -> list[MissingNotifier]:
        """The notifiers that were put in."""
        self.rounds += 1
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        gone = [MissingNotifier(instance, NOBODY, silent=True) for instance in self.notifiers]
        return [missing for missing in [*gone, *self.missing_notifiers] if missing.instance not in self.forgotten]

    async def gone_edges(self, seconds: float) -> list[tuple[str, str]]:
        """The edges that were put in."""
        return [edge for edge in self.edges if edge[0] not in self.forgotten]

    async def forget(self, instance: str) -> None:
        """Remember it."""
        self.forgotten.append(instance)
