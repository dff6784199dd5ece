"""What the tables hold: a dialog and its delivery, as arrays in msgpack, which the scripts read by position.

Texts and numbers only: ids and keys are in hexadecimal, what is not there is an empty text or 0. Times are Redis's,
seconds since the epoch.
"""

import msgspec

from vedette.records import DialogRecord, read_flow, split_routes


class DialogRow(msgspec.Struct, array_like=True):
    """A row of `active_watchers`: what changes only with a SUBSCRIBE, or at the end."""

    presentity_hash: int
    dialog_id: str
    presentity_uri: str
    event: str
    event_id: str
    watcher_username: str
    watcher_domain: str
    callid: str
    to_tag: str
    from_tag: str
    to_uri: str
    from_uri: str
    remote_cseq: int
    contact: str
    record_route: str
    local_contact: str
    accept: str
    user_agent: str
    sip_instance: str
    edge_instance: str
    edge_address: str
    socket_info: str
    last_key: str
    granted: int
    expires: float = 0.0
    status: int = 1
    reason: str = ""
    revision: int = 1
    created: float = 0.0
    ended: float = 0.0
    """0: it has not ended."""
    status_event: str = "subscribe"
    """What brought it into its status, as watcher information names it."""
    changed: int = 0
    """The number of its last change that watcher information shows; 0: none since its bucket was loaded."""

    def record(self) -> DialogRecord:
        """All that a NOTIFY needs of it."""
        return DialogRecord(
            presentity_hash=self.presentity_hash,
            dialog_id=bytes.fromhex(self.dialog_id),
            revision=self.revision,
            presentity_uri=self.presentity_uri,
            event=self.event,
            event_id=self.event_id,
            call_id=self.callid,
            to_tag=self.to_tag,
            from_tag=self.from_tag,
            to_value=self.to_uri,
            from_value=self.from_uri,
            contact=self.contact,
            record_route=split_routes(self.record_route),
            local_contact=self.local_contact,
            accept=self.accept,
            edge_instance=self.edge_instance,
            edge_address=self.edge_address,
            flow=read_flow(self.socket_info),
            expires=self.expires,
            reason=self.reason,
            watcher_username=self.watcher_username,
            watcher_domain=self.watcher_domain,
        )


class DeliveryRow(msgspec.Struct, array_like=True):
    """A row of `delivery`: what was sent in the dialog and what is outstanding."""

    status: int
    revision: int
    local_cseq: int
    kept_cseq: int
    """The CSeq that Postgres has; ours stays within a margin of it."""
    version: int
    """Version number of documents that count them."""
    edge_instance: str
    """Empty: the edge is gone and nobody else can reach the watcher."""
    transport: str
    sent_version: int = 0
    """The presentity's version that the last NOTIFY carried: never falls."""
    wanted_version: int = 0
    """The newest version that a notifier wanted to send."""
    owed: int = 1
    """1: a NOTIFY is owed whatever the version."""
    witnessed: int = 0
    """Watcher information: the last change of the watchers that is to be shown ..."""
    shown_version: int = 0
    """... the last one that a NOTIFY showed ..."""
    acked_version: int = 0
    """... and the last one that is known to have arrived."""
    acked_digest: str = ""
    """Of the document acknowledged last; empty: the watcher may have seen another one since."""
    failures: int = 0
    outstanding_cseq: int = 0
    outstanding_notifier: str = ""
    outstanding_until: float = 0.0
    not_before: float = 0.0
    last_status: int = 0
    """How the last NOTIFY was answered ..."""
    last_answered: float = 0.0
    """... and when; 0: none was yet."""


read_dialog_row = msgspec.msgpack.Decoder(DialogRow).decode
read_delivery_row = msgspec.msgpack.Decoder(DeliveryRow).decode
pack = msgspec.msgpack.Encoder().encode
