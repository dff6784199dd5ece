"""From bytes to a message (RFC 3261 section 7): split once, keep the text, let typed fields parse themselves.

A request with a broken header is still returned, with its `defect`, so that it can be answered with 400. What has
no SIP start line raises NotSipError; a response that is broken raises SipError and is to be dropped.
"""

import re
from functools import partial

from vedette.sip.errors import NotSipError, SipError
from vedette.sip.grammar import HOST, TOKEN
from vedette.sip.headers import COMPACT_FORMS, Headers, LateHeaders
from vedette.sip.message import Request, Response
from vedette.sip.octets import NUL, decode

MAX_HEADERS = 256
MAX_HEADER_LENGTH = 16384
MAX_KEPT_NAME = 32
MAX_KEPT_NAMES = 1024
"""Strangers choose what header names there are."""

_KEYS: dict[str, str] = {}
"""Canonical names of headers as they were written in messages before."""

_NOT_IN_A_ROW = re.compile(f"[\r\n{NUL}]")
_NOT_IN_A_URI = re.compile(f'[ \t\r\n{NUL}<>"]')
_QUOTED_NUL = f"\\{NUL}"
_REQUEST_LINE = re.compile(
    rf"(?P<method>[^\s\x00-\x1f{NUL}]++) (?P<uri>.*) SIP/(?P<version>[0-9]++\.[0-9]++)[ \t]*+", re.DOTALL
)
_STATUS_LINE = re.compile(r"SIP/2\.0 ++(?P<status>[0-9]{3})(?: (?P<reason>.*+))?+", re.DOTALL)
_OTHER_ROWS = (
    r"(?:(?:From|To|Call-ID|Contact|User-Agent|Server|Allow|Allow-Events|Supported|Accept|Date): [ -~]*+\r\n"
    r"|Content-Length: 0\r\n)*+"
)
_RECEIVED, _RPORT = r";received=[0-9A-Fa-f.:]++", r";rport(?:=[0-9]++)?+"
_USUAL_RESPONSE = re.compile(
    (
        r"SIP/2\.0 (?P<status>[1-6][0-9]{2}) (?P<reason>[ -~]*+)\r\n"
        rf"Via: SIP/2\.0/[A-Z]++ {HOST}(?::(?:[1-5][0-9]{{4}}|[1-9][0-9]{{0,3}}))?+;branch=(?P<branch>{TOKEN})"
        rf"(?:{_RPORT}(?:{_RECEIVED})?+|{_RECEIVED}(?:{_RPORT})?+)?+\r\n"
        rf"{_OTHER_ROWS}CSeq: (?P<cseq>[0-9]{{1,9}}) (?P<method>[A-Z]++)\r\n{_OTHER_ROWS}\r\n"
    ).encode("ascii")
)
"""A response as nearly all watchers write it: no body, and nothing in which a fault could be."""
MAX_USUAL_LENGTH = 1500
"""Too short for more than MAX_HEADERS rows."""


def read_message(data: bytes, *, stream: bool = False) -> Request | Response:
    """The message in a datagram, or in the octets that the stream framer cut out (`stream=True`).

    In a datagram the body ends at Content-Length or, without one, at the end; octets beyond are discarded
    (section 18.3). Raises NotSipError or SipError as the module says.
    """
    if data.startswith(b"SIP/2.0 ") and len(data) <= MAX_USUAL_LENGTH:
        usual = _USUAL_RESPONSE.fullmatch(data)
        if usual is not None:
            return _read_usual_response(usual)
    head, separator, body = data.partition(b"\r\n\r\n")
    defect: SipError | None = None
    if not separator:
        if b"\r" not in data and b"\n\n" in data:
            head, separator, body = data.partition(b"\n\n")
            head = head.replace(b"\n", b"\r\n")
        else:
            head = head.removesuffix(b"\r\n")
            defect = SipError("Headers do not end in an empty line")
    text = decode(head)
    lines = text.split("\r\n")
    breaks = len(lines) - 1
    may_be_long = len(head) > MAX_HEADER_LENGTH
    if NUL in text or text.count("\n") != breaks or text.count("\r") != breaks:
        defect = _clean(lines) or defect
    start = lines[0]
    if start.startswith("SIP/"):
        return _read_response(lines, body, defect, may_be_long=may_be_long)
    match = _REQUEST_LINE.fullmatch(start)
    if match is None:
        raise NotSipError("No SIP start line")
    headers = Headers()
    defect = _index(lines, headers, may_be_long=may_be_long) or defect
    method, uri, version = match.groups()
    if defect is None and (not uri or _NOT_IN_A_URI.search(uri)):
        defect = SipError("Malformed Request-URI")
    if defect is None:
        body, defect = _cut_body(headers, body, stream=stream)
    return Request(method, uri, headers, body, version=version, defect=defect)


