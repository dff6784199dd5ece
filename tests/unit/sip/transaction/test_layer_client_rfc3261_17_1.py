"""Client transactions on a clock: retransmission, time-out, matching, transport errors (RFC 3261 section 17.1)."""

import pytest

from tests.unit.sip.messages import response
from tests.unit.sip.transaction.clock import TCP, UDP, Clocked, notify_response
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.transaction.client import State

TIMES = [0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]


def test_txn_06_a_notify_over_udp_is_repeated_at_growing_intervals_until_timer_f() -> None:
    clocked = Clocked()
    transaction = clocked.send(context="dialog")
    assert clocked.drain() == [b"NOTIFY"]
    clocked.advance(31.99)
    assert clocked.times() == TIMES
    assert clocked.finished == []
    clocked.advance(60.0)
    assert clocked.times() == TIMES
    [finished] = clocked.finished
    assert (finished.transaction, finished.response, finished.transport_error) == (transaction, None, False)
    assert (finished.context, transaction.sends) == ("dialog", 11)
    assert (len(clocked.layer), clocked.layer.next_timer()) == (0, None)
    assert clocked.layer.retransmissions_sent == 10


def test_txn_07_after_a_provisional_it_is_repeated_every_t2() -> None:
    clocked = Clocked()
    transaction = clocked.send()
    clocked.drain()
    clocked.advance(0.1)
    assert clocked.answer(100)
    assert clocked.answer(183)
    clocked.advance(40.0)
    assert clocked.times() == [0.0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert [finished.response for finished in clocked.finished] == [None]
    assert transaction.state is State.TERMINATED


def test_txn_08_over_a_stream_nothing_is_repeated_and_timer_f_applies() -> None:
    clocked = Clocked()
    clocked.send(flow=TCP)
    clocked.drain()
    clocked.advance(31.99)
    assert clocked.finished == []
    clocked.advance(32.0)
    assert clocked.times() == [0.0]
    [finished] = clocked.finished
    assert (finished.response, finished.transport_error) == (None, False)
    assert (len(clocked.layer), clocked.layer.next_timer()) == (0, None)


@pytest.mark.parametrize("status", [200, 202, 302, 401, 481, 503, 699])
def test_txn_09_a_final_response_ends_it_and_its_copies_are_absorbed_for_t4(status: int) -> None:
    clocked = Clocked()
    clocked.send()
    clocked.drain()
    clocked.advance(0.7)
    assert clocked.answer(status)
    clocked.drain()
    [finished] = clocked.finished
    assert finished.response is not None
    assert finished.response.status == status
    assert clocked.answer(status)
    assert clocked.answer(100)
    clocked.advance(5.69)
    assert clocked.answer(200)
    assert len(clocked.layer) == 1
    clocked.advance(5.7)
    assert not clocked.answer(200)
    assert len(clocked.layer) == 0
    clocked.advance(100.0)
    assert (clocked.times(), len(clocked.finished)) == ([0.0, 0.5], 1)


def test_txn_09_over_a_stream_it_is_gone_with_its_final_response() -> None:
    clocked = Clocked()
    clocked.send(flow=TCP)
    clocked.drain()
    assert clocked.answer(200)
    clocked.drain()
    assert (len(clocked.finished), len(clocked.layer)) == (1, 0)
    assert not clocked.answer(200)
    clocked.advance(100.0)
    assert len(clocked.finished) == 1
    assert clocked.layer.next_timer() is None


@pytest.mark.parametrize(
    ("branch", "method"),
    [("z9hG4bKother", "NOTIFY"), ("z9hG4bKN1", "NOTIFY"), ("z9hG4bKn1", "SUBSCRIBE"), ("z9hG4bKn1", "notify")],
)
def test_txn_10_a_response_of_another_branch_or_method_is_not_ours(branch: str, method: str) -> None:
    clocked = Clocked()
    clocked.send()
    clocked.drain()
    assert not clocked.answer(200, branch, method)
    clocked.drain()
    assert clocked.finished == []
    clocked.advance(0.5)
    assert clocked.times() == [0.0, 0.5]


def test_txn_10_transactions_of_two_branches_do_not_know_each_other() -> None:
    clocked = Clocked()
    clocked.send("z9hG4bKn1")
    clocked.advance(0.2)
    second = clocked.send("z9hG4bKn2")
    assert clocked.answer(481, "z9hG4bKn2")
    clocked.drain()
    assert [finished.transaction for finished in clocked.finished] == [second]
    clocked.advance(100.0)
    assert [finished.response is None for finished in clocked.finished] == [False, True]


@pytest.mark.parametrize(("name", "value"), [("Via", None), ("CSeq", None), ("Via", "bad"), ("CSeq", "bad")])
def test_msg_36_a_response_whose_via_or_cseq_cannot_be_read_is_told(name: str, value: str | None) -> None:
    clocked = Clocked()
    clocked.send("z9hG4bKabc1")
    with pytest.raises(SipError):
        clocked.layer.receive_response(response("SIP/2.0 200 OK", (name, value)), 0.0)
    assert clocked.layer.events() == []


def test_trn_22_a_flow_that_fails_ends_what_was_sent_over_it_and_nothing_else() -> None:
    clocked = Clocked()
    failed = [clocked.send(f"z9hG4bKf{number}", flow=TCP) for number in range(2)]
    other = clocked.send("z9hG4bKo", flow=Flow("tcp", "192.0.2.10", 40000, 4))
    clocked.drain()
    clocked.layer.fail_flow(TCP, 1.0)
    clocked.drain()
    assert [(end.transaction, end.response, end.transport_error) for end in clocked.finished] == [
        (transaction, None, True) for transaction in failed
    ]
    assert other.state is State.TRYING
    assert len(clocked.layer) == 1
    clocked.layer.fail_flow(TCP, 2.0)
    clocked.drain()
    assert len(clocked.finished) == 2


class CountedFlow(Flow):
    """A flow that counts how often it is compared with another."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedFlow.compared += 1
        return super().__eq__(other)

    __hash__ = Flow.__hash__


def test_trn_22_flows_that_fail_together_look_only_at_what_was_sent_over_them() -> None:
    clocked = Clocked()
    flows = [CountedFlow("tcp", "192.0.2.10", 40000, number) for number in range(1, 501)]
    for number, flow in enumerate(flows):
        clocked.send(f"z9hG4bK{number}", flow=flow)
    CountedFlow.compared = 0
    for flow in flows:
        clocked.layer.fail_flow(flow, 1.0)
    clocked.drain()
    assert [end.transport_error for end in clocked.finished] == [True] * 500
    assert len(clocked.layer) == 0
    assert CountedFlow.compared < 10 * len(flows)


def test_what_a_request_carried_is_dropped_at_its_end_though_its_timers_run_on() -> None:
    clocked = Clocked()
    answered, failed, abandoned = (clocked.send(f"z9hG4bK{name}", context=name) for name in "afd")
    clocked.answer(200, "z9hG4bKa")
    clocked.layer.fail_request(failed, 0.0)
    clocked.layer.abandon(abandoned)
    clocked.drain()
    assert [end.context for end in clocked.finished] == ["a", "f"]
    assert [(ended.context, ended.data) for ended in (answered, failed, abandoned)] == [(None, b"")] * 3
    assert clocked.layer.next_timer() is not None


def test_trn_22_a_request_that_could_not_be_sent_ends_at_once() -> None:
    clocked = Clocked()
    transaction = clocked.send()
    clocked.layer.fail_request(transaction, 0.0)
    clocked.layer.fail_request(transaction, 0.0)
    clocked.advance(100.0)
    clocked.drain()
    assert [end.transport_error for end in clocked.finished] == [True]
    assert len(clocked.layer) == 0


def test_a_flow_that_fails_after_the_answer_changes_nothing() -> None:
    clocked = Clocked()
    clocked.send()
    clocked.answer(200)
    clocked.layer.fail_flow(UDP, 1.0)
    clocked.drain()
    assert [end.transport_error for end in clocked.finished] == [False]


def test_an_abandoned_request_is_neither_repeated_nor_reported_and_its_answer_is_nobodys() -> None:
    clocked = Clocked()
    transaction = clocked.send()
    clocked.drain()
    clocked.layer.abandon(transaction)
    assert len(clocked.layer) == 0
    assert not clocked.answer(200)
    clocked.layer.fail_flow(UDP, 1.0)
    clocked.advance(100.0)
    assert (clocked.times(), clocked.finished, clocked.layer.next_timer()) == ([0.0], [], None)


def test_abandoning_an_old_request_leaves_a_new_one_of_the_same_branch_alone() -> None:
    clocked = Clocked()
    old = clocked.send()
    clocked.layer.abandon(old)
    clocked.advance(1.0)
    new = clocked.send()
    clocked.advance(32.5)  # the timers of the old one have ended
    assert clocked.answer(200)
    clocked.drain()
    assert [end.transaction for end in clocked.finished] == [new]


def test_txn_21_a_request_that_nobody_answers_delays_no_other() -> None:
    clocked = Clocked()
    clocked.send("z9hG4bKdead")
    for number in range(50):
        clocked.advance(clocked.now + 0.3)
        clocked.send(f"z9hG4bK{number}", flow=TCP)
        assert clocked.answer(200, f"z9hG4bK{number}")
    clocked.drain()
    assert [end.response is not None for end in clocked.finished] == [True] * 50


def test_the_octets_of_a_request_are_dropped_with_its_answer() -> None:
    clocked = Clocked()
    transaction = clocked.send()
    clocked.answer(200)
    assert transaction.data == b""
    assert notify_response().cseq == (1, "NOTIFY")
