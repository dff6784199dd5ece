"""The non-INVITE client transaction (RFC 3261 section 17.1.2.2) as a table; theory of operation as in `server`."""

from enum import IntEnum


class State(IntEnum):
    """Figure 6."""

    TRYING = 0
    PROCEEDING = 1
    COMPLETED = 2
    TERMINATED = 3


class Input(IntEnum):
    """What can happen to a client transaction."""

    PROVISIONAL = 0
    FINAL = 1
    TIMER_E = 2
    TIMER_F = 3
    TIMER_K = 4
    TRANSPORT_ERROR = 5


class Action(IntEnum):
    """What the layer has to do, in this order."""

    RETRANSMIT = 0
    """Send the request again and start Timer E anew: doubled up to T2 in Trying, T2 in Proceeding."""
    START_K = 1
    REPORT_RESPONSE = 2
    REPORT_TIMEOUT = 3
    REPORT_ERROR = 4


TRANSITIONS: dict[tuple[State, Input], tuple[State, tuple[Action, ...]]] = {
    (State.TRYING, Input.PROVISIONAL): (State.PROCEEDING, ()),
    (State.TRYING, Input.FINAL): (State.COMPLETED, (Action.START_K, Action.REPORT_RESPONSE)),
    (State.TRYING, Input.TIMER_E): (State.TRYING, (Action.RETRANSMIT,)),
    (State.TRYING, Input.TIMER_F): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
    (State.TRYING, Input.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_ERROR,)),
    (State.PROCEEDING, Input.FINAL): (State.COMPLETED, (Action.START_K, Action.REPORT_RESPONSE)),
    (State.PROCEEDING, Input.TIMER_E): (State.PROCEEDING, (Action.RETRANSMIT,)),
    (State.PROCEEDING, Input.TIMER_F): (State.TERMINATED, (Action.REPORT_TIMEOUT,)),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_ERROR,)),
    (State.COMPLETED, Input.TIMER_K): (State.TERMINATED, ()),
}

DROPPED: frozenset[tuple[State, Input]] = frozenset(
    {
        (State.TRYING, Input.TIMER_K),
        (State.PROCEEDING, Input.PROVISIONAL),
        (State.PROCEEDING, Input.TIMER_K),
        (State.COMPLETED, Input.PROVISIONAL),
        (State.COMPLETED, Input.FINAL),
        (State.COMPLETED, Input.TIMER_E),
        (State.COMPLETED, Input.TIMER_F),
        (State.COMPLETED, Input.TRANSPORT_ERROR),
        *((State.TERMINATED, happened) for happened in Input),
    }
)


def step(state: State, happened: Input) -> tuple[State, tuple[Action, ...]]:
    """The next state and what to do; the same state and nothing for a dropped pair."""
    return TRANSITIONS.get((state, happened)) or (state, ())
