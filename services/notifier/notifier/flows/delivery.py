"""Deliver: claim what is owed, read, compose once for each view, hand over to the edges that own the flows."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import Settlement, Verdict
from notifier.domain.views import View, ViewKey, Views, watched_by
from notifier.flows.handover import EDGE_GONE_PAUSE, FAULT_PAUSE, HandOver, Share, digest, view_key
from notifier.flows.ports import DeliveryStore, StateReading
from vedette.records import DialogRecord, PublicationRecord
from vedette.rpc.client import Peers
from vedette.rpc.contract import Outcome
from vedette.store.database import StoreError, StoreUndecidedError

CLAIM_EVENTS = 500
CLAIM_DIALOGS = 1000
DISPATCHES = 4
POLL = 1.0
POLL_WITHOUT_BELL = 0.1

log = structlog.get_logger()


class Delivery:
    """Run `run` as a task and call `wake` when something may be owed; it polls besides."""

    def __init__(
        self,
        store: DeliveryStore,
        reader: StateReading,
        views: Views,
        edges: Peers,
        *,
        bell_heard: Callable[[], bool],
        edge_gone: Callable[[str, str], None],
        claims_lost: Callable[[], None],
        expires_offset: int = 0,
        suppress_unchanged: bool = True,
    ) -> None:
        """`bell_heard`: whether wake-ups can be heard at all; `edge_gone`: told of an edge that took no call.

        `claims_lost`: told when dialogs may be marked as ours and we neither have them nor could give them back.
        """
        self._store = store
        self._reader = reader
        self._views = views
        self._bell_heard = bell_heard
        self._claims_lost = claims_lost
        self._expires_offset = expires_offset
        self._suppress_unchanged = suppress_unchanged
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(DISPATCHES)
        self._dispatches: set[asyncio.Task[None]] = set()
        self._handover = HandOver(edges, settle=self._settle, edge_gone=edge_gone, expires_offset=expires_offset)
        self._claiming = asyncio.Lock()
        self._ending = False
        self.claimed = 0
        self.suppressed = 0
        """NOTIFYs that were not sent because they would have brought nothing new."""

    def wake(self) -> None:
        """Something may be owed."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            poll = POLL if self._bell_heard() else POLL_WITHOUT_BELL
            try:
                async with asyncio.timeout(poll):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                while await self._step():
                    pass
            except StoreError as error:
                log.warning("cannot claim", reason=str(error))
                if isinstance(error, StoreUndecidedError):
                    self._claims_lost()
                await asyncio.sleep(POLL_WITHOUT_BELL)

    async def _step(self) -> bool:
        """Claim once; whether there may be more."""
        await self._slots.acquire()
        claims: list[Claim] = []
        try:
            async with self._claiming:
                if not self._ending:
                    claims = await self._store.claim(CLAIM_EVENTS, CLAIM_DIALOGS)
        except BaseException:
            self._slots.release()
            raise
        if not claims:
            self._slots.release()
            return False
        self.claimed += len(claims)
        task = asyncio.create_task(self._dispatch(claims))
        self._dispatches.add(task)
        task.add_done_callback(self._dispatched)
        return True

    def _dispatched(self, task: asyncio.Task[None]) -> None:
        self._dispatches.discard(task)
        self._slots.release()

    @property
    def is_unsure(self) -> bool:
        """Whether some edge has not told yet what it took."""
        return self._handover.is_unsure

    async def drain(self) -> None:
        """Claim nothing more, and return when everything that was claimed has been handed over."""
        self._ending = True
        async with self._claiming:  # a claim that is under way marks dialogs as ours: it is not to be cut off
            pass
        while self._dispatches:
            await asyncio.wait(self._dispatches)

    async def _dispatch(self, claims: list[Claim]) -> None:
        try:
            await self._read_and_hand_over(claims)
        except Exception:
            log.exception("cannot deliver", claims=len(claims))
            await self._give_back(claims, FAULT_PAUSE)

    async def _read_and_hand_over(self, claims: list[Claim]) -> None:
        try:
            dialogs = await self._reader.dialogs(claims)
            views = await self._compose(claims, dialogs)
        except StoreError as error:
            log.warning("cannot read what was claimed", claims=len(claims), reason=str(error))
            await self._give_back(claims, EDGE_GONE_PAUSE, Verdict.UNSENT)
            return
        by_edge: dict[tuple[str, str], list[Claim]] = {}
        without_document: list[Claim] = []
        unchanged: list[Claim] = []
        for claim in claims:
            dialog = dialogs.get(claim.dialog_id)
            if dialog is None:
                continue
            key = view_key(claim, dialogs)
            if key is not None and key not in views:
                without_document.append(claim)
            elif self._suppress_unchanged and claim.brings_nothing(digest(key, views)):
                unchanged.append(claim)
            else:
                by_edge.setdefault((dialog.edge_instance, dialog.edge_address), []).append(claim)
        if without_document:
            await self._give_back(without_document, FAULT_PAUSE, Verdict.UNSENT)
        settled, *ends = await asyncio.gather(
            self._settle_unchanged(unchanged),
            *(
                self._handover.hand_over(Share(instance, address, group, dialogs, views))
                for (instance, address), group in by_edge.items()
            ),
            return_exceptions=True,
        )
        if isinstance(settled, Exception):
            # Not given back: where it was carried out, their CSeqs may be others' by now.
            log.error("cannot settle what is unchanged", notifies=len(unchanged), exc_info=settled)
            self._claims_lost()
        for end in ends:
            if isinstance(end, Exception):
                log.error("cannot hand over", exc_info=end)
                self._claims_lost()

    async def _settle_unchanged(self, claims: Sequence[Claim]) -> None:
        """Their watchers have what they would get: the marks are cleared, and the CSeqs are free again."""
        if not claims:
            return
        self.suppressed += len(claims)
        settlement = Settlement(Verdict.UNCHANGED)
        outcomes = [(_outcome(claim, claim.acked_digest or b""), settlement) for claim in claims]
        if await self._store.apply(outcomes):
            self.wake()

    async def _compose(self, claims: list[Claim], dialogs: dict[bytes, DialogRecord]) -> dict[ViewKey, View]:
        """Every view that the claims need, each composed once.

        One that cannot be composed is left out, so that it holds up nobody else (invariant 5).
        """
        needed: dict[ViewKey, Claim] = {}
        views: dict[ViewKey, View] = {}
        for claim in claims:
            key = view_key(claim, dialogs)
            if key is None or key in views or key in needed:
                continue
            known = self._views.get(key)
            if known is not None:
                views[key] = known
            else:
                needed[key] = claim
        views.update(await self._compose_states(needed))
        views.update(await self._compose_watchers(needed))
        return views

    async def _compose_states(self, needed: Mapping[ViewKey, Claim]) -> dict[ViewKey, View]:
        """Those of the views that show what is published."""
        keys = {
            key: ((claim.presentity_hash, key.presentity_uri, key.event), key.version)
            for key, claim in needed.items()
            if key.span is None
        }
        if not keys:
            return {}
        states = await self._reader.states(list(dict.fromkeys(keys.values())))
        mixed = await self._read_mixed(needed)
        return self._each(keys, lambda key: self._views.compose(key, states[keys[key]], mixed.get(key, ())))

    async def _read_mixed(self, needed: Mapping[ViewKey, Claim]) -> dict[ViewKey, Sequence[PublicationRecord]]:
        """What the views show besides of another event's publications.

        Each change of these raises the version of both events at once, so what was committed before the claim is in
        it, and what comes later is claimed again.
        """
        wanted = {
            key: (claim.presentity_hash, key.presentity_uri, event)
            for key, claim in needed.items()
            if (event := self._views.mixed_into(key.event)) is not None
        }
        if not wanted:
            return {}
        found = await self._reader.published_now(list(dict.fromkeys(wanted.values())))
        return {key: found[presentity] for key, presentity in wanted.items()}

    async def _compose_watchers(self, needed: Mapping[ViewKey, Claim]) -> dict[ViewKey, View]:
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
        return self._each(
            wanted,
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


def _outcome(claim: Claim, digest: bytes = b"") -> Outcome:
    return Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 0, None, digest)
