"""From a SIP request to the call that presence-core gets, and from its reply to the SIP response."""

from sip_edge.domain.authentication import ANYBODY, Sender
from vedette.rpc.contract import Call, PublishCall, RegisterCall, Reply, SubscribeCall
from vedette.sip.address import without_tag
from vedette.sip.flow import FORWARDED, Flow
from vedette.sip.grammar import split_list
from vedette.sip.message import Request
from vedette.sip.uri import address_of_record
from vedette.sip.writer import Header, write_response


def read_call(
    request: Request,
    flow: Flow,
    *,
    local_address: str,
    edge_instance: str,
    edge_address: str,
    sender: Sender = ANYBODY,
    sender_header: str = "",
    trace: str = "",
    tls_address: str = "",
) -> Call:
    """The call for a PUBLISH or SUBSCRIBE that was checked; SipError where a header came twice that may not.

    `local_address` is what the sender calls us over its transport, `tls_address` over TLS, "" where it cannot.
    `sender_header` is the name, in lower case, of the header of a PUBLISH that names its sender. `trace`
    names the request in logs.
    """
    headers = request.headers
    if request.method == "PUBLISH":
        return PublishCall(
            request_uri=request.uri,
            call_id=request.call_id,
            cseq=request.cseq[0],
            from_uri=request.from_.uri,
            from_tag=request.from_.tag or "",
            to_tag=request.to.tag or "",
            client_branch=request.client_branch,
            event=headers.single("event"),
            expires=headers.single("expires"),
            if_match=headers.all("sip-if-match"),
            content_type=headers.single("content-type"),
            content_encoding=headers.get("content-encoding"),
            body=request.body,
            sender=headers.single(sender_header) if sender_header else None,
            publisher=sender.identity if sender.proved else "",
            trace=trace,
        )
    return SubscribeCall(
        request_uri=request.uri,
        call_id=request.call_id,
        cseq=request.cseq[0],
        from_uri=request.from_.uri,
        from_value=without_tag(headers.required("from")),
        from_tag=request.from_.tag or "",
        to_value=without_tag(headers.required("to")),
        to_tag=request.to.tag or "",
        client_branch=request.client_branch,
        event=headers.single("event"),
        expires=headers.single("expires"),
        accept=headers.rows.get("accept"),
        contacts=headers.all("contact"),
        record_route=[value for row in headers.all("record-route") for value in split_list(row)],
        content_type=headers.get("content-type"),
        content_disposition=headers.get("content-disposition"),
        body=request.body,
        user_agent=headers.get("user-agent") or "",
        flow=_as_stored(request, flow),
        local_address=local_address,
        edge_instance=edge_instance,
        edge_address=edge_address,
        watcher=sender.identity,
        trace=trace,
        tls_address=tls_address,
    )


def read_register(
    request: Request,
    flow: Flow,
    *,
    local_address: str,
    edge_instance: str,
    edge_address: str,
    sender: Sender = ANYBODY,
) -> RegisterCall:
    """The call for a REGISTER that was checked; SipError where a header came twice that may not."""
    headers = request.headers
    return RegisterCall(
        request_uri=request.uri,
        call_id=request.call_id,
        cseq=request.cseq[0],
        from_tag=request.from_.tag or "",
        to_uri=request.to.uri,
        client_branch=request.client_branch,
        contacts=headers.all("contact"),
        expires=headers.single("expires"),
        path=headers.all("path"),
        user_agent=headers.get("user-agent") or "",
        flow=_as_stored(request, flow),
        local_address=local_address,
        edge_instance=edge_instance,
        edge_address=edge_address,
        registrant=sender.identity if sender.proved else "",
    )


def _as_stored(request: Request, flow: Flow) -> Flow:
    """The flow that is kept for later requests; a second Via says that a datagram's source is a proxy."""
    return flow._replace(connection=FORWARDED) if flow.transport == "udp" and len(request.vias) > 1 else flow


def lane_of(call: Call | RegisterCall) -> tuple[str, str]:
    """Calls with equal lanes keep their order: of a presentity's publications, a dialog's subscriptions, a user.

    Whichever way a presentity is written, it is one lane: presence-core carries its publications out one by one, and
    would hold up a batch that had many of them.
    """
    if isinstance(call, RegisterCall):
        return call.to_uri, ""
    if isinstance(call, PublishCall):
        return address_of_record(call.request_uri), call.event or ""
    return call.call_id, call.from_tag


def answer(request: Request, reply: Reply, *, source: tuple[str, int], to_tag: str) -> bytes:
    """The response for a reply; `to_tag` is used where the reply names none (section 8.2.6.2)."""
    headers: list[Header] = list(reply.headers)
    if request.method == "SUBSCRIBE" and 200 <= reply.status < 300:
        headers += [("Record-Route", row) for row in request.headers.all("record-route")]
    return write_response(
        request,
        reply.status,
        source=source,
        reason=reply.reason,
        to_tag=reply.to_tag or to_tag,
        headers=headers,
    )
