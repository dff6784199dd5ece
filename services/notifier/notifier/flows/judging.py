"""Judge the watchers of claims: what each is to see, and who is let in, kept waiting or sent away from now on.

Each claim names the version of the rules under which it was made. What is decided by other rules than those that hold
when it is carried out is not carried out (`decide_watchers_v1`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from notifier.domain.claims import TERMINATED, Claim, Decided
from notifier.domain.recent import Recent
from notifier.domain.views import newest_first
from notifier.flows.ports import DeliveryStore, PresentityKey, StateReading
from vedette.events.presence import published_sphere
from vedette.identity import Presentity
from vedette.records import DialogRecord
from vedette.rules.ruling import (
    ACTIVE,
    LET_IN,
    NO_RULES,
    SHOWS_NOTHING,
    Defaults,
    Rulebook,
    Ruling,
    judge,
    lets_everybody_in,
)

REMEMBERED = 20_000


class Books(Protocol):
    """What is said about watchers. Methods raise StoreError."""

    async def at(self, versions: Sequence[tuple[Presentity, int]]) -> dict[Presentity, Rulebook]:
        """The rulebooks of these versions, or newer ones."""

    async def note_due(self, moments: Sequence[tuple[Presentity, int, float]]) -> None:
        """Have watchers judged again at a moment, if their rules still have that version."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged of claims, by dialog."""

    shows: dict[bytes, str] = field(default_factory=dict)
    """What each NOTIFY shows, as `Ruling` has it."""
    decided: list[Decided] = field(default_factory=list)
    """Those whose NOTIFY is not to be sent, since the subscription becomes another one."""
    rules: dict[tuple[int, str, str], int] = field(default_factory=dict)
    """By presentity, the version of the rules that were judged by, where it is not 0."""

    def rules_of(self, presentity: tuple[int, str, str]) -> int:
        """The version of the rules that were judged by."""
        return self.rules.get(presentity, 0)


class Judging:
    """`judge` claims; `rulings` counts those that were not remembered."""

    def __init__(self, books: Books, reader: StateReading, store: DeliveryStore, defaults: Defaults) -> None:
        self._books = books
        self._reader = reader
        self._store = store
        self._defaults = defaults
        self._recent: Recent[tuple[object, ...], Ruling] = Recent(REMEMBERED)
        self._noted: Recent[tuple[Presentity, int], float] = Recent(REMEMBERED)
        self.rulings = 0

    async def judge(self, claims: Sequence[Claim], dialogs: Mapping[bytes, DialogRecord]) -> Judged:
        """What becomes of the watchers of these claims, as far as their dialogs are known. Raises StoreError."""
        with_rules = {_presentity(claim): claim.rules for claim in claims if claim.rules}
        books = await self._books.at(list(with_rules.items())) if with_rules else {}
        spheres = await self._spheres(claims, books)
        judged = Judged(rules={presentity: book.version for presentity, book in books.items()})
        due: dict[tuple[Presentity, int], float] = {}
        for claim in claims:
            dialog = dialogs.get(claim.dialog_id)
            if dialog is None:
                continue
            book, sphere = NO_RULES, None
            if claim.rules:
                presentity = _presentity(claim)
                book, sphere = books.get(presentity, NO_RULES), spheres.get(presentity)
            ruling = self._rule(claim, dialog, book, sphere)
            shows = ruling.shows
            if claim.status == TERMINATED:
                if ruling.status != ACTIVE or dialog.reason == "rejected":
                    shows = SHOWS_NOTHING
            elif ruling.status != claim.status or (claim.status == ACTIVE and ruling.reason != dialog.reason):
                judged.decided.append(Decided(claim, ruling.status, ruling.reason, book.version))
            elif claim.status != ACTIVE:
                shows = SHOWS_NOTHING
            judged.shows[claim.dialog_id] = shows
            if ruling.until is not None:
                moment = (_presentity(claim), book.version)
                due[moment] = min(ruling.until, due.get(moment, ruling.until))
        await self._note(due, max((claim.at for claim in claims), default=0.0))
        return judged

    async def carry_out(self, decided: Sequence[Decided]) -> int:
        """Have the subscriptions become what was decided; how many owe a NOTIFY now. Raises StoreError."""
        return await self._store.decide(decided) if decided else 0

    def _rule(self, claim: Claim, dialog: DialogRecord, book: Rulebook, sphere: str | None) -> Ruling:
        if lets_everybody_in(book, self._defaults, claim.event):
            return LET_IN
        watcher = (dialog.watcher_username, dialog.watcher_domain)
        key = (claim.presentity_uri, claim.event, book.version, watcher, sphere)
        ruling = self._recent.get(key)
        if ruling is None or (ruling.until is not None and ruling.until <= claim.at):
            ruling = judge(book, self._defaults, watcher, claim.presentity_uri, claim.event, sphere, claim.at)
            self._recent.put(key, ruling)
            self.rulings += 1
        return ruling

    async def _spheres(
        self, claims: Sequence[Claim], books: Mapping[Presentity, Rulebook]
    ) -> dict[Presentity, str | None]:
        """The spheres that rules ask for, of the states that are about to be shown."""
        if not self._defaults.sphere_check or not any(book.asks_sphere for book in books.values()):
            return {}
        wanted: dict[Presentity, tuple[PresentityKey, int]] = {
            presentity: (presentity, claim.version)
            for claim in claims
            if (presentity := _presentity(claim)) in books and books[presentity].asks_sphere
        }
        states = await self._reader.states(list(wanted.values()))
        return {
            presentity: published_sphere(presentity.uri, presentity.event, newest_first(states[key].publications))
            for presentity, key in wanted.items()
        }

    async def _note(self, due: Mapping[tuple[Presentity, int], float], now: float) -> None:
        """Write down, once, when watchers are to be judged again."""
        new = {key: at for key, at in due.items() if not now < (self._noted.get(key) or now) <= at}
        if not new:
            return
        await self._books.note_due([(presentity, version, at) for (presentity, version), at in new.items()])
        for key, at in new.items():
            self._noted.put(key, at)


def _presentity(claim: Claim) -> Presentity:
    return Presentity(claim.presentity_hash, claim.presentity_uri, claim.event)
