"""Comparing addresses: those of watchers (RFC 5025 section 3.1.1.2), of services and devices, and domains."""

import re
from functools import lru_cache
from urllib.parse import unquote, unquote_to_bytes

from vedette.sip.errors import SipError
from vedette.sip.octets import encode
from vedette.sip.uri import KNOWN_SCHEMES, MAX_CACHED, SipUri, address_of_record, parse_uri

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+(?=:.)")
_VISUAL_SEPARATORS = re.compile(r"[-.()]")
_NEVER_ALONE = ("user", "ttl", "method", "maddr", "transport")
"""URI parameters that have to be in both URIs or in none (RFC 3261 section 19.1.4)."""


def identity_of(uri: str) -> str | None:
    """The canonical form of a watcher's address, equal for two URIs of one identity; None where it is no URI.

    SIP, SIPS and PRES URIs stand for their address-of-record, as everywhere in this server: a watcher has no port and
    no transport, so one in a rule cannot mean another watcher. A tel URI loses its visual separators (RFC 3966
    section 5), and equals no SIP URI, whatever the number.
    """
    return _identity_of(uri) if len(uri) <= MAX_CACHED else _identity_of.__wrapped__(uri)


@lru_cache(maxsize=16384)
def _identity_of(uri: str) -> str | None:
    uri = uri.strip()
    match = _SCHEME.match(uri)
    if match is None:
        return None
    scheme = match.group().lower()
    if scheme in KNOWN_SCHEMES:
        try:
            return address_of_record(uri)
        except SipError:
            return None
    rest = uri[match.end() + 1 :]
    if scheme == "tel":
        number, *parameters = rest.lower().split(";")
        number = _VISUAL_SEPARATORS.sub("", number)
        return ";".join([f"tel:{number}", *sorted(filter(None, parameters))]) if number else None
    if scheme == "mailto":
        mailbox, at, host = unquote(rest).rpartition("@")
        return f"mailto:{mailbox}{at}{host.lower()}"
    if scheme == "urn":
        return _canonical_urn(rest)
    return f"{scheme}:{rest}"


def domain_of(identity: str) -> str | None:
    """The domain of a canonical identity, in the form of `ascii_domain`; None where it has none (tel)."""
    if not identity.startswith(("sip:", "mailto:")):
        return None
    return ascii_domain(identity.partition(":")[2].rpartition("@")[2])


def ascii_domain(text: str) -> str:
    """A domain as it is compared (RFC 4745 section 7.1.3): percent-decoded, every label ToASCII, lower case.

    A label that ToASCII refuses stays as it is, in lower case.
    """
    return _ascii_domain(text) if len(text) <= MAX_CACHED else _ascii_domain.__wrapped__(text)


@lru_cache(maxsize=4096)
def _ascii_domain(text: str) -> str:
    return ".".join(_ascii_label(label) for label in unquote(text.strip()).rstrip(".").split("."))


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label.lower()
    try:
        return label.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return label.lower()


def same_uri(one: str, other: str) -> bool:
    """Whether two URIs are equal: SIP and SIPS by RFC 3261 section 19.1.4, PRES alike, others by their own rules."""
    one, other = one.strip(), other.strip()
    if one == other:
        return True
    try:
        first, second = parse_uri(one), parse_uri(other)
    except SipError:
        canonical = identity_of(one)
        return canonical is not None and canonical == identity_of(other)
    return (
        (first.scheme, first.host.lower(), first.port) == (second.scheme, second.host.lower(), second.port)
        and _unescaped(first.user) == _unescaped(second.user)
        and _same_parameters(_pairs(first.parameters[1:], ";"), _pairs(second.parameters[1:], ";"))
        and _headers(first) == _headers(second)
    )


def scheme_of(uri: str) -> str | None:
    """The scheme of a URI in lower case, None where it has none."""
    match = _SCHEME.match(uri.strip())
    return match.group().lower() if match else None


def _same_parameters(first: dict[str, str], second: dict[str, str]) -> bool:
    shared = first.keys() & second.keys()
    alone = first.keys() ^ second.keys()
    return all(first[name].lower() == second[name].lower() for name in shared) and alone.isdisjoint(_NEVER_ALONE)


def _headers(uri: SipUri) -> dict[str, str]:
    return _pairs(uri.headers or "", "&")


def _pairs(text: str, separator: str) -> dict[str, str]:
    items = (item.partition("=") for item in text.split(separator) if item)
    return {_text(name).lower(): _text(value) for name, _, value in items}


def _unescaped(user: str | None) -> bytes | None:
    return None if user is None else unquote_to_bytes(encode(user))


def _text(escaped: str) -> str:
    return unquote(escaped, errors="surrogateescape")


def _canonical_urn(rest: str) -> str:
    """RFC 8141 section 3.1: the namespace id has no case; a UUID (RFC 4122 section 3) has none at all."""
    nid, colon, specific = rest.partition(":")
    nid = nid.lower()
    return f"urn:{nid}{colon}{specific.lower() if nid == 'uuid' else specific}"
