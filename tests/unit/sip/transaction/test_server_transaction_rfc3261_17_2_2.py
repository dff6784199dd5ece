"""The table of the non-INVITE server transaction (RFC 3261 section 17.2.2, figure 8; RFC 4320)."""

from itertools import product

import pytest

from vedette.sip.transaction.server import DROPPED, TRANSITIONS, Action, Input, State, step

TRYING, PROCEEDING, COMPLETED, TERMINATED = State
REQUEST, SEND_PROVISIONAL, SEND_FINAL, TIMER_PROVISIONAL, TIMER_J, TRANSPORT_ERROR = Input
NOTHING: tuple[Action, ...] = ()

PAIRS = [
    # state, input, next state, actions
    (TRYING, REQUEST, TRYING, NOTHING),
    (TRYING, SEND_PROVISIONAL, PROCEEDING, (Action.SEND,)),
    (TRYING, SEND_FINAL, COMPLETED, (Action.SEND, Action.START_J)),
    (TRYING, TIMER_PROVISIONAL, PROCEEDING, (Action.SEND_TRYING,)),
    (TRYING, TIMER_J, TRYING, NOTHING),
    (TRYING, TRANSPORT_ERROR, TERMINATED, (Action.REPORT_ERROR,)),
    (PROCEEDING, REQUEST, PROCEEDING, (Action.RESEND,)),
    (PROCEEDING, SEND_PROVISIONAL, PROCEEDING, (Action.SEND,)),
    (PROCEEDING, SEND_FINAL, COMPLETED, (Action.SEND, Action.START_J)),
    (PROCEEDING, TIMER_PROVISIONAL, PROCEEDING, NOTHING),
    (PROCEEDING, TIMER_J, PROCEEDING, NOTHING),
    (PROCEEDING, TRANSPORT_ERROR, TERMINATED, (Action.REPORT_ERROR,)),
    (COMPLETED, REQUEST, COMPLETED, (Action.RESEND,)),
    (COMPLETED, SEND_PROVISIONAL, COMPLETED, NOTHING),
    (COMPLETED, SEND_FINAL, COMPLETED, NOTHING),
    (COMPLETED, TIMER_PROVISIONAL, COMPLETED, NOTHING),
    (COMPLETED, TIMER_J, TERMINATED, NOTHING),
    (COMPLETED, TRANSPORT_ERROR, TERMINATED, (Action.REPORT_ERROR,)),
    (TERMINATED, REQUEST, TERMINATED, NOTHING),
    (TERMINATED, SEND_PROVISIONAL, TERMINATED, NOTHING),
    (TERMINATED, SEND_FINAL, TERMINATED, NOTHING),
    (TERMINATED, TIMER_PROVISIONAL, TERMINATED, NOTHING),
    (TERMINATED, TIMER_J, TERMINATED, NOTHING),
    (TERMINATED, TRANSPORT_ERROR, TERMINATED, NOTHING),
]


@pytest.mark.parametrize(("state", "happened", "following", "actions"), PAIRS)
def test_txn_01_02_03_11_12_each_state_with_each_input(
    state: State, happened: Input, following: State, actions: tuple[Action, ...]
) -> None:
    assert step(state, happened) == (following, actions)


def test_the_tables_hold_every_pair_once() -> None:
    every = set(product(State, Input))
    assert {(state, happened) for state, happened, *_ in PAIRS} == every
    assert len(PAIRS) == len(every)
    assert set(TRANSITIONS) | DROPPED == every
    assert not set(TRANSITIONS) & DROPPED


def test_txn_13_no_path_to_the_end_answers_by_itself_with_anything_but_100() -> None:
    own = {action for _, actions in TRANSITIONS.values() for action in actions} - {Action.SEND, Action.RESEND}
    assert own == {Action.SEND_TRYING, Action.START_J, Action.REPORT_ERROR}
