"""Nonces that any edge of the cluster can check, and that no edge has to remember (RFC 7616 section 3.3).

A nonce is when it was made, what makes it one of a kind, a short keyed hash of whom it was given to, and a keyed hash
of all that. The key comes of a secret that the edges share. It is good for a time; what was used up of it is told by
`used_nonces`. Whoever has been given one may use it from elsewhere; but who uses it from where it was sent to has
shown that what is sent there reaches him.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

UNIQUE = 6
"""Octets that make a nonce one of a kind."""
_TIME, _PLACE, _MAC = 4, 2, 12
_FACTS = _TIME + UNIQUE + _PLACE
_LENGTH = 4 * (_FACTS + _MAC) // 3


class Nonces:
    """Made and known by the same keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """The first key makes them; the others, from before a rotation, are still known."""
        self._keys = list(keys)

    def make(self, now: float, unique: bytes, source: str = "") -> str:
        """A nonce of that time, seconds since the epoch; `unique` has UNIQUE octets that are never used again.

        `source` is whom it is given to.
        """
        facts = (int(now) & 0xFFFFFFFF).to_bytes(_TIME, "big") + unique
        facts += _place(self._keys[0], facts, source)
        return base64.urlsafe_b64encode(facts + _mac(self._keys[0], facts)).decode()

    def made_at(self, nonce: str) -> int | None:
        """When the nonce was made; None where it is none of ours."""
        if len(nonce) != _LENGTH:
            return None
        try:
            data = base64.urlsafe_b64decode(nonce.encode("ascii"))
        except (UnicodeEncodeError, binascii.Error):
            return None
        facts, mac = data[:_FACTS], data[_FACTS:]
        # A list: all keys are tried, whichever fits.
        if not any([hmac.compare_digest(_mac(key, facts), mac) for key in self._keys]):  # noqa: C419
            return None
        return int.from_bytes(facts[:_TIME], "big")

    def was_given_to(self, nonce: str, source: str) -> bool:
        """Whether a nonce, which `made_at` knows, was made for that source."""
        facts = base64.urlsafe_b64decode(nonce.encode("ascii"))[:_FACTS]
        made, place = facts[:-_PLACE], facts[-_PLACE:]
        return any(hmac.compare_digest(_place(key, made, source), place) for key in self._keys)


def _place(key: bytes, made: bytes, source: str) -> bytes:
    return hmac.digest(key, b"given to" + made + source.encode(), hashlib.sha256)[:_PLACE]


def _mac(key: bytes, facts: bytes) -> bytes:
    return hmac.digest(key, facts, hashlib.sha256)[:_MAC]
