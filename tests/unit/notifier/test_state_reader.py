"""What a notifier keeps of dialogs between their NOTIFYs: those that live on, so many, and so large (invariant 6)."""

from collections.abc import Sequence

import pytest

from notifier.adapters.postgres import State
from notifier.adapters.state_reader import DIALOG_OCTETS, Key, StateReader
from notifier.domain.claims import Claim
from notifier.domain.watchers import Span, WatcherRows
from tests.unit.notifier.claimed import ACTIVE, PENDING, TERMINATED, claim, dialog
from vedette.records import DialogRecord
from vedette.store.hash_tables import HashTable
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
        """None."""
        raise NotImplementedError

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
