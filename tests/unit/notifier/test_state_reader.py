"""What a notifier keeps of dialogs between their NOTIFYs: those that live on, so many, and so large (invariant 6).

And what the rings of the bell told it of, which counts only at the version that Postgres names (invariant 3).
"""

from collections.abc import Sequence

import pytest

from notifier.adapters import state_reader
from notifier.adapters.postgres import State
from notifier.adapters.state_reader import DIALOG_OCTETS, Key, StateReader
from notifier.domain.claims import Claim
from notifier.domain.watchers import Span, WatcherRows
from tests.unit.notifier.claimed import ACTIVE, ALICE, PENDING, TERMINATED, claim, dialog
from vedette.identity import presentity_hash
from vedette.records import DialogRecord, ManifestRecord, PublicationRecord
from vedette.store.hash_tables import Entry, HashTable, dialog_entry, manifest_entry, publication_entry
from vedette.store.news import MOST_NEWS, write_news
from vedette.store.redis_link import RedisLink


class Dialogs:
    """A store of dialogs that says how often it was asked for each."""

    def __init__(self, *records: DialogRecord) -> None:
        self.records = {record.dialog_id: record for record in records}
        self.asked: list[bytes] = []

    async def dialogs(self, keys: Sequence[tuple[int, bytes]]) -> list[DialogRecord]:
        """Those that are there."""
        self.asked += [dialog_id for _, dialog_id in keys]
        return [self.records[dialog_id] for _, dialog_id in keys if dialog_id in self.records]

    async def states(self, presentities: Sequence[Key]) -> dict[Key, State]:
        """Nothing was published, as far as it knows; what it was asked for is noted."""
        self.asked += [uri.encode() for _, uri, _ in presentities]
        return {}

    async def watchers(self, wanted: Sequence[tuple[Key, Span]]) -> list[WatcherRows]:
        """None."""
        raise NotImplementedError

    async def rules(self, presentities: Sequence[Key]) -> list[int]:
        """None."""
        raise NotImplementedError


def reader_of(store: Dialogs, remember: int = 100) -> StateReader:
    """A reader that has no cache but its memory."""
    return StateReader(store, HashTable(RedisLink("redis://127.0.0.1:1"), "pres", 2), None, remember=remember)


async def read(reader: StateReader, *claims: Claim) -> set[bytes]:
    """The dialogs that were found."""
    return set(await reader.dialogs(claims))


@pytest.mark.parametrize("status", [ACTIVE, PENDING])
async def test_a_dialog_that_lives_on_is_read_once(status: int) -> None:
    store = Dialogs(dialog("bob"))
    reader = reader_of(store)
    for _ in range(3):
        assert await read(reader, claim("bob", status=status)) == {b"bob"}
    assert store.asked == [b"bob"]
    assert reader.remembers == 1


async def test_a_dialog_that_gets_its_last_notify_is_not_kept() -> None:
    store = Dialogs(dialog("bob"), dialog("fetcher"))
    reader = reader_of(store)
    await read(reader, claim("bob"), claim("fetcher", status=TERMINATED))
    assert reader.remembers == 1
    assert await read(reader, claim("bob", status=TERMINATED)) == {b"bob"}
    assert reader.remembers == 0
    assert await read(reader, claim("bob", status=TERMINATED)) == {b"bob"}, "tried again"
    assert store.asked == [b"bob", b"fetcher", b"bob"]


async def test_a_dialog_that_is_not_there_is_left_out() -> None:
    reader = reader_of(Dialogs())
    assert await read(reader, claim("bob"), claim("carol", status=TERMINATED)) == set()
    assert reader.remembers == 0


async def test_so_many_are_remembered_as_the_parameter_says() -> None:
    names = [str(number) for number in range(30)]
    reader = reader_of(Dialogs(*map(dialog, names)), remember=10)
    await read(reader, *map(claim, names))
    assert reader.remembers == 10


async def test_fewer_are_remembered_where_they_are_large() -> None:
    names = [str(number) for number in range(10)]
    route = ["<sip:" + DIALOG_OCTETS * "p" + ".example.net;lr>"]
    reader = reader_of(Dialogs(*(dialog(name, record_route=route) for name in names)), remember=10)
    await read(reader, *map(claim, names))
    assert 0 < reader.remembers < 9


# what rings told

PRESENTITY: Key = (presentity_hash(ALICE), ALICE, "presence")


def reader_with_cache(store: Dialogs) -> StateReader:
    """A reader with a cache of both kinds that cannot be reached."""
    link = RedisLink("redis://127.0.0.1:1")
    return StateReader(store, HashTable(link, "pres", 2), HashTable(link, "subs", 2), remember=0)


def publication(name: bytes, version: int) -> PublicationRecord:
    return PublicationRecord(name, version, version, "application/pidf+xml", b"<%b/>" % name, 2000.0, 1000.0)


