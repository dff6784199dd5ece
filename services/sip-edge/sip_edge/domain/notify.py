"""Writing a NOTIFY (RFC 6665 section 4.2.2, RFC 3261 section 12.2.1.1)."""

from vedette.documents.versioned import VersionedDocument
from vedette.rpc.contract import Document, NotifyItem
from vedette.sip.octets import encode
from vedette.sip.route import RoutedRequest


def write_notify(
    item: NotifyItem, document: Document | None, routed: RoutedRequest, *, via: str, user_agent: str
) -> bytes:
    """The request; `via` is the value of its one Via.

    Without a document there is no Content-Type and the body is empty. A document that counts its NOTIFYs gets the
    dialog's number here, so that all dialogs can share the rest.
    """
    routes = "".join([f"Route: {route}\r\n" for route in routed.routes])
    content_type, body = "", b""
    if document is not None:
        content_type, body = f"Content-Type: {document.content_type}\r\n", document.body
        if document.version_at >= 0:
            body = VersionedDocument(body, document.version_at).with_version(item.version)
    head = (
        f"NOTIFY {routed.request_uri} SIP/2.0\r\n"
        f"Via: {via}\r\n"
        "Max-Forwards: 70\r\n"
        f"{routes}"
        f"From: {item.local}\r\n"
        f"To: {item.remote}\r\n"
        f"Call-ID: {item.call_id}\r\n"
        f"CSeq: {item.cseq} NOTIFY\r\n"
        f"Contact: <{item.local_contact}>\r\n"
        f"Event: {item.event}\r\n"
        f"Subscription-State: {item.subscription_state}\r\n"
        f"User-Agent: {user_agent}\r\n"
        f"{content_type}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return encode(head) + body
