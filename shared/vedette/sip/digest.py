"""Digest, both sides: the credentials of a client, and how a server asks for and checks them.

RFC 3261 section 22, RFC 7616, RFC 8760.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

from vedette.sip.errors import SipError
from vedette.sip.grammar import QUOTED_STRING, TOKEN, quote, unquote
from vedette.sip.octets import encode

HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
PREFERENCE = ("SHA-512-256", "SHA-256", "MD5")

_PAIR = re.compile(rf"\s*+({TOKEN})\s*+=\s*+({QUOTED_STRING}|[^,\"\s]*+)\s*+(?:,|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate or Proxy-Authenticate row."""

    realm: str
    nonce: str
    algorithm: str
    opaque: str | None
    qop: tuple[str, ...]
    stale: bool


def parse_challenge(value: str) -> Challenge:
    """The challenge in a header row; raises SipError for another scheme or a missing realm or nonce."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise SipError("Challenge is not Digest")
    pairs = dict(_pairs(rest)[0])
    if "realm" not in pairs or "nonce" not in pairs:
        raise SipError("Challenge lacks realm or nonce")
    return Challenge(
        realm=pairs["realm"],
        nonce=pairs["nonce"],
        algorithm=(pairs.get("algorithm") or "MD5").upper(),
        opaque=pairs.get("opaque"),
        qop=tuple(option.strip() for option in pairs.get("qop", "").split(",") if option.strip()),
        stale=pairs.get("stale", "").lower() == "true",
    )


def choose(rows: Iterable[str]) -> Challenge | None:
    """The challenge with the strongest algorithm we know (RFC 8760 section 2.4), None where we know none."""
    known: list[Challenge] = []
    for row in rows:
        try:
            challenge = parse_challenge(row)
        except SipError:
            continue
        if challenge.algorithm.removesuffix("-SESS") in HASHES:
            known.append(challenge)
    return min(known, key=lambda c: PREFERENCE.index(c.algorithm.removesuffix("-SESS")), default=None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are."""

    user: str
    password: str


def secret_of(algorithm: str, credentials: Credentials, realm: str) -> str:
    """HA1: all that a server has to keep of a password (RFC 7616 section 3.4.2); the algorithm without `-sess`."""
    return _digest(HASHES[algorithm], f"{credentials.user}:{realm}:{credentials.password}".encode())


def authorize(
    challenge: Challenge,
    credentials: Credentials,
    *,
    method: str,
    uri: str,
    body: bytes,
    cnonce: str,
    count: int,
) -> str:
    """The value of the Authorization or Proxy-Authorization header that answers the challenge.

    `count` is the nonce count, from 1 for each nonce. qop `auth` is used where offered, else `auth-int`, else none.
    """
    name = HASHES[challenge.algorithm.removesuffix("-SESS")]
    qop = next((option for option in ("auth", "auth-int") if option in challenge.qop), "")
    ha1 = secret_of(challenge.algorithm.removesuffix("-SESS"), credentials, challenge.realm)
    if challenge.algorithm.endswith("-SESS"):
        ha1 = _digest(name, f"{ha1}:{challenge.nonce}:{cnonce}".encode())
    a2 = f"{method}:{uri}" + (f":{_digest(name, body)}" if qop == "auth-int" else "")
    ha2 = _digest(name, a2.encode())
    nonce = f"{challenge.nonce}:{count:08x}:{cnonce}:{qop}" if qop else challenge.nonce
    proof = f"{ha1}:{nonce}:{ha2}"
    fields = [
        f"username={quote(credentials.user)}",
        f"realm={quote(challenge.realm)}",
        f"nonce={quote(challenge.nonce)}",
        f"uri={quote(uri)}",
        f'response="{_digest(name, proof.encode())}"',
        f"algorithm={challenge.algorithm.replace('-SESS', '-sess')}",
    ]
    if qop:
        fields += [f"qop={qop}", f"nc={count:08x}", f'cnonce="{cnonce}"']
    elif challenge.algorithm.endswith("-SESS"):
        fields.append(f'cnonce="{cnonce}"')
    if challenge.opaque is not None:
        fields.append(f"opaque={quote(challenge.opaque)}")
    return "Digest " + ", ".join(fields)


