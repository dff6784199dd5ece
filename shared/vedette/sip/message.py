"""Requests and responses: headers as text, typed fields parsed on first read (RFC 3261 sections 7 and 20)."""

import re

from vedette.sip.address import Address, parse_address
from vedette.sip.errors import SipError
from vedette.sip.event_header import EventHeader, parse_event
from vedette.sip.grammar import MAX_CSEQ, parse_delta_seconds, split_list
from vedette.sip.headers import Headers
from vedette.sip.lazy import lazy
from vedette.sip.via import Via, parse_via

_CSEQ = re.compile(r"([0-9]{1,9}) ([A-Z]++)", re.ASCII)
"""As nearly all are written."""
_USUAL_MAX_FORWARDS = frozenset(str(number) for number in range(256))


class Message:
    """What requests and responses have in common. Typed fields raise SipError where the header is bad."""

    def __init__(self, headers: Headers, body: bytes) -> None:
        self.headers = headers
        self.body = body

    @lazy
    def vias(self) -> list[str]:
        """Every Via value, top first, as text."""
        rows = self.headers.rows.get("via", ())
        if len(rows) == 1 and "," not in rows[0]:
            value = rows[0].strip()
            return [value] if value else []
        return [item for row in rows for item in split_list(row)]

    @lazy
    def top_via(self) -> Via:
        """The first Via; SipError where there is none or it is malformed."""
        if not self.vias:
            raise SipError("Missing Via header")
        return parse_via(self.vias[0])

    @lazy
    def from_(self) -> Address:
        """The From address."""
        return parse_address(self.headers.required("from"), "From")

    @lazy
    def to(self) -> Address:
        """The To address."""
        return parse_address(self.headers.required("to"), "To")

    @lazy
    def call_id(self) -> str:
        """The Call-ID; SipError where it is missing, repeated or holds white space."""
        value = self.headers.required("call-id")
        if value.split(None, 1) != [value]:
            raise SipError("Malformed Call-ID")
        return value

    @lazy
    def cseq(self) -> tuple[int, str]:
        """Number and method of CSeq (section 20.16)."""
        value = self.headers.required("cseq")
        usual = _CSEQ.fullmatch(value)
        if usual is not None:
            return int(usual[1]), usual[2]
        number, _, method = value.replace("\t", " ").partition(" ")
        method = method.strip()
        if not (number.isascii() and number.isdigit()) or not method:
            raise SipError("Malformed CSeq")
        if len(number) > 20 or int(number) > MAX_CSEQ:
            raise SipError("CSeq number out of range")
        return int(number), method


class Request(Message):
    """A request as it was read; `defect` holds the first thing wrong with its structure, None where all is well."""

    def __init__(
        self,
        method: str,
        uri: str,
        headers: Headers,
        body: bytes,
        *,
        version: str = "2.0",
        defect: SipError | None = None,
    ) -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri
        self.version = version
        self.defect = defect

    @lazy
    def client_branch(self) -> str:
        """The branch of the bottom Via: the sender's own, the same whichever way the request came."""
        return parse_via(self.vias[-1]).branch if len(self.vias) > 1 else self.top_via.branch

    @lazy
    def event(self) -> EventHeader | None:
        """The Event header, None where absent; SipError where it is malformed or came twice."""
        value = self.headers.single("event")
        return None if value is None else parse_event(value)

    @lazy
    def expires(self) -> int | None:
        """Seconds asked for, None where absent; SipError where it is no number below 2**32."""
        value = self.headers.single("expires")
        return None if value is None else parse_delta_seconds(value, "Expires")

    def check(self) -> None:
        """Raise SipError where the request cannot be processed: sections 8.1.1, 8.2 and 21.5.6.

        505 for another version, 400 for a defect or a mandatory header that is missing, malformed or repeated.
        A missing Max-Forwards is no fault (section 16.3).
        """
        if self.version != "2.0":
            raise SipError("Version Not Supported", status=505)
        if self.defect is not None:
            raise self.defect
        for value in self.vias:
            if not value:
                raise SipError("Malformed Via")
        _ = (self.top_via, self.call_id)
        if not self.from_.uri or not self.to.uri:
            raise SipError("Malformed From or To")
        if self.cseq[1] != self.method:
            raise SipError("CSeq method differs from the request")
        max_forwards = self.headers.single("max-forwards")
        if (
            max_forwards is not None
            and max_forwards not in _USUAL_MAX_FORWARDS
            and (not (max_forwards.isascii() and max_forwards.isdigit()) or int(max_forwards[:9]) > 255)
        ):
            raise SipError("Max-Forwards is not a number from 0 to 255")


class Response(Message):
    """A response as it was read."""

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    @lazy
    def branch(self) -> str:
        """The branch of the top Via, by which its transaction is found; SipError as `top_via`."""
        return self.top_via.branch

    @lazy
    def retry_after(self) -> int | None:
        """Seconds of Retry-After (section 20.33), None where absent or unreadable."""
        value = self.headers.get("retry-after")
        if value is None:
            return None
        number = value.split(";")[0].split("(")[0].strip()
        try:
            return parse_delta_seconds(number, "Retry-After")
        except SipError:
            return None
