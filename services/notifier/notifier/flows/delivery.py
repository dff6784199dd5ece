"""Deliver: claim what is owed, read, compose once for each view, hand over to the edges that own the flows."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from notifier.domain.claims import Claim, Decided
from notifier.domain.outcome_policy import Settlement, Verdict
from notifier.domain.views import View, ViewKey, Views, by_view, shown_digest, watched_by
from notifier.flows.handover import EDGE_GONE_PAUSE, FAULT_PAUSE, HandOver, Owed, Share
from notifier.flows.judging import Judged, Judging
from notifier.flows.ports import DeliveryStore, StateReading
from vedette.counting import SIZES, Distribution
from vedette.records import DialogRecord, PublicationRecord
from vedette.rpc.client import Peers
from vedette.rpc.contract import HANDOVER_AGE, Outcome
from vedette.rules.ruling import SHOWS_OFFLINE
from vedette.runtime.journal import NO_JOURNAL, Journal
from vedette.spacing import Spacing
from vedette.store.database import StoreError, StoreUndecidedError

CLAIM_EVENTS = 500
CLAIM_DIALOGS = 1000
DISPATCHES = 4
POLL = 1.0
POLL_WITHOUT_BELL = 0.1
SPACE, ENOUGH = 0.004, 50
"""Seconds between two claims of which the first found fewer dialogs than that: it has left none, unless more than
CLAIM_EVENTS changes were due, and the next one is made for what comes after it."""

log = structlog.get_logger()


class Delivery:
    """Run `run` as a task and call `wake` when something may be owed; it polls besides."""

    def __init__(
        self,
        store: DeliveryStore,
        reader: StateReading,
        views: Views,
        edges: Peers,
        judging: Judging,
        *,
        bell_heard: Callable[[], bool],
        edge_gone: Callable[[str, str], None],
        claims_lost: Callable[[], None],
        found: Callable[[int], None] = lambda _dialogs: None,
        expires_offset: int = 0,
        suppress_unchanged: bool = True,
        patience: float = HANDOVER_AGE,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        """`bell_heard`: whether wake-ups can be heard at all; `edge_gone`: told of an edge that took no call.

        `found`: told of so many dialogs that a claim has found. `patience`: seconds after which others may take what
        we claimed.
        `claims_lost`: told when dialogs may be marked as ours and we neither have them nor could give them back.
        """
        self._store = store
        self._reader = reader
        self._views = views
        self._judging = judging
        self._bell_heard = bell_heard
        self._claims_lost = claims_lost
        self._found = found
        self._expires_offset = expires_offset
        self._suppress_unchanged = suppress_unchanged
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(DISPATCHES)
        self._dispatches: set[asyncio.Task[None]] = set()
        self._journal = journal
        self._handover = HandOver(
            edges,
            settle=self._settle,
            edge_gone=edge_gone,
            expires_offset=expires_offset,
            patience=patience,
            journal=journal,
        )
        self._claiming = asyncio.Lock()
        self._spacing = Spacing(SPACE, ENOUGH)
        self._ending = False
        self.claimed = 0
        self.batches = Distribution(SIZES)
        """How many NOTIFYs were claimed at once."""
        self.seconds = Distribution()
        """From then until they were with the edges."""
        self.suppressed = 0
        """NOTIFYs that were not sent because they would have brought nothing new."""

    def wake(self) -> None:
        """Something may be owed."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver for ever."""
        changes_left = False
        while True:
            poll = POLL if self._bell_heard() and not changes_left else POLL_WITHOUT_BELL
            rung = True
            try:
                async with asyncio.timeout(poll):
                    await self._woken.wait()
            except TimeoutError:
                rung = False
            self._woken.clear()
            try:
                while await self._step() >= ENOUGH:
                    pass
                changes_left = not rung and await self._store.changes_left()
            except StoreError as error:
                log.warning("cannot claim", reason=str(error))
                if isinstance(error, StoreUndecidedError):
                    if self._store.asks_again:
                        self._woken.set()
                    else:
                        self._claims_lost()
                await asyncio.sleep(POLL_WITHOUT_BELL)

    async def _step(self) -> int:
        """Claim once; how many dialogs it found."""
        await self._slots.acquire()
        claims: list[Claim] = []
        try:
            if delay := self._spacing.delay(time.monotonic()):
                await asyncio.sleep(delay)
            async with self._claiming:
                claimed_at = time.monotonic()
                self._woken.clear()  # this claim sees what the bell was rung for
                if not self._ending:
                    claims = await self._store.claim(CLAIM_EVENTS, CLAIM_DIALOGS)
            self._spacing.begun(claimed_at, len(claims))
        except BaseException:
            self._slots.release()
            raise
        if not claims:
            self._slots.release()
            return 0
        self._found(len(claims))
        self.claimed += len(claims)
        self.batches.add(len(claims))
        task = asyncio.create_task(self._dispatch(claims, claimed_at))
        self._dispatches.add(task)
        task.add_done_callback(self._dispatched)
        return len(claims)

    def _dispatched(self, task: asyncio.Task[None]) -> None:
        self._dispatches.discard(task)
        self._slots.release()

    @property
    def is_unsure(self) -> bool:
        """Whether some edge has not told yet what it took, or Postgres what we claimed."""
        return self._handover.is_unsure or self._store.misses_claims

    async def drain(self) -> None:
        """Claim nothing more, and return when everything that was claimed has been handed over."""
        self._ending = True
        async with self._claiming:  # a claim that is under way marks dialogs as ours: it is not to be cut off
            pass
        while self._dispatches:
            await asyncio.wait(self._dispatches)

    async def _dispatch(self, claims: list[Claim], claimed_at: float) -> None:
        begun = asyncio.get_running_loop().time()
        try:
            await self._read_and_hand_over(claims, claimed_at)
            self.seconds.add(asyncio.get_running_loop().time() - begun)
        except Exception:
            log.exception("cannot deliver", claims=len(claims))
            await self._give_back(claims, FAULT_PAUSE)

    async def _read_and_hand_over(self, claims: list[Claim], claimed_at: float) -> None:
        try:
            dialogs = await self._reader.dialogs(claims)
            self._write_down("claimed", claims, dialogs)
            judged = await self._judging.judge(claims, dialogs)
            await self._carry_out(judged.decided)
            claims = _left_of(claims, judged.decided)
            groups = by_view(claims, dialogs, judged.shows)
            views, superseded = await self._compose(groups, judged)
        except StoreError as error:
            log.warning("cannot read what was claimed", claims=len(claims), reason=str(error))
            await self._give_back(claims, EDGE_GONE_PAUSE, Verdict.UNSENT)
            return
        by_edge: dict[tuple[str, str], list[Owed]] = {}
        without_document: list[Claim] = []
        unchanged: list[Claim] = []
        by_old_rules: list[Claim] = []
        for key, group in groups.items():
            view = None if key is None else views.get(key)
            if key in superseded:
                by_old_rules += group
                continue
            if key is not None and view is None:
                without_document += group
                continue
            digest, may_be_held_back = shown_digest(view), self._may_be_held_back(key)
            for claim in group:
                if may_be_held_back and claim.brings_nothing(digest):
                    unchanged.append(claim)
                    continue
                dialog = dialogs[claim.dialog_id]
                owed = Owed(claim, dialog, view)
                by_edge.setdefault((dialog.edge_instance, dialog.edge_address), []).append(owed)
        if without_document:
            await self._give_back(without_document, FAULT_PAUSE, Verdict.UNSENT)
        if by_old_rules:
            await self._give_back(by_old_rules, 0.0, Verdict.UNSENT)
            self.wake()
        self._write_down("unchanged", unchanged, dialogs)
        settled, *ends = await asyncio.gather(
            self._settle_unchanged(unchanged),
            *(
                self._handover.hand_over(Share(instance, address, owed_by_it, claimed_at))
                for (instance, address), owed_by_it in by_edge.items()
            ),
            return_exceptions=True,
        )
        if isinstance(settled, Exception):
            log.error("cannot settle what is unchanged", notifies=len(unchanged), exc_info=settled)
            self._claims_lost()
        for end in ends:
            if isinstance(end, Exception):
                log.error("cannot hand over", exc_info=end)
                self._claims_lost()

    def _may_be_held_back(self, key: ViewKey | None) -> bool:
        """Whether a NOTIFY that brings nothing new is not sent.

        One that hides the state never is: that there was a change would show in it.
        """
        return self._suppress_unchanged or key is None or key.shows == SHOWS_OFFLINE

    async def _carry_out(self, decided: Sequence[Decided]) -> None:
        """Their subscriptions become others, which are claimed anew."""
        if not decided:
            return
        log.info("watchers decided", watchers=len(decided))
        if await self._judging.carry_out(decided):
            self.wake()

    def _write_down(self, what: str, claims: Sequence[Claim], dialogs: Mapping[bytes, DialogRecord]) -> None:
        known = [claim for claim in claims if claim.dialog_id in dialogs] if self._journal.on else []
        if not known:
            return
        self._journal.many(
            what,
            [dialogs[claim.dialog_id].call_id for claim in known],
            f"{len(claims)} in the database call",
            own=[f"NOTIFY {claim.cseq}" for claim in known],
        )

    async def _settle_unchanged(self, claims: Sequence[Claim]) -> None:
        """Their watchers have what they would get: the marks are cleared, and the CSeqs are free again.

        What fails is not given back: where it was carried out, their CSeqs may be others' by now.
        """
        if not claims:
            return
        self.suppressed += len(claims)
        settlement = Settlement(Verdict.UNCHANGED)
        outcomes = [(_outcome(claim, claim.acked_digest or b""), settlement) for claim in claims]
        try:
            owed_again = await self._store.apply(outcomes)
        except StoreError as error:
            log.warning("cannot settle what is unchanged", notifies=len(claims), reason=str(error))
            self._claims_lost()
            return
        if owed_again:
            self.wake()

    async def _compose(
        self, groups: Mapping[ViewKey | None, Sequence[Claim]], judged: Judged
    ) -> tuple[dict[ViewKey, View], set[ViewKey | None]]:
        """Every view that the claims need, each composed once; and those that other rules have overtaken.

        One that cannot be composed is left out, so that it holds up nobody else (invariant 5).
        """
        needed: dict[ViewKey, Claim] = {}
        views: dict[ViewKey, View] = {}
        for key, group in groups.items():
            if key is None:
                continue
            known = self._views.get(key)
            if known is not None:
                views[key] = known
            else:
                needed[key] = group[0]
        superseded: set[ViewKey | None] = set()
        views.update(await self._compose_states(needed, judged, superseded))
        views.update(await self._compose_watchers(needed, judged, superseded))
        return views, superseded

    async def _compose_states(
        self, needed: Mapping[ViewKey, Claim], judged: Judged, superseded: set[ViewKey | None]
    ) -> dict[ViewKey, View]:
        """Those of the views that show what is published.

        A state that is newer than the claim is shown only where the rules are still those that were judged by: who
        was shut out in between must not see it.
        """
        hiding = [key for key in needed if key.shows == SHOWS_OFFLINE]
        views = self._each(hiding, lambda key: self._views.compose(key, ()))
        keys = {
            key: ((claim.presentity_hash, key.presentity_uri, key.event), key.version)
            for key, claim in needed.items()
            if key.span is None and key not in views
        }
        if not keys:
            return views
        states = await self._reader.states(list(dict.fromkeys(keys.values())))
        mixed = await self._read_mixed(needed)
        for key, (presentity, _) in keys.items():
            if states[keys[key]].rules not in {None, judged.rules_of(presentity)}:
                superseded.add(key)
        if mixed:
            superseded |= await self._overtaken(list(mixed), needed, judged)
        wanted = [key for key in keys if key not in superseded]
        views |= self._each(
            wanted, lambda key: self._views.compose(key, states[keys[key]].publications, mixed.get(key, ()))
        )
        return views

    async def _overtaken(
        self, keys: Sequence[ViewKey], needed: Mapping[ViewKey, Claim], judged: Judged
    ) -> set[ViewKey]:
        """The views, of what was read without a version, whose rules are others by now."""
        presentities = {key: (needed[key].presentity_hash, key.presentity_uri, key.event) for key in keys}
        now = await self._reader.rules_now(list(dict.fromkeys(presentities.values())))
        return {key for key, presentity in presentities.items() if now[presentity] != judged.rules_of(presentity)}

    async def _read_mixed(self, needed: Mapping[ViewKey, Claim]) -> dict[ViewKey, Sequence[PublicationRecord]]:
        """What the views show besides of another event's publications.

        Each change of these raises the version of both events at once, so what was committed before the claim is in
        it, and what comes later is claimed again.
        """
        wanted = {
            key: (claim.presentity_hash, key.presentity_uri, event)
            for key, claim in needed.items()
            if key.shows != SHOWS_OFFLINE and (event := self._views.mixed_into(key.event)) is not None
        }
        if not wanted:
            return {}
        found = await self._reader.published_now(list(dict.fromkeys(wanted.values())))
        return {key: found[presentity] for key, presentity in wanted.items()}

    async def _compose_watchers(
        self, needed: Mapping[ViewKey, Claim], judged: Judged, superseded: set[ViewKey | None]
    ) -> dict[ViewKey, View]:
        """Those of the views that show who watches."""
        keys = [(key, key.span, watched_by(key.event)) for key in needed]
        wanted = {
            key: ((needed[key].presentity_hash, key.presentity_uri, base), span)
            for key, span, base in keys
            if span is not None and base is not None
        }
        if not wanted:
            return {}
        rows = dict(zip(wanted, await self._reader.watchers(list(wanted.values())), strict=True))
        overtaken = await self._overtaken(list(wanted), needed, judged)
        superseded |= overtaken
        return self._each(
            [key for key in wanted if key not in overtaken],
            lambda key: self._views.compose_watchers(key, rows[key], needed[key].at, self._expires_offset),
        )

    def _each(self, keys: Iterable[ViewKey], compose: Callable[[ViewKey], View]) -> dict[ViewKey, View]:
        views: dict[ViewKey, View] = {}
        for key in keys:
            try:
                views[key] = compose(key)
            except Exception:
                log.exception("cannot compose", presentity=key.presentity_uri, package=key.event)
        return views

    async def _give_back(self, claims: Sequence[Claim], seconds: float, verdict: Verdict = Verdict.AGAIN) -> None:
        """These are owed again, after a pause; UNSENT: they were surely not sent."""
        await self._settle(claims, Settlement(verdict, seconds=seconds))

    async def _settle(self, claims: Sequence[Claim], settlement: Settlement) -> None:
        try:
            await self._store.apply([(_outcome(claim), settlement) for claim in claims])
        except StoreError as error:
            log.warning("cannot give back notifies", notifies=len(claims), reason=str(error))
            self._claims_lost()

    async def close(self) -> None:
        """Ask no edge any more what it took."""
        await self._handover.close()


def _left_of(claims: list[Claim], decided: Sequence[Decided]) -> list[Claim]:
    """The claims without those that were decided on."""
    if not decided:
        return claims
    gone = {claim.dialog_id for claim, *_ in decided}
    return [claim for claim in claims if claim.dialog_id not in gone]


def _outcome(claim: Claim, digest: bytes = b"") -> Outcome:
    return Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 0, None, digest)
