"""Our Contact in a dialog (RFC 3261 section 12.1.1)."""

from vedette.rpc.contract import SubscribeCall
from vedette.sip.route import route_in_dialog

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


def local_contact(call: SubscribeCall, contact: str, hash_: int, user: str) -> str:
    """The URI that the watcher reaches us by over its transport, with the presentity's hash in its user part.

    `sips` where the request comes over TLS and its Request-URI or the watcher's next hop is. `contact` is the
    watcher's Contact URI, which was checked.
    """
    transport = call.flow.transport
    scheme, parameter = "sip", _PARAMETERS[transport]
    if transport in _OVER_TLS and _asks_for_tls(call, contact):
        scheme, parameter = "sips", _OVER_TLS[transport]
    return f"{scheme}:{user}-{hash_ & 0xFFFFFFFF:08x}@{call.local_address}{parameter}"


def _asks_for_tls(call: SubscribeCall, contact: str) -> bool:
    if call.request_uri[:5].lower() == "sips:":
        return True
    return bool(contact) and route_in_dialog(contact, call.record_route).next_hop.scheme == "sips"
