"""What live readers are told of NOTIFYs and of ends, or are told that they miss."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from notifier.domain.ended import Ended
from notifier.domain.outcome_policy import settle
from notifier.flows import live_events
from notifier.flows.live_events import LiveOutcomes
from tests.integration.calls import ALICE
from tests.unit.presence_core.test_announcements import ID, OTHER, RECORD
from vedette.identity import to_tag
from vedette.live import LiveEvent
from vedette.records import DialogRecord
from vedette.rpc.contract import FLOW_GONE, TIMEOUT, UNREACHABLE, Outcome
from vedette.store.database import StoreUnavailableError


@dataclass
class Told:
    """A teller that remembers."""

    wanted: bool = True
    events: list[LiveEvent] = field(default_factory=list)
    misses: int = 0

    def tell(self, events: Sequence[LiveEvent]) -> None:
        self.events += events

    def missed(self) -> None:
        self.misses += 1


@dataclass
class Dialogs:
    """A store that counts how often it is asked."""

    asked: int = 0
    fault: StoreUnavailableError | None = None

    async def dialogs(self, keys: Sequence[tuple[int, bytes]]) -> list[DialogRecord]:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return [RECORD for _, dialog_id in keys if dialog_id == ID]


def outcome(status: int, dialog_id: bytes = ID) -> Outcome:
    return Outcome(RECORD.presentity_hash, dialog_id, 4, status)


@pytest.mark.parametrize(
    ("status", "what", "code"),
    [
        (200, "delivered", 200),
        (202, "delivered", 202),
        (503, "failed", 503),
        (TIMEOUT, "timeout", None),
        (UNREACHABLE, "unreachable", None),
        (FLOW_GONE, "flow_gone", None),
    ],
)
async def test_an_outcome_is_told_with_whose_it_is(status: int, what: str, code: int | None) -> None:
    told = Told()
    live = LiveOutcomes(Dialogs(), told)
    live.settled([(outcome(status), settle(status, None))], [])
    await live.finish()
    (event,) = told.events
    assert (event.kind, event.what, event.code, event.cseq) == ("notify", what, code, 4)
    assert (event.presentity, event.event, event.id, event.watcher) == (ALICE, "presence", "t", "sip:bob@example.net")


async def test_the_end_of_a_subscription_follows_the_outcome_that_ended_it() -> None:
    told = Told()
    live = LiveOutcomes(Dialogs(), told)
    live.settled([(outcome(481), settle(481, None))], [ID])
    await live.finish()
    assert [(e.kind, e.what, e.reason) for e in told.events] == [
        ("notify", "failed", ""),
        ("subscription", "removed", "deactivated"),
    ]


async def test_what_expires_is_told_in_its_order() -> None:
    told, store = Told(), Dialogs()
    live = LiveOutcomes(store, told)
    live.ended(
        [
            Ended("publication", 1, ALICE, "presence", OTHER, 6, 0, (), watched=True),
            Ended("dialog", RECORD.presentity_hash, ALICE, "presence", ID, 0, 3, (), watched=False),
        ]
    )
    await live.finish()
    assert [(e.kind, e.what, e.id) for e in told.events] == [
        ("publication", "expired", to_tag("", 1, OTHER)),
        ("subscription", "expired", "t"),
    ]


async def test_a_dialog_is_looked_up_once() -> None:
    told, store = Told(), Dialogs()
    live = LiveOutcomes(store, told)
    for _ in range(3):
        live.settled([(outcome(200), settle(200, None))] * 2, [])
        await live.finish()
    assert (len(told.events), store.asked) == (6, 1)


async def test_what_cannot_be_told_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    told, store = Told(), Dialogs()
    live = LiveOutcomes(store, told)
    live.settled([(outcome(200, OTHER), settle(200, None))], [])
    await live.finish()
    assert (told.events, told.misses) == ([], 1)
    store.fault = StoreUnavailableError("gone")
    live.settled([(outcome(200), settle(200, None))], [])
    await live.finish()
    assert (told.events, told.misses) == ([], 2)
    monkeypatch.setattr(live_events, "MAX_WAITING", 1)
    live.settled([(outcome(200), settle(200, None))] * 2, [])
    assert told.misses == 3
