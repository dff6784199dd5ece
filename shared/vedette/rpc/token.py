"""The token that the services show each other."""

import hashlib
import hmac
from pathlib import Path


class RpcToken:
    """The shared token, and the one before it while it is being rotated.

    `path` holds the token; a file beside it with the ending `.previous` holds the one that is still accepted.
    """

    def __init__(self, current: str, previous: str | None = None) -> None:
        if len(current) < 16:
            raise ValueError("the RPC token is shorter than 16 characters")
        self.current = current
        self._accepted = [token.encode() for token in (current, previous) if token]

    @classmethod
    def from_file(cls, path: Path) -> "RpcToken":
        """The token in the file; OSError where it cannot be read, ValueError where it is too short."""
        previous = path.with_name(path.name + ".previous")
        return cls(
            path.read_text(encoding="ascii").strip(),
            previous.read_text(encoding="ascii").strip() if previous.exists() else None,
        )

    def accepts(self, authorization: str) -> bool:
        """Whether an Authorization header value carries an accepted token; takes the same time for all values."""
        shown = authorization.removeprefix("Bearer ").encode("utf-8", "replace")
        matches = [hmac.compare_digest(shown, token) for token in self._accepted]
        return any(matches)

    def derive(self, purpose: str) -> list[bytes]:
        """A key for that purpose from each accepted token, the current one's first: 32 octets."""
        return [hmac.digest(token, purpose.encode(), hashlib.sha256) for token in self._accepted]
