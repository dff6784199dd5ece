"""The checks on histories find what they are there to find, and nothing else: on histories that are made up."""

from collections.abc import Callable, Iterable

import pytest

from tests.system.history import (
    ChangeAnswered,
    ChangeSent,
    DialogLeft,
    DialogMoved,
    Event,
    History,
    NotifyAnswered,
    NotifyReceived,
    State,
    SubscribeAnswered,
    SubscribeSent,
    dialogs_made_twice,
    disturbances,
    late_copies,
    lost_changes,
    not_converged,
    overtaken_notifies,
    repeated_ends,
    stale_starts,
    states_from_nowhere,
    steps_back,
    two_outstanding,
    violations,
    words_after_the_end,
    wrong_cseqs,
    wrong_dialogs,
)

ALICE = "sip:alice@example.com"
CAROL = "sip:carol@example.com"


def sent(number: int, publication: str = "a", presentity: str = ALICE, *, removes: bool = False) -> Event:
    return ChangeSent(presentity, publication, number, removes)


def answered(number: int, status: int = 200, publication: str = "a") -> Event:
    return ChangeAnswered(publication, number, status)


def done(*numbers: int, publication: str = "a", presentity: str = ALICE) -> list[Event]:
    events: list[Event] = []
    for number in numbers:
        events += [sent(number, publication, presentity), answered(number, publication=publication)]
    return events


def removed(number: int, publication: str = "a") -> list[Event]:
    return [sent(number, publication, removes=True), answered(number, publication=publication)]


def subscribed(dialog: str = "d", presentity: str = ALICE, expires: int = 600) -> list[Event]:
    return [SubscribeSent(presentity, dialog, expires), SubscribeAnswered(dialog, 200)]


def subscribed_with(tag: str) -> list[Event]:
    return [SubscribeSent(ALICE, "d", 600), SubscribeAnswered("d", 200, tag)]


def told(
    cseq: int, state: State | None, dialog: str = "d", subscription: str = "active", branch: str = ""
) -> list[Event]:
    """A NOTIFY that was answered at once."""
    return [
        NotifyReceived(dialog, cseq, branch or f"b{cseq}", subscription, state),
        NotifyAnswered(dialog, cseq),
    ]


WHOLE: list[Event] = [
    *done(1, 2),
    *done(1, publication="c", presentity=CAROL),
    *subscribed(),
    *told(1, {"a": 2}),
    sent(3),
    *told(2, {"a": 3}),
    *told(2, {"a": 3}),
    answered(3),
    *removed(4),
    *told(3, {}),
    *done(1, publication="b"),
    sent(2, "b"),
    answered(2, 503, "b"),
    sent(3, "b"),
    *subscribed(),
    *told(4, {"b": 3}),
    *subscribed("e"),
    *told(1, {"b": 3}, "e"),
    *subscribed("e", expires=0),
    *told(2, {"b": 3}, "e", "terminated"),
    SubscribeSent(ALICE, "f", 600),
    DialogLeft("f"),
    *subscribed("g", presentity="sip:nobody@example.com"),
    *told(1, {}, "g"),
    *subscribed("h", expires=0),
    *told(1, {"b": 3}, "h", "terminated"),
    *told(1, {"b": 3}, "h", "terminated"),
]
STORED: dict[str, State] = {ALICE: {"b": 3}, CAROL: {"c": 1}}


def test_a_history_without_fault_has_no_violation() -> None:
    history = History(WHOLE)
    assert violations(history, STORED, ["d", "f", "g"]) == []
    assert disturbances(history) == []
    assert list(late_copies(history)) == []
    assert history.open_dialogs() == {"d": ALICE, "g": "sip:nobody@example.com"}
    assert history.acknowledged() == 6


