"""Deliver: claim what is owed, read, compose once for each view, hand over to the edges that own the flows."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import structlog

from notifier.domain.claims import Claim, notify_item
from notifier.domain.outcome_policy import Settlement, Verdict
from notifier.domain.views import NO_VIEW, View, ViewKey, Views
from notifier.flows.ports import DeliveryStore, StateReading
from vedette.records import DialogRecord
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peer, Peers
from vedette.rpc.contract import NOTIFIES, UNREADABLE, NotifyBatch, NotifyItem, Outcome, Taken
from vedette.store.database import StoreError, StoreUndecidedError

CLAIM_EVENTS = 500
CLAIM_DIALOGS = 1000
DISPATCHES = 4
POLL = 1.0
POLL_WITHOUT_BELL = 0.1
RPC_TIMEOUT = 5.0
EDGE_FULL_PAUSE = 0.5
EDGE_GONE_PAUSE = 1.0
FAULT_PAUSE = 30.0
"""Before what we could not compose or hand over, through a fault of ours, is tried again."""

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
        self._edges = edges
        self._bell_heard = bell_heard
        self._edge_gone = edge_gone
        self._claims_lost = claims_lost
        self._expires_offset = expires_offset
        self._suppress_unchanged = suppress_unchanged
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(DISPATCHES)
        self._dispatches: set[asyncio.Task[None]] = set()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Taken).decode
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
        try:
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

    async def drain(self) -> None:
        """Return when everything that was claimed has been handed over."""
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
            key = _view(claim, dialogs)
            if key is not None and key not in views:
                without_document.append(claim)
            elif self._suppress_unchanged and claim.brings_nothing(_digest(key, views)):
                unchanged.append(claim)
            else:
                by_edge.setdefault((dialog.edge_instance, dialog.edge_address), []).append(claim)
        if without_document:
            await self._give_back(without_document, FAULT_PAUSE, Verdict.UNSENT)
        settled, *ends = await asyncio.gather(
            self._settle_unchanged(unchanged),
            *(
                self._hand_over(instance, address, group, dialogs, views)
                for (instance, address), group in by_edge.items()
            ),
            return_exceptions=True,
        )
        if isinstance(settled, Exception):
            # Not given back: where it was carried out, their CSeqs may be others' by now.
            log.error("cannot settle what is unchanged", notifies=len(unchanged), exc_info=settled)
            self._claims_lost()
        for group, end in zip(by_edge.values(), ends, strict=True):
            if isinstance(end, Exception):
                # A fault of ours: what other edges took is on its way and must not be given back with this.
                log.error("cannot hand over", notifies=len(group), exc_info=end)
                await self._give_back(group, FAULT_PAUSE)

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
        needed: dict[ViewKey, int] = {}
        views: dict[ViewKey, View] = {}
        for claim in claims:
            key = _view(claim, dialogs)
            if key is None or key in views or key in needed:
                continue
            known = self._views.get(key)
            if known is not None:
                views[key] = known
            else:
                needed[key] = claim.presentity_hash
        if needed:
            presentities = {((hash_, key.presentity_uri, key.event), key.version) for key, hash_ in needed.items()}
            states = await self._reader.states(list(presentities))
            for key, hash_ in needed.items():
                publications = states[(hash_, key.presentity_uri, key.event), key.version]
                try:
                    views[key] = self._views.compose(key, publications)
                except Exception:
                    log.exception("cannot compose", presentity=key.presentity_uri, package=key.event)
        return views

    async def _hand_over(
        self,
        instance: str,
        address: str,
        claims: list[Claim],
        dialogs: dict[bytes, DialogRecord],
        views: dict[ViewKey, View],
    ) -> None:
        """Have one edge send the NOTIFYs of its dialogs."""
        peer = self._edges.by_instance(instance) or Peer(address)
        shared: dict[ViewKey, int] = {}
        items: list[NotifyItem] = []
        for claim in claims:
            key = _view(claim, dialogs)
            index = -1
            if key is not None and views[key].document.body:
                index = shared.setdefault(key, len(shared))
            dialog = dialogs[claim.dialog_id]
            items.append(notify_item(claim, dialog, index, self._expires_offset, _digest(key, views)))
        body = self._encode(NotifyBatch([views[key].document for key in shared], items))
        try:
            answer = await self._edges.call(peer, NOTIFIES, body, timeout=RPC_TIMEOUT, instance=instance)
            refused = [claims[index] for index in self._decode(answer).refused]
        except NotDoneError as error:
            log.info("edge did not take notifies", edge=instance, notifies=len(items), reason=str(error))
            self._edge_gone(instance, address)
            await self._give_back(claims, EDGE_GONE_PAUSE, Verdict.UNSENT)
        except (OutcomeUnknownError, *UNREADABLE, IndexError) as error:
            # It may be sending them: its outcomes, or its end, or time will tell.
            log.warning("edge may have taken notifies", edge=instance, notifies=len(items), reason=str(error))
            self._edge_gone(instance, address)
        else:
            if refused:
                await self._give_back(refused, EDGE_FULL_PAUSE, Verdict.UNSENT)

    async def _give_back(self, claims: Sequence[Claim], seconds: float, verdict: Verdict = Verdict.AGAIN) -> None:
        """These are owed again, after a pause; UNSENT: they were surely not sent."""
        settlement = Settlement(verdict, seconds=seconds)
        outcomes = [(_outcome(claim), settlement) for claim in claims]
        try:
            await self._store.apply(outcomes)
        except StoreError as error:
            log.warning("cannot give back notifies", notifies=len(claims), reason=str(error))
            self._claims_lost()


def _outcome(claim: Claim, digest: bytes = b"") -> Outcome:
    return Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 0, None, digest)


def _digest(key: ViewKey | None, views: dict[ViewKey, View]) -> bytes:
    return NO_VIEW if key is None else views[key].digest


def _view(claim: Claim, dialogs: dict[bytes, DialogRecord]) -> ViewKey | None:
    """What the NOTIFY of the claim shows; None for nothing."""
    dialog = dialogs.get(claim.dialog_id)
    if dialog is None or not claim.shows_state:
        return None
    return ViewKey(claim.presentity_uri, claim.event, claim.version, dialog.accept)
