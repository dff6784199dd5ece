"""Hand NOTIFYs over to the edges: in batches that are not too large, and never with an unknown end for long.

A batch whose answer did not come is withdrawn: the edge tells what of it was taken, and takes nothing more of it. So
what it did not take may be claimed again with a new CSeq at once, and nothing is sent twice or late.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from notifier.domain.claims import Claim, notify_item
from notifier.domain.outcome_policy import Settlement, Verdict
from notifier.domain.views import NO_VIEW, View, ViewKey, watched_by
from notifier.domain.watchers import Span
from vedette.records import DialogRecord
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peer, Peers, TooLargeError
from vedette.rpc.contract import (
    BATCH_BODIES,
    NOTIFIES,
    UNREADABLE,
    WITHDRAWALS,
    NotifyBatch,
    NotifyItem,
    Taken,
    Withdrawal,
)

RPC_TIMEOUT = 5.0
EDGE_FULL_PAUSE = 0.5
EDGE_GONE_PAUSE = 1.0
FAULT_PAUSE = 30.0
"""Before what we could not compose or hand over, through a fault of ours, is tried again."""
WITHDRAWAL_PAUSE = 0.2
WITHDRAWAL_PATIENCE = 60.0
"""Seconds; an edge that is silent for so long is gone, or the marks of its NOTIFYs are over."""
MAX_WITHDRAWALS = 200

log = structlog.get_logger()

Settle = Callable[[Sequence[Claim], Settlement], Awaitable[None]]


class Share(NamedTuple):
    """The NOTIFYs that one edge is to send, with what they need: the dialog of each claim and the views."""

    instance: str
    address: str
    claims: Sequence[Claim]
    dialogs: Mapping[bytes, DialogRecord]
    views: Mapping[ViewKey, View]


class HandOver:
    """`hand_over` the share of an edge."""

    def __init__(
        self, edges: Peers, *, settle: Settle, edge_gone: Callable[[str, str], None], expires_offset: int = 0
    ) -> None:
        """`settle`: what becomes of dialogs whose NOTIFYs were not taken; `edge_gone`: told of a silent edge."""
        self._edges = edges
        self._settle = settle
        self._edge_gone = edge_gone
        self._expires_offset = expires_offset
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Taken).decode

    @property
    def is_unsure(self) -> bool:
        """Whether it is not known yet of some batch what the edge took of it."""
        return bool(self._withdrawals)

    async def hand_over(self, share: Share) -> None:
        """Have the edge send these NOTIFYs. Raises nothing that the edge can cause."""
        for part in _parts(share):
            await self._hand_over_part(share._replace(claims=part))

    async def _hand_over_part(self, share: Share) -> None:
        claims = share.claims
        try:
            await self._send(share)
        except TooLargeError as error:
            if len(claims) > 1:
                middle = len(claims) // 2
                await self._hand_over_part(share._replace(claims=claims[:middle]))
                await self._hand_over_part(share._replace(claims=claims[middle:]))
                return
            log.warning("notify is too large", presentity=claims[0].presentity_uri, reason=str(error))
            await self._settle(claims, Settlement(Verdict.KEPT))
        except Exception:
            # A fault of ours: what was taken of other parts is on its way and must not be given back with this.
            log.exception("cannot hand over", notifies=len(claims))
            await self._settle(claims, Settlement(Verdict.AGAIN, seconds=FAULT_PAUSE))

    async def _send(self, share: Share) -> None:
        instance, address, claims, dialogs, views = share
        shared: dict[ViewKey, int] = {}
        items: list[NotifyItem] = []
        for claim in claims:
            key = view_key(claim, dialogs)
            index = -1
            if key is not None and views[key].document.body:
                index = shared.setdefault(key, len(shared))
            dialog = dialogs[claim.dialog_id]
            items.append(notify_item(claim, dialog, index, self._expires_offset, digest(key, views)))
        batch = secrets.token_bytes(12)
        body = self._encode(NotifyBatch([views[key].document for key in shared], items, batch))
        peer = self._peer(instance, address)
        try:
            answer = await self._edges.call(peer, NOTIFIES, body, timeout=RPC_TIMEOUT, instance=instance)
            refused = [claims[index] for index in self._decode(answer).refused]
        except TooLargeError:
            raise
        except NotDoneError as error:
            log.info("edge did not take notifies", edge=instance, notifies=len(items), reason=str(error))
            self._edge_gone(instance, address)
            await self._settle(claims, Settlement(Verdict.UNSENT, seconds=EDGE_GONE_PAUSE))
        except (OutcomeUnknownError, *UNREADABLE, IndexError) as error:
            log.warning("edge may have taken notifies", edge=instance, notifies=len(items), reason=str(error))
            self._edge_gone(instance, address)
            self._begin_withdrawal(instance, address, batch, claims)
        else:
            if refused:
                await self._settle(refused, Settlement(Verdict.UNSENT, seconds=EDGE_FULL_PAUSE))

    def _peer(self, instance: str, address: str) -> Peer:
        return self._edges.by_instance(instance) or Peer(address)

    # withdrawing

    def _begin_withdrawal(self, instance: str, address: str, batch: bytes, claims: Sequence[Claim]) -> None:
        if len(self._withdrawals) >= MAX_WITHDRAWALS:
            return  # time will tell: the marks are not for ever
        task = asyncio.create_task(self._withdraw(instance, address, batch, claims))
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    async def _withdraw(self, instance: str, address: str, batch: bytes, claims: Sequence[Claim]) -> None:
        """Ask the edge until it tells what of the batch it has taken, and give the rest back."""
        body = self._encode(Withdrawal(batch, len(claims)))
        ends = time.monotonic() + WITHDRAWAL_PATIENCE
        while time.monotonic() < ends:
            try:
                answer = await self._edges.call(
                    self._peer(instance, address), WITHDRAWALS, body, timeout=RPC_TIMEOUT, instance=instance
                )
                refused = [claims[index] for index in self._decode(answer).refused]
            except (NotDoneError, OutcomeUnknownError, *UNREADABLE, IndexError):
                await asyncio.sleep(WITHDRAWAL_PAUSE)
                continue
            log.info("edge told what it took", edge=instance, taken=len(claims) - len(refused), refused=len(refused))
            if refused:
                await self._settle(refused, Settlement(Verdict.UNSENT, seconds=EDGE_FULL_PAUSE))
            return

    async def close(self) -> None:
        """Ask no more."""
        for task in self._withdrawals:
            task.cancel()
        await asyncio.gather(*self._withdrawals, return_exceptions=True)


def _parts(share: Share) -> list[Sequence[Claim]]:
    """The claims in as many parts as they need for their documents to have BATCH_BODIES octets together, in order."""
    claims, dialogs, views = share.claims, share.dialogs, share.views
    parts: list[Sequence[Claim]] = []
    begin, octets = 0, 0
    seen: set[ViewKey] = set()
    for place, claim in enumerate(claims):
        key = view_key(claim, dialogs)
        if key is None or key in seen:
            continue
        length = len(views[key].document.body)
        if octets + length > BATCH_BODIES and place > begin:
            parts.append(claims[begin:place])
            begin, octets = place, 0
            seen.clear()
        seen.add(key)
        octets += length
    parts.append(claims[begin:])
    return parts


def digest(key: ViewKey | None, views: Mapping[ViewKey, View]) -> bytes:
    """What tells a view from others; `key` None is a view of nothing."""
    return NO_VIEW if key is None else views[key].digest


def view_key(claim: Claim, dialogs: Mapping[bytes, DialogRecord]) -> ViewKey | None:
    """What the NOTIFY of the claim shows; None for nothing."""
    dialog = dialogs.get(claim.dialog_id)
    if dialog is None or not claim.shows_state:
        return None
    span = None if watched_by(claim.event) is None else Span(claim.since, claim.until, claim.whole)
    return ViewKey(claim.presentity_uri, claim.event, claim.version, dialog.accept, span)
