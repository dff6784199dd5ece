"""Our Contact in a dialog (RFC 3261 section 12.1.1)."""

from vedette.rpc.contract import SubscribeCall
from vedette.sip.uri import SipUri

_PARAMETERS = {
    "udp": "",
    "tcp": ";transport=tcp",
    "tls": ";transport=tls",
    "ws": ";transport=ws",
    "wss": ";transport=ws",
}
"""A WebSocket is `ws`, with TLS below it or without (RFC 7118 section 5.2)."""
_OVER_TLS = {"tls": "", "wss": ";transport=ws"}
"""Of a `sips` URI, which says TLS already."""


def local_contact(call: SubscribeCall, next_hop: SipUri | None, hash_: int, user: str) -> str:
    """The URI that the watcher reaches us by over its transport, with the presentity's hash in its user part.

    `sips`, which is TLS, where its Request-URI or the watcher's next hop is, whatever the request came over; but not
    where no TLS is served, since nothing would come back by it. `next_hop` of the watcher: None where its Contact is
    wrong.
    """
    name = f"{user}-{hash_ & 0xFFFFFFFF:08x}"
    transport = call.flow.transport
    if call.request_uri[:5].lower() == "sips:" or (next_hop is not None and next_hop.scheme == "sips"):
        if transport in _OVER_TLS:
            return f"sips:{name}@{call.local_address}{_OVER_TLS[transport]}"
        if call.tls_address:
            return f"sips:{name}@{call.tls_address}"
    return f"sip:{name}@{call.local_address}{_PARAMETERS[transport]}"