def test_two_publications_of_a_presentity_are_judged_apart() -> None:
    history = History(
        [
            *done(1, 2),
            *done(1, publication="b"),
            *subscribed(),
            *told(1, {"a": 2, "b": 1}),
            *done(2, publication="b"),
            *told(2, {"a": 2, "b": 2}),
        ]
    )
    assert violations(history, {ALICE: {"a": 2, "b": 2}}) == []
    assert len(violations(history, {ALICE: {"a": 2, "b": 1}})) == 2


CHECKS_OF_WHAT_IS_STORED = [
    ("lost", done(1, 2), {"a": 1}, "state 2 was acknowledged, stored is state 1"),
    ("lost altogether", done(1), {}, "stored is nothing"),
    ("removal lost", [*done(1), *removed(2)], {"a": 1}, "its removal was acknowledged"),
    (
        "gone by a removal that was refused",
        [*done(1), sent(2, removes=True), answered(2, 503)],
        {},
        "state 1 was acknowledged, stored is nothing",
    ),
    ("superseded", [*done(1), sent(2)], {"a": 2}, ""),
    ("not superseded", [*done(1), sent(2)], {"a": 1}, ""),
    ("undecided, done", [*done(1), sent(2), answered(2, 504)], {"a": 2}, ""),
    ("undecided, not done", [*done(1), sent(2), answered(2, 504)], {"a": 1}, ""),
    ("gone by a removal without answer", [*done(1), sent(2, removes=True)], {}, ""),
    ("never acknowledged", [sent(1)], {}, ""),
]


@pytest.mark.parametrize(
    ("events", "stored", "complaint"),
    [case[1:] for case in CHECKS_OF_WHAT_IS_STORED],
    ids=[case[0] for case in CHECKS_OF_WHAT_IS_STORED],
)
def test_what_was_acknowledged_is_stored_or_superseded(events: list[Event], stored: State, complaint: str) -> None:
    found = list(lost_changes(History(events), {ALICE: stored}))
    assert len(found) == bool(complaint)
    assert complaint in "".join(found)


FAULTS: list[tuple[str, Callable[[History], Iterable[str]], list[Event], str]] = [
    ("back", steps_back, [*done(1, 2), *told(1, {"a": 2}), *told(2, {"a": 1})], "state 2 back to state 1"),
    ("vanished", steps_back, [*done(1), *told(1, {"a": 1}), *told(2, {})], "state 1 back to nothing"),
    (
        "back from the grave",
        steps_back,
        [*done(1), *told(1, {"a": 1}), *removed(2), *told(2, {}), *told(3, {"a": 1})],
        "its removal back to state 1",
    ),
    ("stale start", stale_starts, [*done(1, 2), *subscribed(), *told(1, {"a": 1})], "state 2 had been acknowledged"),
    ("empty start", stale_starts, [*done(1), *subscribed(), *told(1, {})], "at nothing"),
    (
        "start with what is removed",
        stale_starts,
        [*done(1), *removed(2), *subscribed(), *told(1, {"a": 1})],
        "its removal had been acknowledged",
    ),
    (
        "overtaken",
        overtaken_notifies,
        [*done(1, 2), *told(2, {"a": 2}), *told(1, {"a": 1})],
        "CSeq 1 came first after 2",
    ),
    ("CSeq used twice", wrong_cseqs, [*told(1, {}), *told(1, {}, branch="other")], "CSeq 1 used again"),
    ("CSeq used for two bodies", wrong_cseqs, [*told(1, {}), *told(1, {"a": 1})], "CSeq 1 used again"),
    ("late copy", late_copies, [*told(1, {}), *told(2, {}), *told(1, {})], "CSeq 1 came again after 2"),
    (
        "two outstanding",
        two_outstanding,
        [NotifyReceived("d", 1, "b1", "active", {}), NotifyReceived("d", 2, "b2", "active", {})],
        "CSeq 2 came while 1 was not answered",
    ),
    (
        "two outstanding though another was answered",
        two_outstanding,
        [*told(1, {}), NotifyReceived("d", 2, "b2", "active", {}), NotifyAnswered("d", 1), *told(3, {})],
        "CSeq 3 came while 2 was not answered",
    ),
    (
        "two dialogs from one SUBSCRIBE",
        dialogs_made_twice,
        [SubscribeSent(ALICE, "d", 600), SubscribeAnswered("d", 200, "t1"), SubscribeAnswered("d", 200, "t2")],
        "was made twice, with the tags t1 and t2",
    ),
    (
        "a NOTIFY of a second dialog",
        dialogs_made_twice,
        [SubscribeSent(ALICE, "d", 600), NotifyReceived("d", 1, "b1", "active", {}, "t2"), *subscribed_with("t1")],
        "was made twice, with the tags t2 and t1",
    ),
    (
        "after the end",
        words_after_the_end,
        [*told(1, {}, subscription="terminated"), *told(2, {})],
        "CSeq 2 is active after the end",
    ),
    (
        "ended twice",
        repeated_ends,
        [*told(1, {}, subscription="terminated"), *told(2, {}, subscription="terminated")],
        "CSeq 2 tells the end again, which was 1",
    ),
]


