"""SIP, SIPS and PRES URIs (RFC 3261 section 19.1, RFC 3859) and the address-of-record behind one."""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from vedette.sip.errors import SipError
from vedette.sip.grammar import HOST
from vedette.sip.octets import encode

MAX_CACHED = 256
"""Characters of a URI that the caches keep: strangers choose what they hold."""

KNOWN_SCHEMES = frozenset({"sip", "sips", "pres"})

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+:")
_USER_SAFE = "-_.!~*'()&=+$,;?/:"
_PLAIN_USER = re.compile(rf"[A-Za-z0-9{re.escape(_USER_SAFE)}]++")
_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*+):"
    r"(?:(?P<user>[^@\s<>\"\x00-\x1f]++)@)?"
    rf"(?P<host>{HOST})(?::(?P<port>[0-9]++))?+"
    r"(?P<parameters>(?:;[^;?\s<>\"]*+)*+)"
    r"(?:\?(?P<headers>[^\s<>\"]*+))?+",
    re.ASCII,
)


class SipUri(NamedTuple):
    """A parsed URI; `user` is as written (escapes kept), `host` has its brackets, `parameters` start with `;`."""

    scheme: str
    user: str | None
    host: str
    port: int | None
    parameters: str
    headers: str | None

    def parameter(self, name: str) -> str | None:
        """The value of a URI parameter: "" for one without a value, None where it is absent."""
        for item in self.parameters.split(";")[1:]:
            key, _, value = item.partition("=")
            if key.lower() == name:
                return value
        return None

    def without_headers(self) -> str:
        """The URI as a Request-URI may carry it: no `?headers`, no `method` (RFC 3261 section 19.1.5)."""
        parameters = self.parameters
        if "method" in parameters.lower():
            parameters = ";".join(p for p in parameters.split(";") if p.partition("=")[0].lower() != "method")
        user = f"{self.user}@" if self.user is not None else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}:{user}{self.host}{port}{parameters}"


def parse_uri(text: str) -> SipUri:
    """The URI in the text.

    Raises SipError: 416 for a scheme this server does not know (RFC 3261 section 8.2.2.1), 400 for bad grammar.
    """
    return _parse_uri(text) if len(text) <= MAX_CACHED else _parse_uri.__wrapped__(text)


@lru_cache(maxsize=16384)
def _parse_uri(text: str) -> SipUri:
    match = _URI.fullmatch(text)
    if match is None or (known := match["scheme"].lower()) not in KNOWN_SCHEMES:
        scheme = _SCHEME.match(text)
        if scheme is not None and scheme.group()[:-1].lower() not in KNOWN_SCHEMES:
            raise SipError("Unsupported URI scheme", status=416)
        raise SipError("Malformed URI")
    _, user, host, digits, parameters, headers = match.groups()
    port = None
    if digits is not None:
        port = int(digits) if len(digits) <= 5 else 0
        if not 0 < port <= 65535:
            raise SipError("Port out of range in URI")
    return SipUri(known, user, host, port, parameters, headers)


def address_of_record(text: str) -> str:
    """The canonical name of the resource in a URI: `sip:user@host`.

    Scheme `sip` for `sips` and `pres` too (one user, RFC 3859), user with the fewest escapes (case kept), host in
    lower case, no port, no parameters: a phone that writes `:5060` or `;transport=tcp` means the same presentity.
    Raises SipError as `parse_uri` does.
    """
    return _address_of_record(text) if len(text) <= MAX_CACHED else _address_of_record.__wrapped__(text)


@lru_cache(maxsize=16384)
def _address_of_record(text: str) -> str:
    uri = parse_uri(text)
    host = uri.host.lower().rstrip(".")
    if uri.user is None:
        return f"sip:{host}"
    user = uri.user
    if not _PLAIN_USER.fullmatch(user):
        user = quote(unquote_to_bytes(encode(user)), safe=_USER_SAFE)
    return f"sip:{user}@{host}"


def split_aor(aor: str) -> tuple[str, str]:
    """User and domain of an address-of-record; the user of `sip:host` is ""."""
    user, at, host = aor.removeprefix("sip:").rpartition("@")
    return (user, host) if at else ("", host)


def join_aor(user: str, domain: str) -> str:
    """The address-of-record that `split_aor` takes apart."""
    return f"sip:{user}@{domain}" if user else f"sip:{domain}"