def _read_usual_response(usual: re.Match[bytes]) -> Response:
    """What the transaction asks for at once, the headers when somebody else does."""
    status, reason, branch, cseq, method = usual.groups()
    response = Response(int(status), reason.decode("ascii"), LateHeaders(partial(_read_rows, usual)), b"")
    # Where the lazy fields put them. There is no Retry-After among the usual rows.
    cseq_of = int(cseq), method.decode("ascii")
    vars(response).update(branch=branch.decode("ascii"), cseq=cseq_of, retry_after=None)
    return response


def _read_rows(usual: re.Match[bytes]) -> dict[str, list[str]]:
    headers = Headers()
    _index(usual.group().decode("ascii").removesuffix("\r\n\r\n").split("\r\n"), headers, may_be_long=False)
    return headers.rows


def _read_response(lines: list[str], body: bytes, defect: SipError | None, *, may_be_long: bool) -> Response:
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise SipError("Malformed status line")
    status = int(match["status"])
    headers = Headers()
    defect = _index(lines, headers, may_be_long=may_be_long) or defect
    if not 100 <= status <= 699:
        raise SipError("Status code out of range")
    if defect is None:
        body, defect = _cut_body(headers, body, stream=False)
    if defect is not None:
        raise defect
    return Response(status, match["reason"] or "", headers, body)


def _clean(lines: list[str]) -> SipError | None:
    """Put a space for each CR, LF and NUL in the headers: what is copied into other messages begins no line there."""
    defect: SipError | None = None
    for number, line in enumerate(lines[1:], 1):
        if "\n" in line or "\r" in line or (NUL in line and NUL in line.replace(_QUOTED_NUL, "")):
            lines[number] = _NOT_IN_A_ROW.sub(" ", line)
            defect = SipError("Bare CR, LF or NUL in a header")
    return defect


def _index(lines: list[str], headers: Headers, *, may_be_long: bool) -> SipError | None:
    """Fill the index from the lines after the start line; return the first defect."""
    defect: SipError | None = None
    rows = headers.rows
    if len(lines) > MAX_HEADERS + 1:
        defect = SipError("Too many headers")  # the first of them tell where the answer goes
    last: list[str] | None = None
    known, held = _KEYS.get, rows.get
    for line in lines[1 : MAX_HEADERS + 1]:
        name, colon, value = line.partition(":")
        key = known(name)
        if key is None or not colon:
            if line[:1] in (" ", "\t"):
                if last is None:
                    defect = defect or SipError("Folded line without a header")
                else:
                    last[-1] = " ".join((last[-1], line.strip(" \t"))).strip(" \t")
                continue
            key = _read_key(name)
            if not colon or not key:
                defect = defect or SipError("Malformed header line")
                last = None
                continue
        if may_be_long and len(line) > MAX_HEADER_LENGTH:
            defect = defect or SipError("Header too long")
        row = value.strip(" \t")
        last = held(key)
        if last is None:
            last = rows[key] = [row]
        else:
            last.append(row)
    return defect


def _read_key(name: str) -> str:
    """The canonical name of a header, "" where it is none; remembered as it was written."""
    key = name.rstrip(" \t").lower()
    if not key or " " in key:
        return ""
    key = COMPACT_FORMS.get(key, key)
    if len(name) <= MAX_KEPT_NAME and len(_KEYS) < MAX_KEPT_NAMES:
        _KEYS[name] = key
    return key


def _cut_body(headers: Headers, body: bytes, *, stream: bool) -> tuple[bytes, SipError | None]:
    rows = headers.rows.get("content-length")
    if rows is None:
        return body, SipError("Missing Content-Length on a stream") if stream else None
    value = rows[0]
    if len(rows) > 1 and any(other != value for other in rows):
        return body, SipError("Conflicting Content-Length")
    if not (value.isascii() and value.isdigit()) or len(value) > 10:
        return body, SipError("Malformed Content-Length")
    length = int(value)
    if length > len(body):
        return body, SipError("Content-Length is larger than the message")
    return body[:length], None
