"""What a listing of the hash tables shows, whichever store the rows come from."""

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from vedette.records import DialogRecord
from vedette.sip.address import parse_address
from vedette.sip.errors import SipError
from vedette.sip.uri import address_of_record

WILD = frozenset("*?[")
"""What makes a pattern of a URI."""


class PresentityRow(NamedTuple):
    """One presentity with something published, as `phtable_list` had it."""

    bucket: int
    presentity: str
    event: str
    version: int
    """The presentity's, which rises with each change."""
    publications: int
    expires: float | None
    """When the last of them ends, in epoch seconds; None where nothing is known of them."""
    etags: list[str]
    """Of the publications that something is known of."""


class SubscriptionRow(NamedTuple):
    """One dialog, as `subs_phtable_list` had it; None for what its store does not know."""

    bucket: int
    presentity: str
    event: str
    event_id: str
    watcher: str
    call_id: str
    to_tag: str
    from_tag: str
    remote_cseq: int | None
    local_cseq: int | None
    expires: float
    status: str | None
    contact: str
    flow: str
    revision: int


def watcher_of(from_value: str) -> str:
    """The watcher that From names, without display name and parameters where that can be told."""
    try:
        return address_of_record(parse_address(from_value, "From").uri)
    except SipError:
        return from_value


class DialogState(NamedTuple):
    """What changes in a dialog without its entry in the cache."""

    remote_cseq: int
    local_cseq: int | None
    status: str


class PublicationState(NamedTuple):
    """What a refresh changes in a publication without its entry in the cache."""

    sequence: int
    expires: float


class StoredStates(Protocol):
    """Where it is known what changes without the entries in the cache."""

    async def states(self, dialogs: list[DialogRecord]) -> dict[bytes, DialogState]:
        """By dialog id; none for a dialog that is not known there."""

    async def publications(self, keys: list[tuple[int, bytes]]) -> dict[bytes, PublicationState] | None:
        """Those of the publications (presentity hash, id) that are alive, by id; None where nothing is known."""


class Progress(Protocol):
    """Is told how far a listing has come."""

    def __call__(self, bucket: int, buckets: int) -> None:
        """So many of the buckets have been read."""


class Source(Protocol):
    """A store of the two tables."""

    @property
    def buckets(self) -> tuple[int, int]:
        """How many buckets the tables of presentities and of subscriptions have."""

    def presentities(self, pattern: str) -> AsyncIterator[PresentityRow]:
        """Bucket by bucket, those whose URI is like the pattern (as a shell has them)."""

    def subscriptions(self, pattern: str) -> AsyncIterator[SubscriptionRow]:
        """Bucket by bucket, those to presentities whose URI is like the pattern."""
