"""The flow of authentication: trusted peer, or challenge, secret, proof, nonce count, and whose name it is."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from sip_edge.domain.admission import Refusal, malformed, unavailable
from sip_edge.domain.authentication import (
    Access,
    Claim,
    Sender,
    challenge,
    find_proof,
    fingerprint,
    realm_for,
    sender_by_proof,
    sender_by_source,
    too_many_wrong,
)
from sip_edge.domain.nonces import UNIQUE, Nonces
from sip_edge.domain.used_nonces import UsedNonces
from sip_edge.flows.banning import Banning
from sip_edge.flows.retry_after import some_seconds
from sip_edge.flows.users import Users, UsersUnavailableError
from vedette.rpc.contract import Ha1s
from vedette.sip.digest import Proof, proves
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request
from vedette.sip.source import source_of

MAX_USED = 200_000
"""Nonces whose use is remembered here."""
FRESH = 2.0
"""Seconds: with an older secret a proof that fails may be one with a new password."""
FAULT = Refusal(500)

_NOBODY = Ha1s("0" * 32, "0" * 64, "0" * 64)
"""What the proof of an unknown user is checked with: the same work, never right."""

log = structlog.get_logger()


class Counts(Protocol):
    """What all edges know of the use of nonces."""

    async def take(self, nonce: str, count: int, request: bytes) -> bool | None:
        """Whether this use is a new one; None where nobody tells."""

    async def close(self) -> None:
        """Close the connections."""


class Authentication:
    """Tells who sent a request: `at_once` where that takes no waiting, else `ask`."""

    def __init__(
        self,
        access: Access,
        *,
        users: Users,
        nonces: Nonces,
        lifetime: int,
        users_max_age: int,
        counts: Counts | None,
        banning: Banning,
    ) -> None:
        """`lifetime` of a nonce and `users_max_age` in seconds; `counts`: what is known across edges."""
        self._banning = banning
        self._access = access
        self._users = users
        self._nonces = nonces
        self._lifetime = lifetime
        self._users_max_age = users_max_age
        self._counts = counts
        # Without a common memory, what was used of a nonce before this edge began is not known.
        self._used = UsedNonces(MAX_USED, 0 if counts is not None else int(time.time()))
        self._tasks: set[asyncio.Task[None]] = set()

    def at_once(self, request: Request, flow: Flow) -> Sender | Refusal | Claim:
        """The sender or the answer, or the credentials that have to be checked.

        A challenge leaves nothing behind here: whoever asks without credentials costs no memory.
        """
        sender = sender_by_source(self._access, request, flow.host)
        if sender is not None:
            return sender
        try:
            realm = realm_for(self._access, request)
            proof = find_proof(self._access, request, realm)
        except SipError as error:
            return malformed(error)
        if proof is None:
            return self._challenge(realm, flow)
        locked = self._banning.locked(flow, _name(proof))
        return too_many_wrong(locked) if locked else Claim(realm, proof)

    def ask(self, request: Request, flow: Flow, claim: Claim, answer: Callable[[Sender | Refusal], None]) -> None:
        """Have the credentials of a request checked."""
        task = asyncio.create_task(self._run(request, flow, claim, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Return when nothing is being checked."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Close the connections to what edges share."""
        if self._counts is not None:
            await self._counts.close()

    async def _run(
        self, request: Request, flow: Flow, claim: Claim, answer: Callable[[Sender | Refusal], None]
    ) -> None:
        try:
            found = await self._check(request, flow, claim)
        except UsersUnavailableError:
            found = unavailable(some_seconds())
        except Exception:
            log.exception("credentials could not be checked")
            found = FAULT
        answer(found)

    async def _check(self, request: Request, flow: Flow, claim: Claim) -> Sender | Refusal:
        realm, proof = claim.realm, claim.proof
        now = time.time()
        user = _name(proof)
        made = self._nonces.made_at(proof.nonce)
        # Not the password, not the user, not our nonce: one answer for all, and nothing that tells them apart.
        if made is None:
            return self._challenge(realm, flow)
        given = flow.reliable or self._nonces.was_given_to(proof.nonce, source_of(flow.host))
        if not given and self._banning.must_prove(flow, user):
            return self._challenge(realm, flow, stale=True)
        if not await self._is_right(proof, request.method):
            self._banning.wrong_password(flow, user, proved=given)
            return self._challenge(realm, flow)
        self._banning.right_password(flow, user)
        if abs(now - made) > self._lifetime or not await self._is_new(proof, made, request, now):
            return self._challenge(realm, flow, stale=True)
        return sender_by_proof(request, proof, realm)

    async def _is_right(self, proof: Proof, method: str) -> bool:
        name = (proof.username, proof.realm)
        known = await self._users.find(name, self._users_max_age)
        if _proves(proof, known.secrets, method):
            return True
        if time.monotonic() - known.at <= FRESH:
            return False
        return _proves(proof, (await self._users.find(name, FRESH)).secrets, method)

    async def _is_new(self, proof: Proof, made: int, request: Request, now: float) -> bool:
        """Whether the nonce count was not used before, by what all edges know and by what this one does."""
        shown = fingerprint(request, proof)
        self._used.forget(int(now) - self._lifetime)
        # Of each user: nobody uses up the nonce of another one that he has overheard.
        nonce = f"{proof.nonce} {_name(proof)}"
        elsewhere = None if self._counts is None else await self._counts.take(nonce, proof.count, shown)
        here = self._used.take(nonce, made, proof.count, shown)
        return here and elsewhere is not False

    def _challenge(self, realm: str, flow: Flow, *, stale: bool = False) -> Refusal:
        nonce = self._nonces.make(time.time(), secrets.token_bytes(UNIQUE), source_of(flow.host))
        return challenge(self._access, realm, nonce, stale=stale)


def _name(proof: Proof) -> str:
    return f"{proof.username}@{proof.realm}"


def _proves(proof: Proof, secrets_: Ha1s | None, method: str) -> bool:
    held = secrets_ or _NOBODY
    ha1 = {"MD5": held.md5, "SHA-256": held.sha256, "SHA-512-256": held.sha512t256}[proof.hash]
    return proves(proof, ha1, method) and secrets_ is not None
