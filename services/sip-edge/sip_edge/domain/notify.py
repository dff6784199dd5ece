"""Writing a NOTIFY (RFC 6665 section 4.2.2, RFC 3261 section 12.2.1.1)."""

from vedette.documents.versioned import VersionedDocument
from vedette.rpc.contract import Document, NotifyItem
from vedette.sip.route import RoutedRequest
from vedette.sip.writer import Header, write_request


def write_notify(
    item: NotifyItem, document: Document | None, routed: RoutedRequest, *, via: str, user_agent: str
) -> bytes:
    """The request; `via` is the value of its one Via.

    Without a document there is no Content-Type and the body is empty. A document that counts its NOTIFYs gets the
    dialog's number here, so that all dialogs can share the rest.
    """
    headers: list[Header] = [("Via", via), ("Max-Forwards", "70")]
    headers += [("Route", route) for route in routed.routes]
    headers += [
        ("From", item.local),
        ("To", item.remote),
        ("Call-ID", item.call_id),
        ("CSeq", f"{item.cseq} NOTIFY"),
        ("Contact", f"<{item.local_contact}>"),
        ("Event", item.event),
        ("Subscription-State", item.subscription_state),
        ("User-Agent", user_agent),
    ]
    if document is None:
        return write_request("NOTIFY", routed.request_uri, headers)
    headers.append(("Content-Type", document.content_type))
    body = document.body
    if document.version_at >= 0:
        body = VersionedDocument(body, document.version_at).with_version(item.version)
    return write_request("NOTIFY", routed.request_uri, headers, body)
