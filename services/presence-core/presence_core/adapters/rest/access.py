"""Who may do what: bearer tokens, roles, domains, and a limit on wrong ones."""

import hashlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from presence_core.adapters.rest.problems import RestError
from vedette.sip.uri import split_aor
from vedette.store.api_tokens import Role, Token

FAILURES = 10
"""Wrong tokens that a source may send within WINDOW."""
WINDOW = 60.0
MOST_SOURCES = 10_000
REMEMBERED = 5.0
"""Seconds for which a token that was right is not asked for again: so late a revocation acts."""
MOST_REMEMBERED = 1000

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="vedette"'}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as that matters."""

    name: str
    role: Role
    domain: str | None
    """The one domain that it sees and changes; None: all."""
    token_id: str | None
    source: str

    def sees(self, presentity_uri: str) -> bool:
        """Whether the presentity is in the caller's domain."""
        return self.domain is None or split_aor(presentity_uri)[1] == self.domain

    def must_see(self, presentity_uri: str) -> None:
        """Raises RestError 403 where the presentity is in another domain."""
        if not self.sees(presentity_uri):
            raise RestError(403, f"this token is for {self.domain} alone, and {presentity_uri} is not there")

    def domain_of(self, wanted: str | None) -> str | None:
        """The domain that a list is about: the one that is asked for, or the caller's; RestError 403 for another."""
        if wanted is None:
            return self.domain
        domain = wanted.lower().rstrip(".")
        if self.domain is not None and domain != self.domain:
            raise RestError(403, f"this token is for {self.domain} alone", where="query.domain")
        return domain


class Failures:
    """Counts wrong tokens of sources, of so many at most: the one that was quiet for longest is forgotten."""

    def __init__(self, limit: int = FAILURES, window: float = WINDOW, sources: int = MOST_SOURCES) -> None:
        self._limit = limit
        self._window = window
        self._sources = sources
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, source: str, now: float) -> float:
        """Seconds that the source has to wait; 0 where it may try."""
        began, count = self._seen.get(source, (now, 0))
        left = began + self._window - now
        return left if count >= self._limit and left > 0 else 0.0

    def failed(self, source: str, now: float) -> None:
        """The source has sent a wrong token."""
        began, count = self._seen.pop(source, (now, 0))
        if began + self._window <= now:
            began, count = now, 0
        self._seen[source] = (began, count + 1)
        while len(self._seen) > self._sources:
            self._seen.popitem(last=False)


class Gate:
    """Says for every request who asks, or refuses it."""

    def __init__(
        self,
        find: Callable[[str], Awaitable[Token | None]],
        *,
        is_open: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`find`: the token that a text is. `is_open`: who sends none is an admin (`api_auth=none`)."""
        self._find = find
        self._open = is_open
        self._clock = clock
        self._failures = Failures()
        self._known: OrderedDict[bytes, tuple[float, Token]] = OrderedDict()
        """By their hash the tokens that were right when they were last asked for, and how long that counts."""

    async def admit(self, request: Request, role: Role, *, whole_system: bool) -> Caller:
        """Who asks. Raises RestError 401, 403 or 429, or StoreError."""
        source = request.client.host if request.client is not None else "unknown"
        header = request.headers.get("authorization")
        if header is None and self._open:
            return Caller("anonymous", Role.ADMIN, None, None, source)
        token = await self._token(header, source)
        caller = Caller(token.name, token.role, token.domain, token.id, source)
        if not token.role.covers(role):
            raise RestError(
                403,
                f"this needs the role {role}, and the token has the role {token.role}",
                remedy=f"Use a token with the role {role}: `vedette token create --role {role}`.",
            )
        if whole_system and token.domain is not None:
            raise RestError(
                403,
                f"this concerns the whole system, and the token is for {token.domain} alone",
                remedy="Use a token that has no domain.",
            )
        return caller

    async def _token(self, header: str | None, source: str) -> Token:
        now = self._clock()
        scheme, _, text = (header or "").partition(" ")
        text = text.strip()
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > now and scheme.lower() == "bearer":
            return known[1]
        if header is None:
            raise RestError(401, "a token is needed", where="header.authorization", headers=CHALLENGE)
        place = _place(source)
        # Who was right before does not wait for what others do behind the same proxy or NAT.
        wait = 0.0 if known is not None else self._failures.wait(place, now)
        if wait:
            raise RestError(
                429,
                f"{source} has sent {FAILURES} wrong tokens within {WINDOW:g} seconds",
                where="header.authorization",
                headers={"Retry-After": str(int(wait) + 1)},
            )
        token = await self._find(text) if scheme.lower() == "bearer" else None
        if token is None:
            self._known.pop(digest, None)
            self._failures.failed(place, now)
            raise RestError(
                401,
                "the token is wrong, revoked, or over",
                where="header.authorization",
                headers={"WWW-Authenticate": f'{CHALLENGE["WWW-Authenticate"]}, error="invalid_token"'},
            )
        self._known[digest] = (now + REMEMBERED, token)
        self._known.move_to_end(digest)
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return token


def _place(source: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return source


def _caller(request: Request) -> Caller:
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
"""Who asks, in the arguments of an operation."""
