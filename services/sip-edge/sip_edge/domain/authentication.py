"""Who sent a request: digest (RFC 3261 section 22, RFC 8760), trusted peers (RFC 3325), and whether From is his."""

import hashlib
import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from sip_edge.domain.admission import Refusal, malformed
from vedette.sip.address import parse_address
from vedette.sip.digest import PREFERENCE, Proof, read_proof, write_challenge
from vedette.sip.errors import SipError
from vedette.sip.grammar import split_list
from vedette.sip.message import Request
from vedette.sip.octets import encode
from vedette.sip.uri import address_of_record, split_aor

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_REALM = 255
MAX_USERNAME = 255
MAX_ROWS = 16
"""Authorization rows that are looked at."""

NOT_TRUSTED = Refusal(403, "Only trusted peers may send here")
NOT_YOUR_NAME = Refusal(403, "From names another user")
NOT_YOUR_ASSERTION = Refusal(403, "P-Asserted-Identity names another user")
NOT_YOUR_URI = Refusal(403, "Credentials are for another URI")


@dataclass(frozen=True, slots=True)
class Access:
    """What the operator has set."""

    mode: Literal["none", "digest", "trusted"]
    realm: str = ""
    """Empty: the domain of From."""
    algorithms: tuple[str, ...] = PREFERENCE
    """Those offered, the strongest first."""
    trusted: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a request, as far as it is known."""

    identity: str = ""
    """His address-of-record; "": From is taken for it."""
    proved: bool = False
    """By digest: he acts for himself only. What a trusted peer sends may be for anybody."""


ANYBODY = Sender()


@dataclass(frozen=True, slots=True)
class Claim:
    """Credentials that were not checked yet."""

    realm: str
    proof: Proof


def sender_by_source(access: Access, request: Request, host: str) -> Sender | Refusal | None:
    """The sender, or why he is none, where nobody has to prove anything; None where digest has to tell.

    `host` is the address that the request came from.
    """
    if access.mode == "none":
        return ANYBODY
    if is_trusted(access.trusted, host):
        try:
            return Sender(next(iter(_asserted(request)), ""))
        except SipError as error:
            return malformed(error)
    return NOT_TRUSTED if access.mode == "trusted" else None


def is_trusted(networks: Sequence[Network], host: str) -> bool:
    """Whether the address is in one of the networks."""
    if not networks:
        return False
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def realm_for(access: Access, request: Request) -> str:
    """The realm whose users may send the request: the parameter, else the domain of From, which dialogs keep.

    For a From that names no domain it is that of the Request-URI. SipError where there is none or it is too long.
    """
    if access.realm:
        return access.realm
    try:
        realm = split_aor(address_of_record(request.from_.uri))[1]
    except SipError:
        realm = split_aor(address_of_record(request.uri))[1]
    if len(realm) > MAX_REALM:
        raise SipError("The domain of From is too long")
    return realm


def challenge(access: Access, realm: str, nonce: str, *, stale: bool = False) -> Refusal:
    """401 with one row for each algorithm, the strongest first (RFC 8760 section 2.3)."""
    rows = [write_challenge(realm, nonce, algorithm, stale=stale) for algorithm in access.algorithms]
    return Refusal(401, headers=tuple(("WWW-Authenticate", row) for row in rows))


def too_many_wrong(seconds: float) -> Refusal:
    """What a user is told whose passwords are not looked at any more for a time."""
    return Refusal(403, "Too many wrong passwords", headers=(("Retry-After", str(math.ceil(seconds))),))


def find_proof(access: Access, request: Request, realm: str) -> Proof | None:
    """The credentials for that realm (RFC 3261 section 22.3), None where there are none that we ask for.

    Raises SipError for a row of the realm that breaks the grammar.
    """
    for row in request.headers.all("authorization")[:MAX_ROWS]:
        proof = read_proof(row, realm)
        if proof is not None and proof.hash in access.algorithms and len(proof.username) <= MAX_USERNAME:
            return proof
    return None


def fingerprint(request: Request, proof: Proof) -> bytes:
    """Tells a request from every other one, whatever way its copies came: what no proxy changes of it."""
    headers = request.headers
    parts = [request.method, request.call_id, str(request.cseq[0]), request.client_branch, proof.response]
    for name in ("from", "to", "event", "expires", "sip-if-match", "contact", "content-type"):
        parts += headers.all(name)
    digest = hashlib.blake2b("\x00".join(parts).encode("utf-8", "replace"), digest_size=16)
    digest.update(request.body)
    return digest.digest()


def sender_by_proof(request: Request, proof: Proof, realm: str) -> Sender | Refusal:
    """Who sent a request whose credentials are right: 403 where it names somebody else than its user."""
    identity = identity_of(proof.username, realm)
    try:
        if _name(request.from_.uri) != identity:
            return NOT_YOUR_NAME
        if any(asserted != identity for asserted in _asserted(request)):
            return NOT_YOUR_ASSERTION
        if not _same_target(request, proof.uri, realm):
            return NOT_YOUR_URI
    except SipError as error:
        return malformed(error)
    return Sender(identity, proved=True)


def identity_of(username: str, realm: str) -> str:
    """The address-of-record of a user."""
    return address_of_record(f"sip:{quote(encode(username), safe='')}@{realm}")


def _name(uri: str) -> str:
    """The address-of-record, or "" for a URI that can be none of ours."""
    try:
        return address_of_record(uri)
    except SipError as error:
        if error.status == 416:
            return ""
        raise


def _asserted(request: Request) -> list[str]:
    """The SIP identities that the request asserts (RFC 3325 section 9.1)."""
    values = [value for row in request.headers.all("p-asserted-identity") for value in split_list(row)]
    names = [_name(parse_address(value, "P-Asserted-Identity").uri) for value in values]
    return [name for name in names if name]


def _same_target(request: Request, uri: str, realm: str) -> bool:
    """Whether the URI of the credentials is the one asked for, or one that proxies made this of.

    On its way a Request-URI may be rewritten; then the first one names a user of the realm (RFC 8760 section 2.6).
    """
    if uri == request.uri:
        return True
    name = _name(uri)
    return bool(name) and (name == address_of_record(request.uri) or split_aor(name)[1] == realm)
