"""Take over from the dead: marks of notifiers that are gone, dialogs of edges that are gone."""

import asyncio
import time
from collections.abc import Callable

import structlog

from notifier.flows.ports import LivenessPort, RecoveryStore
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peer, Peers
from vedette.rpc.contract import HANDOVER_AGE, Hello
from vedette.store.database import StoreError

INTERVAL = 0.5
GRACE = 1.0
"""A claim of a dead notifier that is younger may have reached its edge, which will report."""
MARK_SECONDS = 4.0
"""How long what a dead process or a lost claim has left is looked for: that of a busy presentity comes later."""
LOST_CLAIM_SECONDS = 5.0
"""When a claim is surely over whose outcome we do not know: Postgres gives up a statement before."""
ATTEMPTS = 8
ATTEMPT_PAUSE = 0.05
OVERDUE_INTERVAL = 15.0
EDGE_SILENCE = 3.0
EDGE_PROBES = 2
LIMIT = 1000

log = structlog.get_logger()


class Recovery:
    """Run `run` as a task; `suspect` an edge that does not answer as the instance it was."""

    def __init__(
        self,
        instance: str,
        store: RecoveryStore,
        liveness: LivenessPort,
        edges: Peers,
        *,
        wake: Callable[[], None],
        beats: Callable[[], int],
    ) -> None:
        """`instance` is our own; `beats`: how many heartbeats in a row of ours reached Postgres.

        After an outage everybody looks dead for a moment, so nobody is buried before a few of them.
        """
        self._instance = instance
        self._store = store
        self._liveness = liveness
        self._edges = edges
        self._wake = wake
        self._beats = beats
        self._dead: dict[str, float] = {}
        self._silent_notifiers: set[str] = set()
        """Those of the dead that may only be stopped."""
        self._suspects: dict[str, str] = {}
        self._silent: dict[str, int] = {}
        self._gone: dict[str, float] = {}
        self._overdue_at = 0.0
        self._lost_at: float | None = None

    def suspect(self, instance: str, address: str) -> None:
        """An edge did not take what was meant for it."""
        if instance:
            self._suspects[instance] = address

    @property
    def misses_claims(self) -> bool:
        """Whether dialogs may be marked as ours that we know nothing of."""
        return self._lost_at is not None

    def claims_lost(self) -> None:
        """Dialogs may be marked as ours that we know nothing of."""
        self._lost_at = time.monotonic()

    async def run(self) -> None:
        """Look for the dead, for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            if self._beats() < 3:
                continue
            try:
                await self._give_up_lost_claims()
                await self._bury_notifiers()
                await self._bury_edges()
            except StoreError as error:
                log.warning("cannot recover", reason=str(error))

    async def _give_up_lost_claims(self) -> None:
        """Give up our marks of the time in which the lost claim may have been carried out.

        It may have been committed some time after its connection broke. Others of our marks of that age go with it:
        an edge replaces what it still sends.
        """
        lost_at = self._lost_at
        if lost_at is None or time.monotonic() - lost_at < LOST_CLAIM_SECONDS:
            return
        cleared = await self._clear_marks([self._instance], LOST_CLAIM_SECONDS)
        if cleared:
            log.warning("gave up marks of lost claims", marks=cleared)
            self._wake()
        if time.monotonic() - lost_at > 2 * LOST_CLAIM_SECONDS + MARK_SECONDS and self._lost_at == lost_at:
            self._lost_at = None

    async def _bury_notifiers(self) -> None:
        now = time.monotonic()
        for missing in await self._liveness.missing():
            if missing.instance in self._dead:
                continue
            if missing.holds_lock and await self._answers(missing.instance, missing.address):
                continue
            # Who has only lost its connection to Postgres answers, and takes its lock again.
            gone = await self._edges.is_gone(Peer(missing.address), missing.instance)
            if gone or missing.silent:
                log.warning("notifier is dead", dead=missing.instance, for_certain=gone)
                self._dead[missing.instance] = now
                if not gone:
                    self._silent_notifiers.add(missing.instance)
        overdue = now >= self._overdue_at
        if overdue:
            self._overdue_at = now + OVERDUE_INTERVAL
        if self._dead or overdue:
            gone_ones = [instance for instance in self._dead if instance not in self._silent_notifiers]
            cleared = await self._clear_marks(gone_ones, GRACE) if gone_ones or overdue else 0
            # One that was only stopped may go on and hand over what it claimed: edges refuse that once it is so old.
            if self._silent_notifiers:
                cleared += await self._clear_marks(sorted(self._silent_notifiers), HANDOVER_AGE)
            if cleared:
                log.warning("gave up marks", marks=cleared, dead=list(self._dead))
                self._wake()
        over = [instance for instance, since in self._dead.items() if now - since > MARK_SECONDS]
        left = await self._store.have_marks(over) if over else set()
        for instance in over:
            if instance not in left:
                await self._liveness.forget(instance)
                del self._dead[instance]
                self._silent_notifiers.discard(instance)

    async def _clear_marks(self, notifiers: list[str], grace: float) -> int:
        """Give up marks of these notifiers, and whose time is over; how many.

        A presentity that somebody changes this very moment is passed over, and looked at again soon: one that is
        changed all the time would else be met at rest only after many rounds.
        """
        cleared = 0
        for _ in range(ATTEMPTS):
            count = LIMIT
            while count >= LIMIT:
                count = await self._store.clear_marks(notifiers, LIMIT, grace)
                cleared += count
            if not notifiers or not await self._store.have_marks(notifiers):
                break
            await asyncio.sleep(ATTEMPT_PAUSE)
        return cleared

    async def _bury_edges(self) -> None:
        for instance, address in await self._liveness.gone_edges(EDGE_SILENCE):
            self._suspects.setdefault(instance, address)
        for instance, address in list(self._suspects.items()):
            if await self._answers(instance, address):
                self._suspects.pop(instance)
                self._silent.pop(instance, None)
                self._gone.pop(instance, None)
                continue
            self._silent[instance] = self._silent.get(instance, 0) + 1
            if self._silent[instance] >= EDGE_PROBES and await self._rehome(instance):
                self._suspects.pop(instance)
                self._silent.pop(instance)
                self._gone.pop(instance)
                await self._liveness.forget(instance)

    async def _answers(self, instance: str, address: str) -> bool:
        known = self._edges.by_instance(instance)
        if known is not None and known.ready:
            return True
        try:
            return (await self._edges.ask(Peer(address))).instance == instance
        except (NotDoneError, OutcomeUnknownError):
            return False

    async def leave(self, instance: str, address: str, *, gone: bool) -> int:
        """Move the dialogs of an edge that is about to end; how many UDP dialogs are left to move. Raises StoreError.

        See `Leaving` of the contract for `gone`. What cannot be moved now is, once the edge does not answer any more.
        """
        if gone:
            self.suspect(instance, address)
        if self._heir(instance) is None:
            await self._edges.probe()
        heir = self._heir(instance)
        if heir is None:
            return 0
        moved = await self._move(instance, heir, gently=not gone)
        if moved:
            log.info("edge leaves", leaving=instance, heir=heir.instance, dialogs=moved)
            self._wake()
        return 0 if gone else await self._store.datagram_dialogs(instance)

    def _heir(self, instance: str) -> Hello | None:
        """Another edge that is ready."""
        addresses = {peer.address for peer in self._edges.ready() if peer.hello and peer.hello.instance == instance}
        heir = self._edges.choose(addresses)
        return None if heir is None else heir.hello

    async def _move(self, instance: str, heir: Hello, *, gently: bool = False) -> int:
        moved = 0
        while count := await self._store.rehome(instance, heir.instance, heir.address, LIMIT, gently=gently):
            moved += count
        return moved

    async def _rehome(self, instance: str) -> bool:
        """Whether the dialogs of the edge are in other hands now, and have been looked for long enough."""
        heir = self._heir(instance)
        if heir is None:
            return False
        moved = await self._move(instance, heir)
        if moved or instance not in self._gone:
            log.warning("edge is gone", gone=instance, heir=heir.instance, dialogs=moved)
            self._wake()
        now = time.monotonic()
        return now - self._gone.setdefault(instance, now) > MARK_SECONDS
