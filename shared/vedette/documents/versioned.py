"""Documents with a number that counts them in each subscription (RFC 3858, RFC 4235).

The number differs from dialog to dialog while the rest is the same for all, so a document has a place for it.
"""

from typing import NamedTuple


class VersionedDocument(NamedTuple):
    """A document without its version; the digits belong before the octet at `version_at`."""

    body: bytes
    version_at: int = -1
    """-1: it has no version."""

    def with_version(self, version: int) -> bytes:
        """The document of that version."""
        if self.version_at < 0:
            return self.body
        return self.body[: self.version_at] + b"%d" % version + self.body[self.version_at :]
