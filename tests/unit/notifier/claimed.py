"""Claims and dialogs as Postgres gives them to a notifier."""

from typing import Any

from msgspec.structs import replace

from notifier.domain.claims import Claim
from vedette.identity import presentity_hash
from vedette.records import DialogRecord
from vedette.sip.flow import Flow

ALICE = "sip:alice@example.com"
ACTIVE, PENDING, TERMINATED = 1, 2, 3


def claim(name: str, uri: str = ALICE, **fields: Any) -> Claim:
    """The claim of a NOTIFY for the dialog of that name."""
    base = Claim(
        presentity_hash=presentity_hash(uri),
        presentity_uri=uri,
        event="presence",
        version=5,
        dialog_id=name.encode(),
        cseq=3,
        document_version=5,
        status=ACTIVE,
        revision=1,
        sent_before=4,
        acked_digest=None,
        since=0,
        until=0,
        whole=False,
        at=1000.0,
        rules=1,
    )
    return base._replace(**fields)


def dialog(name: str, uri: str = ALICE, **fields: Any) -> DialogRecord:
    """The dialog of that name, over the edge `edge-1`."""
    base = DialogRecord(
        presentity_hash=presentity_hash(uri),
        dialog_id=name.encode(),
        revision=1,
        presentity_uri=uri,
        event="presence",
        event_id="",
        call_id=f"call-{name}",
        to_tag="ours",
        from_tag="theirs",
        to_value=f"<{uri}>",
        from_value='"Bob" <sip:bob@example.net>',
        contact="sip:bob@192.0.2.7:5060",
        record_route=["<sip:proxy.example.net;lr>"],
        local_contact="sip:presence@192.0.2.1:5060",
        accept="application/pidf+xml",
        edge_instance="edge-1",
        edge_address="127.0.0.1:1",
        flow=Flow("udp", "192.0.2.7", 5060),
        expires=1600.0,
        reason="",
        watcher_username=name,
        watcher_domain="example.net",
    )
    if fields.get("event", "presence") not in {"presence", "dialog"}:
        username, _, domain = uri.removeprefix("sip:").partition("@")
        base = replace(base, watcher_username=username, watcher_domain=domain)
    return replace(base, **fields)
