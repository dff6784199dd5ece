"""The table of the non-INVITE client transaction (RFC 3261 section 17.1.2.2, figure 6)."""

from itertools import product

import pytest

from vedette.sip.transaction.client import DROPPED, TRANSITIONS, Action, Input, State, step

TRYING, PROCEEDING, COMPLETED, TERMINATED = State
PROVISIONAL, FINAL, TIMER_E, TIMER_F, TIMER_K, TRANSPORT_ERROR = Input
NOTHING: tuple[Action, ...] = ()

PAIRS = [
    # state, input, next state, actions
    (TRYING, PROVISIONAL, PROCEEDING, NOTHING),
    (TRYING, FINAL, COMPLETED, (Action.START_K, Action.REPORT_RESPONSE)),
    (TRYING, TIMER_E, TRYING, (Action.RETRANSMIT,)),
    (TRYING, TIMER_F, TERMINATED, (Action.REPORT_TIMEOUT,)),
    (TRYING, TIMER_K, TRYING, NOTHING),
    (TRYING, TRANSPORT_ERROR, TERMINATED, (Action.REPORT_ERROR,)),
    (PROCEEDING, PROVISIONAL, PROCEEDING, NOTHING),
    (PROCEEDING, FINAL, COMPLETED, (Action.START_K, Action.REPORT_RESPONSE)),
    (PROCEEDING, TIMER_E, PROCEEDING, (Action.RETRANSMIT,)),
    (PROCEEDING, TIMER_F, TERMINATED, (Action.REPORT_TIMEOUT,)),
    (PROCEEDING, TIMER_K, PROCEEDING, NOTHING),
    (PROCEEDING, TRANSPORT_ERROR, TERMINATED, (Action.REPORT_ERROR,)),
    (COMPLETED, PROVISIONAL, COMPLETED, NOTHING),
    (COMPLETED, FINAL, COMPLETED, NOTHING),
    (COMPLETED, TIMER_E, COMPLETED, NOTHING),
    (COMPLETED, TIMER_F, COMPLETED, NOTHING),
    (COMPLETED, TIMER_K, TERMINATED, NOTHING),
    (COMPLETED, TRANSPORT_ERROR, COMPLETED, NOTHING),
    (TERMINATED, PROVISIONAL, TERMINATED, NOTHING),
    (TERMINATED, FINAL, TERMINATED, NOTHING),
    (TERMINATED, TIMER_E, TERMINATED, NOTHING),
    (TERMINATED, TIMER_F, TERMINATED, NOTHING),
    (TERMINATED, TIMER_K, TERMINATED, NOTHING),
    (TERMINATED, TRANSPORT_ERROR, TERMINATED, NOTHING),
]
REPORTS = {Action.REPORT_RESPONSE, Action.REPORT_TIMEOUT, Action.REPORT_ERROR}


@pytest.mark.parametrize(("state", "happened", "following", "actions"), PAIRS)
def test_txn_06_07_08_09_each_state_with_each_input(
    state: State, happened: Input, following: State, actions: tuple[Action, ...]
) -> None:
    assert step(state, happened) == (following, actions)


def test_the_tables_hold_every_pair_once() -> None:
    every = set(product(State, Input))
    assert {(state, happened) for state, happened, *_ in PAIRS} == every
    assert len(PAIRS) == len(every)
    assert set(TRANSITIONS) | DROPPED == every
    assert not set(TRANSITIONS) & DROPPED


def test_each_way_out_of_trying_and_proceeding_reports_once_and_no_other_step_does() -> None:
    for (state, _), (following, actions) in TRANSITIONS.items():
        leaves = state in {TRYING, PROCEEDING} and following in {COMPLETED, TERMINATED}
        assert len(REPORTS & set(actions)) == int(leaves)
