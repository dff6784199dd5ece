"""Digest credentials of a client (RFC 3261 section 22, RFC 7616, RFC 8760)."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from vedette.sip.errors import SipError
from vedette.sip.grammar import QUOTED_STRING, TOKEN, quote, unquote

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
    pairs: dict[str, str] = {}
    position = 0
    while match := _PAIR.match(rest, position):
        pairs[match[1].lower()] = unquote(match[2]) or ""
        position = match.end()
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
    secret = f"{credentials.user}:{challenge.realm}:{credentials.password}"
    ha1 = _digest(name, secret.encode())
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


def _digest(name: str, data: bytes) -> str:
    return hashlib.new(name, data, usedforsecurity=False).hexdigest()
