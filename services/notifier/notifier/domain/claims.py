"""A NOTIFY that is owed and was claimed, and the call that has an edge send it."""

import math
from typing import NamedTuple

from vedette.records import DialogRecord
from vedette.rpc.contract import NotifyItem
from vedette.sip.event_header import EventHeader

TERMINATED = 3
PENDING = 2


class Claim(NamedTuple):
    """A row of `claim_notifies_v2`."""

    presentity_hash: int
    presentity_uri: str
    event: str
    version: int
    dialog_id: bytes
    cseq: int
    document_version: int
    status: int
    revision: int
    sent_before: int
    """The presentity's version that the last NOTIFY carried; 0: this one is owed whatever the state."""
    acked_digest: bytes | None
    """Digest of what the watcher acknowledged last; None where it may have seen something else since."""
    since: int
    """Watcher information: which changes of the watchers it shows, after this one ..."""
    until: int
    """... up to this one."""
    whole: bool
    """Watcher information: what its reader has is in doubt, so it gets every watcher there is."""
    at: float
    """Postgres's time, seconds since the epoch."""
    rules: int = 0
    """The version of the rules that its watcher is judged by; 0: there are none."""

    def brings_nothing(self, digest: bytes) -> bool:
        """Whether its watcher has acknowledged just what a NOTIFY with this digest shows, and is owed no more."""
        return self.sent_before != 0 and self.status != TERMINATED and digest == self.acked_digest


class Decided(NamedTuple):
    """A claim whose watcher is let in otherwise than before."""

    claim: Claim
    status: int
    reason: str
    rules: int
    """The version of the rules that it was judged by."""


def subscription_state(claim: Claim, dialog: DialogRecord, expires_offset: int = 0) -> str:
    """The Subscription-State value (RFC 6665 section 8.2.3): remaining seconds, or the reason of the end.

    A dialog is kept `expires_offset` seconds longer than its watcher is told.
    """
    if claim.status == TERMINATED:
        return f"terminated;reason={dialog.reason or 'timeout'}"
    left = max(0, math.ceil(dialog.expires - claim.at) - expires_offset)
    return f"{'pending' if claim.status == PENDING else 'active'};expires={left}"


def notify_item(
    claim: Claim,
    dialog: DialogRecord,
    document: int,
    expires_offset: int = 0,
    digest: bytes = b"",
    changed: float = 0.0,
    trace: str = "",
) -> NotifyItem:
    """The item for the edge; `document` is the index of its body in the batch, -1 for none.

    `changed`: when what it shows was published. A NOTIFY that is owed whatever the state does not come from that.
    """
    return NotifyItem(
        presentity_hash=claim.presentity_hash,
        dialog_id=claim.dialog_id,
        cseq=claim.cseq,
        document=document,
        call_id=dialog.call_id,
        local=f"{dialog.to_value};tag={dialog.to_tag}",
        remote=f"{dialog.from_value};tag={dialog.from_tag}" if dialog.from_tag else dialog.from_value,
        remote_tag=dialog.from_tag,
        target=dialog.contact,
        record_route=dialog.record_route,
        event=str(EventHeader(dialog.event, dialog.event_id, ())) if dialog.event_id else dialog.event,
        subscription_state=subscription_state(claim, dialog, expires_offset),
        local_contact=dialog.local_contact,
        flow=dialog.flow,
        digest=digest,
        version=claim.document_version,
        changed=changed if claim.sent_before else 0.0,
        trace=trace,
    )