@pytest.mark.parametrize(
    ("check", "events", "complaint"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
def test_each_fault_is_found(check: Callable[[History], Iterable[str]], events: list[Event], complaint: str) -> None:
    found = list(check(History(events)))
    assert len(found) == 1
    assert complaint in found[0]


def test_an_older_absence_is_no_step_back_before_the_publication_was_seen() -> None:
    history = History([*done(1), sent(2, removes=True), *told(1, {}), *told(2, {"a": 1}), *told(3, {})])
    assert list(steps_back(history)) == []


def test_a_copy_that_comes_late_is_refused_by_its_watcher_and_tells_it_nothing() -> None:
    late = [*subscribed(), *done(1, 2), *told(1, {"a": 1}), *told(2, {"a": 2}), *told(1, {"a": 1})]
    history = History(late)
    assert violations(history, {ALICE: {"a": 2}}) == []
    assert disturbances(history) == []
    assert list(late_copies(history)) == ["dialog d: CSeq 1 came again after 2"]
    other = History([*late, *told(1, {"a": 2})])
    assert len(violations(other, {ALICE: {"a": 2}})) == 1


def test_an_older_notify_that_comes_late_is_refused_by_its_watcher_and_tells_it_nothing() -> None:
    late = History([*subscribed(), *done(1, 2), *told(2, {"a": 2}), *told(1, {"a": 1})])
    assert violations(late, {ALICE: {"a": 2}}) == []
    assert disturbances(late) == ["dialog d: CSeq 1 came first after 2"]


def test_a_watcher_whose_cseqs_fall_for_good_is_told_nothing_any_more() -> None:
    fallen = History([*subscribed(), *done(1), *told(7, {"a": 1}), *done(2), *told(1, {"a": 2})])
    assert len(violations(fallen, {ALICE: {"a": 2}})) == 1


def test_only_the_first_notify_of_a_dialog_is_held_to_what_was_there_before() -> None:
    history = History([*subscribed(), *told(1, {}), *done(1), *subscribed(), *told(2, {})])
    assert list(stale_starts(history)) == []


def test_states_that_nobody_sent_or_that_were_refused_are_found() -> None:
    refused = History([*subscribed(), *done(1), sent(2), answered(2, 503), *told(1, {"a": 2})])
    assert list(states_from_nowhere(refused, {})) == ["dialog d: a 2 was refused and is there"]
    assert list(states_from_nowhere(refused, {ALICE: {"a": 2}})) == [
        "dialog d: a 2 was refused and is there",
        f"stored of {ALICE}: a 2 was refused and is there",
    ]
    early = History([*subscribed(), *told(1, {"a": 1}), sent(1)])
    assert list(states_from_nowhere(early, {})) == ["dialog d: a 1 was never sent"]
    strange = History([*subscribed(), *done(1, publication="c", presentity=CAROL), *told(1, {"c": 1})])
    assert list(states_from_nowhere(strange, {})) == [f"dialog d: c 1 belongs to {CAROL}"]


def test_a_watcher_that_ends_elsewhere_is_found() -> None:
    behind = History([*subscribed(), *done(1), *told(1, {"a": 1}), *done(2)])
    assert len(list(not_converged(behind, {ALICE: {"a": 2}}))) == 1
    assert list(not_converged(behind, {ALICE: {"a": 1}})) == []
    silent = History(subscribed())
    assert list(not_converged(silent, {})) == [f"dialog d was told nothing of {ALICE}"]
    bodyless = History([*subscribed(), *told(1, None)])
    assert list(not_converged(bodyless, {})) == [f"dialog d was told nothing of {ALICE}"]


def test_a_dialog_that_the_server_does_not_know_any_more_is_not_open() -> None:
    lost = History([*subscribed(), SubscribeSent(ALICE, "d", 600), SubscribeAnswered("d", 481)])
    assert lost.open_dialogs() == {}
    kept = History([*subscribed(), SubscribeSent(ALICE, "d", 600), SubscribeAnswered("d", 503)])
    assert kept.open_dialogs() == {"d": ALICE}


def test_a_notify_may_end_a_dialog_before_the_answer_comes() -> None:
    history = History(
        [SubscribeSent(ALICE, "d", 600), *told(1, {}, subscription="terminated"), SubscribeAnswered("d", 200)]
    )
    assert history.open_dialogs() == {}


DIALOGS_STORED = [
    ("there", subscribed(), ["d"], ""),
    ("a dialog of somebody who left without a word", [*subscribed(), DialogLeft("d")], ["d"], ""),
    ("whose end is not acknowledged yet", [*subscribed(), SubscribeSent(ALICE, "d", 0)], ["d"], ""),
    ("twice", subscribed(), ["d", "d"], "is stored 2 times"),
    ("lost", subscribed(), [], "was acknowledged and is not stored"),
    ("lost after a refresh", [*subscribed(), *subscribed()], [], "was acknowledged and is not stored"),
    ("unsubscribed", [*subscribed(), *subscribed(expires=0)], ["d"], "has ended"),
    ("fetched", subscribed(expires=0), ["d"], "has ended"),
    ("terminated", [*subscribed(), *told(1, {}, subscription="terminated")], ["d"], "has ended"),
    (
        "refused as unknown",
        [*subscribed(), SubscribeSent(ALICE, "d", 600), SubscribeAnswered("d", 481)],
        ["d"],
        "ended",
    ),
]


@pytest.mark.parametrize(
    ("events", "dialogs", "complaint"),
    [case[1:] for case in DIALOGS_STORED],
    ids=[case[0] for case in DIALOGS_STORED],
)
def test_what_dialogs_are_stored_is_what_the_watchers_were_told(
    events: list[Event], dialogs: list[str], complaint: str
) -> None:
    found = list(wrong_dialogs(History(events), dialogs))
    assert len(found) == bool(complaint)
    assert complaint in "".join(found)
    assert set(found) <= set(violations(History(events), {}, dialogs))


def test_a_notify_over_a_new_connection_supersedes_what_is_outstanding_on_the_old_one() -> None:
    first, second = NotifyReceived("d", 1, "b1", "active", {}), NotifyReceived("d", 2, "b2", "active", {})
    assert list(two_outstanding(History([first, DialogMoved("d"), second]))) == []
    assert len(list(two_outstanding(History([first, DialogMoved("e"), second])))) == 1


def test_every_event_has_its_time() -> None:
    times = iter([1.0, 2.5])
    history = History(subscribed(), clock=lambda: next(times))
    assert history.times == [1.0, 2.5]


def test_a_copy_that_comes_after_the_answer_is_not_outstanding() -> None:
    copy, second = NotifyReceived("d", 1, "b1", "active", {}), NotifyReceived("d", 2, "b2", "active", {})
    assert list(two_outstanding(History([*told(1, {}), copy, second]))) == []
