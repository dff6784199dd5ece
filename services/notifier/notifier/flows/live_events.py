"""What live readers are told: outcomes of NOTIFYs, and what has ended."""

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import structlog

from notifier.domain.ended import Ended
from notifier.domain.outcome_policy import Settlement
from notifier.domain.recent import Recent
from vedette.identity import to_tag
from vedette.live import LiveEvent, Teller, What
from vedette.records import DialogRecord
from vedette.rpc.contract import FLOW_GONE, TIMEOUT, UNREACHABLE, Outcome
from vedette.sip.address import parse_address
from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record
from vedette.store.database import StoreError

REMEMBERED = 50_000
MAX_WAITING = 20_000
"""Outcomes."""
STEP = 500
"""Dialogs that are looked up at once."""

_OUTCOMES: dict[int, What] = {TIMEOUT: "timeout", UNREACHABLE: "unreachable", FLOW_GONE: "flow_gone"}

log = structlog.get_logger()


class DialogReading(Protocol):
    """Where dialogs are."""

    async def dialogs(self, keys: Sequence[tuple[int, bytes]]) -> list[DialogRecord]:
        """The dialogs with these keys, as far as they are there. Raises StoreError."""


class _Dialog(NamedTuple):
    """What never changes in a dialog."""

    presentity: str
    event: str
    id: str
    watcher: str


class _Happened(NamedTuple):
    """What is to be told of one dialog."""

    key: tuple[int, bytes]
    time: float
    outcome: Outcome | None
    """None: its time was over."""
    reason: str | None
    """Why it has ended; None: it has not."""


class LiveOutcomes:
    """Looks up whose dialogs they were, off the hot path, while somebody listens; run `run` as a task."""

    def __init__(self, store: DialogReading, teller: Teller) -> None:
        self._store = store
        self._teller = teller
        self._known: Recent[bytes, _Dialog] = Recent(REMEMBERED)
        self._waiting: list[_Happened | LiveEvent] = []
        self._something = asyncio.Event()

    @property
    def wanted(self) -> bool:
        """Whether somebody listens."""
        return self._teller.wanted

    def settled(self, outcomes: Sequence[tuple[Outcome, Settlement]], ended: Collection[bytes]) -> None:
        """These outcomes were settled, and have ended these dialogs."""
        now = time.time()
        gone = set(ended)
        self._put(
            [
                _Happened(
                    (outcome.presentity_hash, outcome.dialog_id),
                    now,
                    outcome,
                    settlement.reason if outcome.dialog_id in gone else None,
                )
                for outcome, settlement in outcomes
            ]
        )

    def ended(self, ended: Sequence[Ended]) -> None:
        """The time of these was over."""
        now = time.time()
        self._put(
            [
                _expired_publication(item, now)
                if item.kind == "publication"
                else _Happened((item.presentity_hash, item.id), now, None, "timeout")
                for item in ended
            ]
        )

    def _put(self, happened: Sequence[_Happened | LiveEvent]) -> None:
        if len(self._waiting) + len(happened) > MAX_WAITING:
            self._teller.missed()
            return
        self._waiting.extend(happened)
        self._something.set()

    async def run(self) -> None:
        """Tell what happened, for ever."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.finish()

    async def finish(self) -> None:
        """Tell what is waiting."""
        while self._waiting:
            step, self._waiting = self._waiting[:STEP], self._waiting[STEP:]
            try:
                await self._look_up({item.key for item in step if isinstance(item, _Happened)})
            except StoreError as error:
                log.warning("cannot say whose NOTIFYs these were", notifies=len(step), reason=str(error))
                self._teller.missed()
                continue
            self._teller.tell([event for item in step for event in self._events(item)])

    async def _look_up(self, keys: Collection[tuple[int, bytes]]) -> None:
        missing = [key for key in keys if self._known.get(key[1]) is None]
        if missing:
            for record in await self._store.dialogs(missing):
                self._known.put(record.dialog_id, _dialog(record))

    def _events(self, item: _Happened | LiveEvent) -> list[LiveEvent]:
        if isinstance(item, LiveEvent):
            return [item]
        dialog = self._known.get(item.key[1])
        if dialog is None:
            self._teller.missed()
            return []
        events = [] if item.outcome is None else [_notify(item.outcome, item.time, dialog)]
        if item.reason is not None:
            what: What = "expired" if item.outcome is None else "removed"
            events.append(LiveEvent("subscription", what, item.time, *dialog, reason=item.reason))
        return events


def _notify(outcome: Outcome, now: float, dialog: _Dialog) -> LiveEvent:
    status = outcome.status
    answered: What = "delivered" if 200 <= status < 300 else "failed"
    what = _OUTCOMES.get(status, answered)
    code = status if status > 0 else None
    return LiveEvent("notify", what, now, *dialog, code=code, cseq=outcome.cseq)


def _expired_publication(item: Ended, now: float) -> LiveEvent:
    return LiveEvent(
        kind="publication",
        what="expired",
        time=now,
        presentity=item.presentity_uri,
        event=item.event,
        id=to_tag("", item.presentity_hash, item.id),
        version=item.version,
    )


def _dialog(record: DialogRecord) -> _Dialog:
    try:
        watcher = address_of_record(parse_address(record.from_value, "From").uri)
    except SipError:
        watcher = record.from_value
    return _Dialog(record.presentity_uri, record.event, record.to_tag, watcher)
