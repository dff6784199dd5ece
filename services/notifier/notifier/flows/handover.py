"""Hand NOTIFYs over to the edges: in batches that are not too large, and never with an unknown end for long.

A batch whose answer did not come is withdrawn: the edge tells what of it was taken, and takes nothing more of it. So
what it did not take may be claimed again with a new CSeq at once, and nothing is sent twice or late.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from notifier.domain.claims import Claim, notify_item
from notifier.domain.outcome_policy import Settlement, Verdict
from notifier.domain.views import View, shown_digest
from vedette.records import DialogRecord
from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peer, Peers, TooLargeError
from vedette.rpc.contract import (
    BATCH_BODIES,
    HANDOVER_AGE,
    NOTIFIES,
    UNREADABLE,
    WITHDRAWALS,
    Document,
    NotifyBatch,
    NotifyItem,
    Taken,
    Withdrawal,
)
from vedette.runtime.journal import NO_JOURNAL, Journal

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


class Owed(NamedTuple):
    """A NOTIFY that is to be sent."""

    claim: Claim
    dialog: DialogRecord
    view: View | None
    """What it shows; None: nothing."""


class Share(NamedTuple):
    """The NOTIFYs that one edge is to send; those with the same view stand together."""

    instance: str
    address: str
    owed: Sequence[Owed]
    claimed_at: float
    """On our monotonic clock; the claim was made then or later."""

    @property
    def claims(self) -> list[Claim]:
        """What was claimed."""
        return [one.claim for one in self.owed]


class HandOver:
    """`hand_over` the share of an edge."""

    def __init__(
        self,
        edges: Peers,
        *,
        settle: Settle,
        edge_gone: Callable[[str, str], None],
        expires_offset: int = 0,
        patience: float = HANDOVER_AGE,
        journal: Journal = NO_JOURNAL,
    ) -> None:
        """`settle`: what becomes of dialogs whose NOTIFYs were not taken; `edge_gone`: told of a silent edge.

        `patience`: seconds after which others may take what was claimed.
        """
        self._age = min(patience, HANDOVER_AGE)
        self._edges = edges
        self._settle = settle
        self._edge_gone = edge_gone
        self._expires_offset = expires_offset
        self._journal = journal
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Taken).decode

    @property
    def is_unsure(self) -> bool:
        """Whether it is not known yet of some batch what the edge took of it."""
        return bool(self._withdrawals)

    async def hand_over(self, share: Share) -> None:
        """Have the edge send these NOTIFYs. Raises nothing that the edge can cause."""
        for part in _parts(share.owed):
            await self._hand_over_part(share._replace(owed=part))

    async def _hand_over_part(self, share: Share) -> None:
        owed = share.owed
        try:
            await self._send(share)
        except TooLargeError as error:
            if len(owed) > 1:
                middle = len(owed) // 2
                await self._hand_over_part(share._replace(owed=owed[:middle]))
                await self._hand_over_part(share._replace(owed=owed[middle:]))
                return
            log.warning("notify is too large", presentity=owed[0].claim.presentity_uri, reason=str(error))
            await self._settle(share.claims, Settlement(Verdict.KEPT))
        except Exception:
            # A fault of ours: what was taken of other parts is on its way and must not be given back with this.
            log.exception("cannot hand over", notifies=len(owed))
            await self._settle(share.claims, Settlement(Verdict.AGAIN, seconds=FAULT_PAUSE))

    async def _send(self, share: Share) -> None:
        instance, address, owed, claimed_at = share
        documents: list[Document] = []
        items: list[NotifyItem] = []
        batch = secrets.token_bytes(12)
        prefix = batch[:4].hex()
        last: View | None = None
        index, digest, changed = -1, shown_digest(None), 0.0
        for number, (claim, dialog, view) in enumerate(owed):
            if view is not last:
                last, index, digest = view, -1, shown_digest(view)
                changed = 0.0 if view is None else view.changed
                if view is not None and view.document.body:
                    index = len(documents)
                    documents.append(view.document)
            trace = f"{prefix}{number:x}"
            items.append(notify_item(claim, dialog, index, self._expires_offset, digest, changed, trace))
        if self._journal.on:
            self._journal.many(
                "handed over",
                [item.call_id for item in items],
                f"to edge {instance}, {len(items)} in the batch",
                traces=[item.trace for item in items],
                own=[f"NOTIFY {item.cseq}" for item in items],
            )
        peer = self._peer(instance, address)
        try:
            until = await self._until(peer, instance, claimed_at)
            body = self._encode(NotifyBatch(documents, items, batch, until))
            answer = await self._edges.call(peer, NOTIFIES, body, timeout=RPC_TIMEOUT, instance=instance)
            refused = [owed[index].claim for index in self._decode(answer).refused]
        except TooLargeError:
            raise
        except NotDoneError as error:
            log.info("edge did not take notifies", edge=instance, notifies=len(items), reason=str(error))
            self._edge_gone(instance, address)
            await self._settle(share.claims, Settlement(Verdict.UNSENT, seconds=EDGE_GONE_PAUSE))
        except (OutcomeUnknownError, *UNREADABLE, IndexError) as error:
            log.warning("edge may have taken notifies", edge=instance, notifies=len(items), reason=str(error))
            self._edge_gone(instance, address)
            self._begin_withdrawal(instance, address, batch, share.claims)
        else:
            if refused:
                await self._settle(refused, Settlement(Verdict.UNSENT, seconds=EDGE_FULL_PAUSE))

    async def _until(self, peer: Peer, instance: str, claimed_at: float) -> float:
        """The edge's uptime after which it is to take nothing of that claim. Raises NotDoneError.

        Our clocks are not compared: the edge has told how long it had been up when it said hello.
        """
        if peer.uptime_at(instance, claimed_at) is None:
            try:
                peer.heard(await self._edges.ask(peer))
            except OutcomeUnknownError as error:
                raise NotDoneError(str(error)) from error
        uptime = peer.uptime_at(instance, claimed_at)
        if uptime is None:
            raise NotDoneError(f"{peer.address} is not {instance}")
        return uptime + self._age

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


def _parts(owed: Sequence[Owed]) -> list[Sequence[Owed]]:
    """In as many parts as they need for their documents to have BATCH_BODIES octets together, in order."""
    parts: list[Sequence[Owed]] = []
    begin, octets = 0, 0
    last: View | None = None
    for place, (_, _, view) in enumerate(owed):
        if view is None or view is last:
            continue
        length = len(view.document.body)
        if octets + length > BATCH_BODIES and place > begin:
            parts.append(owed[begin:place])
            begin, octets = place, 0
        last = view
        octets += length
    parts.append(owed[begin:])
    return parts
