"""The figures count what they say, on histories that are made up."""

from tests.system.figures import Figures, caught_up, duplicates
from tests.system.history import (
    ChangeSent,
    Event,
    History,
    NotifyReceived,
    ResponseReceived,
    State,
    SubscribeAnswered,
    SubscribeSent,
)

ALICE = "sip:alice@example.com"


def told(cseq: int, state: State, dialog: str = "d") -> NotifyReceived:
    return NotifyReceived(dialog, cseq, f"b{cseq}", "active", state)


def test_requests_notifies_copies_and_duplicates_are_counted_apart() -> None:
    history = History(
        [
            ResponseReceived("p", "PUBLISH", 200, None),
            ResponseReceived("p", "PUBLISH", 503, "2"),
            SubscribeSent(ALICE, "d", 600),
            SubscribeAnswered("d", 200),
            told(1, {"a": 1}),
            told(1, {"a": 1}),
            told(2, {"a": 2}),
            told(3, {"a": 2}),
            told(4, {"a": 2}, "e"),
        ]
    )
    figures = Figures()
    figures.add(history)
    assert figures == Figures(acknowledged=1, refused=1, notifies=4, copies=1, duplicates=1)
    figures.add(history)
    assert figures.notifies == 8


def test_a_notify_that_a_subscribe_asked_for_is_no_duplicate() -> None:
    first: list[Event] = [SubscribeSent(ALICE, "d", 600), SubscribeAnswered("d", 200)]
    asked = History([*first, told(1, {}), *first, told(2, {})])
    assert list(duplicates(asked)) == []
    unasked = History([*asked.events, told(3, {})])
    assert [event.cseq for event in duplicates(unasked)] == [3]


def test_the_answer_to_a_subscribe_may_come_after_another_notify() -> None:
    sent = SubscribeSent(ALICE, "d", 600)
    crossed: list[Event] = [
        sent,
        SubscribeAnswered("d", 200),
        told(1, {}),
        sent,
        told(2, {"a": 1}),
        SubscribeAnswered("d", 200),
    ]
    assert list(duplicates(History([*crossed, told(3, {"a": 1})]))) == []
    assert len(list(duplicates(History([*crossed, told(3, {"a": 1}), told(4, {"a": 1})])))) == 1


def test_a_watcher_has_caught_up_when_it_is_shown_a_change_that_was_made_after_the_fault() -> None:
    times = iter(range(100))
    history = History(
        [
            SubscribeSent(ALICE, "d", 600, "w1"),
            SubscribeSent(ALICE, "e", 600, "w2"),
            SubscribeSent("sip:carol@example.com", "f", 600, "w3"),
            ChangeSent(ALICE, "a", 1),
            ChangeSent(ALICE, "a", 2),
            told(1, {"a": 1}),
            told(1, {"a": 2}, "e"),
            told(1, {"a": 2}, "f"),
            told(2, {"a": 2}),
        ],
        clock=lambda: float(next(times)),
    )
    assert caught_up(history, 3.5) == {"w1": 4.5, "w2": 2.5, "w3": None}
    assert caught_up(history, 2.5) == {"w1": 2.5, "w2": 3.5, "w3": None}
    assert caught_up(history, 5.0) == {"w1": None, "w2": None, "w3": None}