def state(version: int, *publications: PublicationRecord, told: int | None = None) -> list[Entry]:
    """The entries of a state; `told`: of so many of its publications."""
    made_of = [(record.publication_id, record.version) for record in publications]
    return [
        *(publication_entry(*PRESENTITY, record) for record in publications[:told]),
        manifest_entry(*PRESENTITY, ManifestRecord(version, made_of), 3000.0),
    ]


async def bodies(reader: StateReader, version: int) -> list[bytes]:
    """What the presentity shows at a version."""
    states = await reader.states([(PRESENTITY, version)])
    return sorted(record.body for record in states[PRESENTITY, version].publications)


async def test_a_state_that_a_ring_told_is_asked_for_nowhere() -> None:
    store = Dialogs()
    reader = reader_with_cache(store)
    reader.learn(write_news(0, state(7, publication(b"one", 7)), []))
    assert await bodies(reader, 7) == [b"<one/>"]
    assert (store.asked, reader.hits) == ([], {"memory": 1, "redis": 0, "postgres": 0})


async def test_a_ring_adds_to_what_those_before_it_told() -> None:
    store = Dialogs()
    reader = reader_with_cache(store)
    reader.learn(write_news(0, state(7, publication(b"one", 7)), []))
    reader.learn(write_news(0, state(8, publication(b"two", 8), publication(b"one", 7), told=1), []))
    assert await bodies(reader, 8) == [b"<one/>", b"<two/>"]
    assert store.asked == []


@pytest.mark.parametrize("version", [6, 8])
async def test_a_state_of_another_version_is_not_used(version: int) -> None:
    store = Dialogs()
    reader = reader_with_cache(store)
    reader.learn(write_news(0, state(7, publication(b"one", 7)), []))
    assert await bodies(reader, version) == []
    assert store.asked == [ALICE.encode()]


async def test_a_state_of_which_a_publication_was_not_told_or_is_another_one_is_not_used() -> None:
    for entries in (
        state(7, publication(b"one", 7), publication(b"two", 5), told=1),
        [*state(7, publication(b"one", 7)), publication_entry(*PRESENTITY, publication(b"one", 9))],
    ):
        store = Dialogs()
        reader = reader_with_cache(store)
        reader.learn(write_news(0, entries, []))
        assert await bodies(reader, 7) == []
        assert store.asked == [ALICE.encode()]


@pytest.mark.parametrize(("revision", "asked"), [(1, []), (2, [b"bob"])])
async def test_a_dialog_that_a_ring_told_is_used_at_its_revision(revision: int, asked: list[bytes]) -> None:
    store = Dialogs(dialog("bob", revision=2))
    reader = reader_with_cache(store)
    reader.learn(write_news(0, [], [dialog_entry(dialog("bob"))]))
    found = await reader.dialogs([claim("bob", revision=revision)])
    assert [record.revision for record in found.values()] == [revision]
    assert store.asked == asked


@pytest.mark.parametrize(
    "news", [b"\xc1", b"\x93\x00\x90", b"\x93\x00\x90\x91\xa1x", b"\x93\x00\x90" + b"\x91" * 100_000], ids=range(4)
)
async def test_news_that_are_none_of_ours_are_passed_over(news: bytes) -> None:
    reader = reader_with_cache(Dialogs(dialog("bob")))
    reader.learn(news)
    assert await read(reader, claim("bob")) == {b"bob"}


def test_too_much_is_not_told() -> None:
    part = Entry(1, b"field", 1, 2000.0, MOST_NEWS // 4 * b"x")
    assert write_news(0, [part, part], [part])
    assert write_news(0, [part, part], [part, part]) == b""


async def test_news_from_another_database_of_the_same_server_are_another_system_s() -> None:
    store = Dialogs()
    reader = reader_with_cache(store)
    reader.learn(write_news(1, state(7, publication(b"one", 7)), []))
    assert await bodies(reader, 7) == []
    assert store.asked == [ALICE.encode()]


@pytest.mark.parametrize("limit", ["TOLD", "TOLD_OCTETS"])
async def test_so_much_is_remembered_of_what_rings_told(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    uris = [f"sip:user{number}@example.com" for number in range(30)]
    keys: list[tuple[Key, int]] = [((presentity_hash(uri), uri, "presence"), 1) for uri in uris]
    told = [
        [manifest_entry(*key, ManifestRecord(version, []), 3000.0)]
        for key, version in keys
    ]  # fmt: skip
    octets = sum(len(entry.field) + len(entry.payload) + 200 for (entry,) in told[:10])
    monkeypatch.setattr(state_reader, limit, 10 if limit == "TOLD" else octets + 100)
    reader = reader_with_cache(Dialogs())
    for entries in told:
        reader.learn(write_news(0, entries, []))
    await reader.states(keys)
    assert reader.hits == {"memory": 10, "redis": 0, "postgres": 20}
