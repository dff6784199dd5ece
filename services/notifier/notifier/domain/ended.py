"""A publication or a dialog whose time was over."""

from typing import NamedTuple


class Ended(NamedTuple):
    """A row of `expire_batch_v2`."""

    kind: str
    """`publication` or `dialog`."""
    presentity_hash: int
    presentity_uri: str
    event: str
    id: bytes
    version: int
    """The presentity's new version (publication)."""
    revision: int
    """The dialog's new revision (dialog)."""
    others: tuple[tuple[bytes, int], ...]
    """The presentity's publications that are alive, with the versions of their bodies (publication)."""
    watched: bool
