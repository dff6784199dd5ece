"""The non-INVITE server transaction (RFC 3261 section 17.2.2, RFC 4320) as a table.

Theory of operation: the table holds every transition; DROPPED holds every pair that the RFC says to ignore; the two
together are the full product of states and inputs, and a test proves it. `step` knows no time and sends nothing:
the layer carries out the actions.
"""

from enum import IntEnum


class State(IntEnum):
    """Figure 8."""

    TRYING = 0
    PROCEEDING = 1
    COMPLETED = 2
    TERMINATED = 3


class Input(IntEnum):
    """What can happen to a server transaction."""

    REQUEST = 0
    """A retransmission of the request."""
    SEND_PROVISIONAL = 1
    SEND_FINAL = 2
    TIMER_PROVISIONAL = 3
    """RFC 4320 section 4.1: Timer E of the client has grown to T2."""
    TIMER_J = 4
    TRANSPORT_ERROR = 5


class Action(IntEnum):
    """What the layer has to do, in this order."""

    SEND = 0
    """Send the response that came with the input, and keep it."""
    RESEND = 1
    """Send the kept response again."""
    SEND_TRYING = 2
    """Send a 100 built by the layer, and keep it."""
    START_J = 3
    REPORT_ERROR = 4


TRANSITIONS: dict[tuple[State, Input], tuple[State, tuple[Action, ...]]] = {
    (State.TRYING, Input.SEND_PROVISIONAL): (State.PROCEEDING, (Action.SEND,)),
    (State.TRYING, Input.SEND_FINAL): (State.COMPLETED, (Action.SEND, Action.START_J)),
    (State.TRYING, Input.TIMER_PROVISIONAL): (State.PROCEEDING, (Action.SEND_TRYING,)),
    (State.TRYING, Input.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_ERROR,)),
    (State.PROCEEDING, Input.REQUEST): (State.PROCEEDING, (Action.RESEND,)),
    (State.PROCEEDING, Input.SEND_PROVISIONAL): (State.PROCEEDING, (Action.SEND,)),
    (State.PROCEEDING, Input.SEND_FINAL): (State.COMPLETED, (Action.SEND, Action.START_J)),
    (State.PROCEEDING, Input.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_ERROR,)),
    (State.COMPLETED, Input.REQUEST): (State.COMPLETED, (Action.RESEND,)),
    (State.COMPLETED, Input.TIMER_J): (State.TERMINATED, ()),
    (State.COMPLETED, Input.TRANSPORT_ERROR): (State.TERMINATED, (Action.REPORT_ERROR,)),
}

DROPPED: frozenset[tuple[State, Input]] = frozenset(
    {
        (State.TRYING, Input.REQUEST),
        (State.TRYING, Input.TIMER_J),
        (State.PROCEEDING, Input.TIMER_PROVISIONAL),
        (State.PROCEEDING, Input.TIMER_J),
        (State.COMPLETED, Input.SEND_PROVISIONAL),
        (State.COMPLETED, Input.SEND_FINAL),
        (State.COMPLETED, Input.TIMER_PROVISIONAL),
        *((State.TERMINATED, happened) for happened in Input),
    }
)


def step(state: State, happened: Input) -> tuple[State, tuple[Action, ...]]:
    """The next state and what to do; the same state and nothing for a dropped pair."""
    return TRANSITIONS.get((state, happened)) or (state, ())
