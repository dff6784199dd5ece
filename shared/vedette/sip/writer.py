"""From values to bytes: one line for each header, Content-Length always there (RFC 3261 section 7)."""

from collections.abc import Iterable

from vedette.sip.errors import SipError
from vedette.sip.grammar import split_list
from vedette.sip.message import Request
from vedette.sip.octets import encode

REASONS = {
    100: "Trying",
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    423: "Interval Too Brief",
    481: "Subscription Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    489: "Bad Event",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
}

Header = tuple[str, str]


def write_request(method: str, uri: str, headers: Iterable[Header], body: bytes = b"") -> bytes:
    """The request as it goes on the wire."""
    lines = [f"{method} {uri} SIP/2.0"]
    lines += [f"{name}: {value}" for name, value in headers]
    return _finish(lines, body)


def write_response(
    request: Request,
    status: int,
    *,
    source: tuple[str, int],
    reason: str = "",
    to_tag: str = "",
    headers: Iterable[Header] = (),
    body: bytes = b"",
) -> bytes:
    """The response to a request that came from `source` (host, port): RFC 3261 section 8.2.6.2.

    All Vias in order with `received` and `rport` on the top one, From, Call-ID and CSeq copied, To with `to_tag`
    added where it has none. The reason phrase names the problem where `reason` is given.
    """
    lines = [f"SIP/2.0 {status} {reason or REASONS.get(status, 'Unknown')}"]
    vias = request.vias
    if vias:
        lines.append(f"Via: {request.top_via.with_source(*source)}")
        if len(vias) > 1:
            lines += _lower_vias(request)
    rows = request.headers.rows
    to = rows.get("to", [""])[0]
    if to_tag and not _is_tagged(request):
        to = f"{to};tag={to_tag}"
    lines.append(f"From: {rows.get('from', [''])[0]}")
    lines.append(f"To: {to}")
    lines.append(f"Call-ID: {rows.get('call-id', [''])[0]}")
    lines.append(f"CSeq: {rows.get('cseq', [''])[0]}")
    lines += [f"{name}: {value}" for name, value in headers]
    return _finish(lines, body)


def _lower_vias(request: Request) -> list[str]:
    """The rows of the other Vias: as many as came, so that no list of commas makes a long response (SEC-02)."""
    rows = [items for row in request.headers.all("via") if (items := split_list(row))]
    del rows[0][0]
    return [f"Via: {','.join(items)}" for items in rows if items]


def _is_tagged(request: Request) -> bool:
    try:
        return "tag" in request.to.parameters
    except SipError:
        return False


def _finish(lines: list[str], body: bytes) -> bytes:
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return encode("\r\n".join(lines)) + body
