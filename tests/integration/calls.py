"""Calls as an edge makes them of requests: each new one differs from all before, a copy is the same object again."""

from typing import Any

from msgspec.structs import replace

from tests.phone import pidf, token
from vedette.rpc.contract import PublishCall, SubscribeCall
from vedette.sip.flow import Flow

ALICE = "sip:alice@example.com"
BOB = "sip:bob@example.net"
EDGE = "edge-1"
EDGE_ADDRESS = "127.0.0.1:8072"
FLOW = Flow("udp", "192.0.2.7", 5060)


def publish(uri: str = ALICE, *, etag: str | None = None, expires: int | None = 3600, **fields: Any) -> PublishCall:
    """A PUBLISH; with `etag` a refresh unless it has a body, without one a new publication with a small document."""
    call = PublishCall(
        request_uri=uri,
        call_id=token("call-"),
        cseq=1,
        from_uri=uri,
        from_tag=token(),
        to_tag="",
        client_branch=token("z9hG4bK"),
        event="presence",
        expires=None if expires is None else str(expires),
        if_match=[] if etag is None else [etag],
        content_type=None,
        content_encoding=None,
        body=pidf(uri) if etag is None else b"",
    )
    call = replace(call, **fields)
    return replace(call, content_type=call.content_type or "application/pidf+xml") if call.body else call


def subscribe(uri: str = ALICE, *, expires: int | None = 3600, **fields: Any) -> SubscribeCall:
    """A SUBSCRIBE that makes a dialog."""
    call = SubscribeCall(
        request_uri=uri,
        call_id=token("call-"),
        cseq=1,
        from_uri=BOB,
        from_value=f'"Bob" <{BOB}>',
        from_tag=token(),
        to_value=f"<{uri}>",
        to_tag="",
        client_branch=token("z9hG4bK"),
        event="presence",
        expires=None if expires is None else str(expires),
        accept=None,
        contacts=["<sip:bob@192.0.2.7:5060>"],
        record_route=[],
        content_type=None,
        content_disposition=None,
        body=b"",
        user_agent="Phone/1.0",
        flow=FLOW,
        local_address="127.0.0.1:5060",
        edge_instance=EDGE,
        edge_address=EDGE_ADDRESS,
    )
    return replace(call, **fields)


def in_dialog(first: SubscribeCall, to_tag: str, *, cseq: int, expires: int = 3600, **fields: Any) -> SubscribeCall:
    """A later SUBSCRIBE in the dialog that `first` made."""
    call = replace(first, to_tag=to_tag, cseq=cseq, client_branch=token("z9hG4bK"), expires=str(expires))
    return replace(call, **fields)
