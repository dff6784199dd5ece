"""Writing watcher information (RFC 3858; rows WIN-03, WIN-06, WIN-13)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.documents.schemas import watcherinfo_faults
from tests.vectors import Vector, needs_vectors, vectors
from tests.watcherinfo import read
from vedette.documents.watcherinfo import Watcher, compose

ALICE = "sip:alice@example.com"
BOB = Watcher("b1", "sip:bob@example.net", "active", "approved", "Bob", expiration=20, duration=509)
CAROL = Watcher("c1", "sip:carol@example.net", "pending", "subscribe")

STATUSES = ("pending", "active", "waiting", "terminated")
EVENTS = ("subscribe", "approved", "deactivated", "probation", "rejected", "timeout", "giveup", "noresource")
SECONDS = st.none() | st.integers(0, 2**40)
URIS = st.text(st.characters(codec="utf-8"), max_size=20).map(lambda text: f"sip:{text}@example.net")
WATCHERS = st.builds(
    Watcher,
    st.text("0123456789abcdef", min_size=1, max_size=24),
    URIS,
    st.sampled_from(STATUSES),
    st.sampled_from(EVENTS),
    st.text(max_size=20),
    SECONDS,
    SECONDS,
)


def document(*watchers: Watcher, full: bool = True, version: int = 0) -> bytes:
    return compose(ALICE, "presence", watchers, full=full).with_version(version)


def test_win_13_every_watcher_stands_in_the_list_of_its_resource_and_package() -> None:
    seen = read(document(BOB, CAROL))
    assert (seen.resource, seen.package, seen.state) == (ALICE, "presence", "full")
    assert seen.what == [
        ("sip:bob@example.net", "active", "approved"),
        ("sip:carol@example.net", "pending", "subscribe"),
    ]
    assert seen.watchers[0].attributes == {
        "id": "b1",
        "status": "active",
        "event": "approved",
        "display-name": "Bob",
        "expiration": "20",
        "duration-subscribed": "509",
    }
    assert set(seen.watchers[1].attributes) == {"id", "status", "event"}


def test_win_06_the_version_is_put_in_last_so_that_dialogs_share_the_rest() -> None:
    shared = compose(ALICE, "presence", [BOB], full=False)
    assert [read(shared.with_version(version)).version for version in (0, 9, 10, 2**31 - 1)] == [0, 9, 10, 2**31 - 1]
    assert {read(shared.with_version(version)).state for version in (0, 10)} == {"partial"}


def test_the_list_stands_there_with_nobody_in_it() -> None:
    """clients.md: sip-subscribe-winfo3 wants it in every document."""
    seen = read(document())
    assert (seen.resource, seen.watchers) == (ALICE, [])
    assert watcherinfo_faults(document()) == []


@pytest.mark.parametrize("text", ['"><x a="', "&amp;<!--", "a\r\nb\tc", "\x00\x1b\ufffe", "\ud800"])
def test_what_a_watcher_calls_itself_cannot_leave_its_place(text: str) -> None:
    uri = f"sip:{text}@example.net"
    seen = read(document(Watcher("1", uri, "active", "subscribe", text)))
    assert len(seen.watchers) == 1
    assert set(seen.watchers[0].attributes) <= {"id", "status", "event", "display-name"}


@given(watchers=st.lists(WATCHERS, max_size=4), full=st.booleans(), version=st.integers(0, 2**31 - 1))
def test_win_13_every_document_is_well_formed_and_says_what_was_put_in(
    *, watchers: list[Watcher], full: bool, version: int
) -> None:
    seen = read(document(*watchers, full=full, version=version))
    assert (seen.version, seen.state) == (version, "full" if full else "partial")
    assert [(w.id, w.status, w.event) for w in seen.watchers] == [(w.id, w.status, w.event) for w in watchers]


@needs_vectors
@given(
    watchers=st.lists(WATCHERS.map(lambda watcher: watcher._replace(uri="sip:bob@example.net")), max_size=4),
    full=st.booleans(),
)
def test_win_13_every_document_is_valid(*, watchers: list[Watcher], full: bool) -> None:
    assert watcherinfo_faults(document(*watchers, full=full)) == []


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in vectors("body/watcherinfo") if v.expected == ["accept"]], ids=str)
def test_win_13_documents_of_others_come_out_the_same(vector: Vector) -> None:
    seen = read(vector.data)
    watchers = [
        Watcher(
            watcher.id,
            watcher.uri,
            watcher.status,
            watcher.event,
            watcher.attributes.get("display-name", ""),
            *(
                int(watcher.attributes[name]) if name in watcher.attributes else None
                for name in ("expiration", "duration-subscribed")
            ),
        )
        for watcher in seen.watchers
    ]
    ours = compose(seen.resource, seen.package, watchers, full=seen.state == "full").with_version(seen.version)
    assert read(ours) == seen
    assert watcherinfo_faults(ours) == []