# the server's side


def write_challenge(realm: str, nonce: str, algorithm: str, *, stale: bool = False) -> str:
    """The value of a WWW-Authenticate row: qop is always there, what RFC 7616 section 3.3 wants quoted is."""
    row = f'Digest realm={quote(realm)}, nonce={quote(nonce)}, algorithm={algorithm}, qop="auth"'
    return f"{row}, stale=true" if stale else row


@dataclass(frozen=True, slots=True)
class Proof:
    """What a client shows: one Authorization row with `qop=auth`."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    """In upper case, `-SESS` included."""
    cnonce: str
    nc: str
    """As written: it is part of what is hashed."""

    @property
    def count(self) -> int:
        """The nonce count."""
        return int(self.nc, 16)

    @property
    def hash(self) -> str:
        """The algorithm without `-SESS`: the one that its HA1 is made with."""
        return self.algorithm.removesuffix("-SESS")


MAX_AUTHORIZATION = 2048
"""Characters of a row that is read."""
_COUNT = re.compile(r"[0-9a-fA-F]{8}")
_NEEDED = ("username", "nonce", "uri", "response")


def read_proof(row: str, realm: str) -> Proof | None:
    """The credentials for the realm in an Authorization row.

    None for a row of another realm, and for what is as good as none: another scheme, an algorithm that we do not
    know, no `qop=auth` (RFC 4475 section 3.3.7). Raises SipError for a row that breaks the grammar: a parameter is
    missing or there twice, the nonce count has not 8 digits (RFC 7616 section 3.4).
    """
    scheme, _, rest = row.strip().partition(" ")
    if scheme.lower() != "digest" or len(row) > MAX_AUTHORIZATION:
        return None
    found, whole = _pairs(rest)
    if next((value for name, value in found if name == "realm"), None) != realm:
        return None
    pairs = dict(found)
    if not whole or len(pairs) < len(found):
        raise SipError("Malformed Authorization header")
    algorithm = pairs.get("algorithm", "MD5").upper()
    if algorithm.removesuffix("-SESS") not in HASHES or pairs.get("qop", "").lower() != "auth":
        return None
    missing = next((name for name in (*_NEEDED, "nc", "cnonce") if not pairs.get(name)), None)
    if missing is not None:
        raise SipError(f"Authorization lacks {missing}")
    if _COUNT.fullmatch(pairs["nc"]) is None:
        raise SipError("The nonce count has not 8 hexadecimal digits")
    return Proof(
        username=pairs["username"],
        realm=realm,
        nonce=pairs["nonce"],
        uri=pairs["uri"],
        response=pairs["response"],
        algorithm=algorithm,
        cnonce=pairs["cnonce"],
        nc=pairs["nc"],
    )


def proves(proof: Proof, ha1: str, method: str) -> bool:
    """Whether the response was made by who knows the password behind `ha1`; takes the same time for all answers."""
    name = HASHES[proof.hash]
    if proof.algorithm != proof.hash:
        ha1 = _digest(name, encode(f"{ha1}:{proof.nonce}:{proof.cnonce}"))
    ha2 = _digest(name, encode(f"{method}:{proof.uri}"))
    expected = _digest(name, encode(f"{ha1}:{proof.nonce}:{proof.nc}:{proof.cnonce}:auth:{ha2}"))
    return hmac.compare_digest(expected.encode(), encode(proof.response.lower()))


def _pairs(text: str) -> tuple[list[tuple[str, str]], bool]:
    """The `name=value` pairs, names in lower case, and whether they are all of the text."""
    pairs: list[tuple[str, str]] = []
    position = 0
    while match := _PAIR.match(text, position):
        pairs.append((match[1].lower(), unquote(match[2]) or ""))
        position = match.end()
    return pairs, position >= len(text.rstrip())


def _digest(name: str, data: bytes) -> str:
    return hashlib.new(name, data, usedforsecurity=False).hexdigest()
