"""Server transactions on a clock: repetition, timers, matching, merging, CANCEL (RFC 3261 17.2, 8.2.2.2 and 9.2)."""

import pytest

from tests.unit.sip.messages import request
from tests.unit.sip.transaction.clock import TCP, Clocked
from vedette.sip.flow import Flow
from vedette.sip.message import Request, Response
from vedette.sip.reader import read_message
from vedette.sip.transaction.server import State

VIA = "SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bKabc1;rport"


def old(*changes: tuple[str, str | None], start: str = "SUBSCRIBE sip:alice@example.com SIP/2.0") -> Request:
    """A request of RFC 2543: its branch has no cookie."""
    return request(("Via", "SIP/2.0/UDP 192.0.2.10"), *changes, start=start)


def test_txn_01_a_repeated_request_is_absorbed_while_its_answer_is_owed() -> None:
    clocked = Clocked()
    transaction = clocked.receive(request())
    assert transaction is not None
    assert transaction.ongoing
    for _ in range(3):
        assert clocked.receive(request()) is None
    assert clocked.drain() == []
    assert (clocked.layer.ongoing, clocked.layer.retransmissions_absorbed, len(clocked.layer)) == (1, 3, 1)


def test_txn_02_a_repeated_request_gets_the_very_same_answer_again() -> None:
    clocked = Clocked()
    transaction = clocked.receive(request())
    assert transaction is not None
    clocked.respond(transaction, b"the answer")
    assert clocked.drain() == [b"the answer"]
    clocked.respond(transaction, b"another one")
    assert clocked.drain() == []
    assert clocked.receive(request()) is None
    assert clocked.drain() == [b"the answer"]
    assert not transaction.ongoing
    assert transaction.request is None
    assert clocked.layer.ongoing == 0


def test_txn_03_timer_j_is_64_t1_on_udp() -> None:
    clocked = Clocked()
    transaction = clocked.receive(request())
    assert transaction is not None
    clocked.advance(2.0)
    clocked.respond(transaction)
    clocked.drain()
    clocked.advance(33.99)
    assert clocked.receive(request()) is None
    assert clocked.drain() == [b"final"]
    clocked.advance(34.0)
    assert len(clocked.layer) == 0
    assert clocked.receive(request()) is not None


def test_txn_03_on_a_stream_a_transaction_ends_with_its_answer() -> None:
    clocked = Clocked()
    transaction = clocked.receive(request(), TCP)
    assert transaction is not None
    clocked.respond(transaction)
    assert clocked.drain() == [b"final"]
    assert transaction.state is State.TERMINATED
    assert (len(clocked.layer), clocked.layer.next_timer()) == (0, None)
    assert clocked.receive(request(), TCP) is not None


@pytest.mark.parametrize(
    "other",
    [
        request(("Via", "SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bKabc2")),
        request(("Via", "SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bKABC1")),
        request(("Via", "SIP/2.0/UDP 192.0.2.10:5063;branch=z9hG4bKabc1")),
        request(("Via", "SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKabc1")),
        request(("Via", "SIP/2.0/UDP 192.0.2.11:5062;branch=z9hG4bKabc1")),
        request(("CSeq", "7 PUBLISH"), start="PUBLISH sip:alice@example.com SIP/2.0"),
    ],
    ids=["branch", "branch case", "port", "default port", "host", "method"],
)
def test_txn_04_another_branch_sent_by_or_method_is_another_transaction(other: Request) -> None:
    clocked = Clocked()
    assert clocked.receive(request()) is not None
    assert clocked.receive(other) is not None
    assert len(clocked.layer) == 2


@pytest.mark.parametrize(
    "same",
    [
        request(("Via", "SIP/2.0/UDP 192.0.2.10:5062;rport;branch=z9hG4bKabc1;x=y")),
        request(("Via", f"{VIA}, SIP/2.0/UDP below;branch=z9hG4bKother")),
        request(("Call-ID", "another"), ("CSeq", "8 SUBSCRIBE"), ("From", "<sip:x@y>;tag=z")),
        request(start="SUBSCRIBE sip:carol@example.com SIP/2.0"),
    ],
    ids=["other parameters", "lower Vias", "other fields", "other Request-URI"],
)
def test_txn_04_with_a_cookie_nothing_else_is_looked_at(same: Request) -> None:
    clocked = Clocked()
    assert clocked.receive(request()) is not None
    assert clocked.receive(same) is None


def test_txn_04_sent_by_is_a_host_in_any_case_with_its_default_port() -> None:
    clocked = Clocked()
    assert clocked.receive(request(("Via", "SIP/2.0/UDP Host.example.com;branch=z9hG4bK1"))) is not None
    assert clocked.receive(request(("Via", "SIP/2.0/UDP host.EXAMPLE.com:5060;branch=z9hG4bK1"))) is None


def test_txn_05_msg_42_without_a_cookie_the_fields_are_compared() -> None:
    clocked = Clocked()
    transaction = clocked.receive(old())
    assert transaction is not None
    assert clocked.receive(old(("Expires", "9"), ("Contact", "<sip:x@y>"))) is None
    clocked.respond(transaction)
    assert clocked.receive(old()) is None
    assert clocked.drain() == [b"final", b"final"]


@pytest.mark.parametrize(
    "other",
    [
        old(start="SUBSCRIBE sip:carol@example.com SIP/2.0"),
        old(("To", "<sip:alice@example.com>;tag=a1")),
        old(("From", '"Bob" <sip:bob@example.com>;tag=b2')),
        old(("Call-ID", "c2")),
        old(("CSeq", "8 SUBSCRIBE")),
        old(("CSeq", "7 PUBLISH"), start="PUBLISH sip:alice@example.com SIP/2.0"),
        old(("Via", "SIP/2.0/UDP 192.0.2.10;branch=1")),
    ],
    ids=["Request-URI", "To tag", "From tag", "Call-ID", "CSeq", "method", "top Via"],
)
def test_txn_05_without_a_cookie_any_other_field_is_another_transaction(other: Request) -> None:
    clocked = Clocked()
    assert clocked.receive(old()) is not None
    assert clocked.receive(other) is not None


@pytest.mark.parametrize("branch", ["1", "z9hG4bK", "Z9HG4BK1"])
def test_msg_35_txn_05_a_branch_without_cookie_makes_no_two_requests_one(branch: str) -> None:
    clocked = Clocked()
    via = ("Via", f"SIP/2.0/UDP h;branch={branch}")
    assert clocked.receive(request(via)) is not None
    assert clocked.receive(request(via, ("Call-ID", "c2"))) is not None
    assert clocked.receive(request(via)) is None


def test_txn_11_12_rfc_4320_a_100_leaves_when_timer_e_has_grown_to_t2_and_not_before() -> None:
    clocked = Clocked()
    transaction = clocked.receive(request(), Flow("udp", "198.51.100.7", 40000))
    assert transaction is not None
    clocked.advance(3.49)
    assert clocked.sent == []
    clocked.advance(25.0)
    [(when, flow, data)] = clocked.sent
    assert (when, flow) == (3.5, Flow("udp", "198.51.100.7", 40000))
    trying = read_message(data)
    assert isinstance(trying, Response)
    assert (trying.status, trying.reason, trying.to.tag) == (100, "Trying", None)
    assert trying.headers.get("via") == f"{VIA.removesuffix(';rport')};rport=40000;received=198.51.100.7"
    assert clocked.receive(request()) is None
    assert clocked.drain() == [data]
    clocked.respond(transaction)
    assert clocked.drain() == [b"final"]


def test_txn_11_no_100_follows_an_answer_and_none_leaves_on_a_stream() -> None:
    clocked = Clocked()
    quick = clocked.receive(request())
    slow = clocked.receive(request(("Via", VIA.replace("abc1", "abc2"))), TCP)
    assert quick is not None
    assert slow is not None
    clocked.respond(quick)
    clocked.drain()
    clocked.advance(100.0)
    assert clocked.times() == [0.0]
    assert slow.ongoing


def test_txn_13_an_answer_that_is_owed_for_long_is_not_made_up() -> None:
    clocked = Clocked()
    transaction = clocked.receive(request())
    assert transaction is not None
    clocked.advance(1000.0)
    assert clocked.times() == [3.5]
    assert transaction.ongoing
    clocked.respond(transaction, b"late")
    assert clocked.drain() == [b"late"]


def test_a_provisional_of_the_layer_above_is_what_is_repeated() -> None:
    clocked = Clocked()
    transaction = clocked.receive(request())
    assert transaction is not None
    clocked.respond(transaction, b"100", final=False)
    clocked.receive(request())
    clocked.advance(10.0)
    clocked.drain()
    assert [data for _, _, data in clocked.sent] == [b"100", b"100"]
    assert transaction.ongoing


def test_txn_18_a_request_that_came_another_way_meanwhile_is_merged() -> None:
    clocked = Clocked()
    first = clocked.receive(request())
    second = clocked.receive(request(("Via", "SIP/2.0/UDP proxy;branch=z9hG4bKp, SIP/2.0/UDP c;branch=z9hG4bKabc1")))
    assert first is not None
    assert second is not None
    assert not clocked.layer.is_merged(first)
    assert clocked.layer.is_merged(second)
    clocked.respond(second, b"482")
    assert clocked.layer.ongoing == 1
    third = clocked.receive(request(("Via", "SIP/2.0/UDP other;branch=z9hG4bKq")))
    assert third is not None
    assert clocked.layer.is_merged(third)
    clocked.respond(first)
    fourth = clocked.receive(request(("Via", "SIP/2.0/UDP fourth;branch=z9hG4bKr")))
    assert fourth is not None
    assert not clocked.layer.is_merged(fourth)


@pytest.mark.parametrize(
    "change",
    [("From", "<sip:bob@example.com>;tag=b2"), ("Call-ID", "c2"), ("CSeq", "8 SUBSCRIBE"), ("To", "<sip:a@b>;tag=1")],
    ids=["From tag", "Call-ID", "CSeq", "To tag"],
)
def test_txn_18_aut_19_other_requests_are_not_merged(change: tuple[str, str]) -> None:
    clocked = Clocked()
    assert clocked.receive(request()) is not None
    other = clocked.receive(request(("Via", "SIP/2.0/UDP proxy;branch=z9hG4bKp"), change))
    assert other is not None
    assert not clocked.layer.is_merged(other)


def test_txn_18_two_copies_inside_a_dialog_are_not_merged() -> None:
    clocked = Clocked()
    for branch in ("z9hG4bK1", "z9hG4bK2"):
        inside = request(("Via", f"SIP/2.0/UDP h;branch={branch}"), ("To", "<sip:a@b>;tag=1"))
        transaction = clocked.receive(inside)
        assert transaction is not None
        assert not clocked.layer.is_merged(transaction)


@pytest.mark.parametrize("method", ["SUBSCRIBE", "PUBLISH", "NOTIFY"])
def test_txn_15_a_cancel_finds_the_transaction_of_its_branch(method: str) -> None:
    clocked = Clocked()
    transaction = clocked.receive(request(("CSeq", f"7 {method}"), start=f"{method} sip:alice@example.com SIP/2.0"))
    cancel = request(("CSeq", "7 CANCEL"), start="CANCEL sip:alice@example.com SIP/2.0")
    assert clocked.layer.find_cancelled(cancel) is transaction
    assert transaction is not None
    clocked.respond(transaction)
    assert clocked.layer.find_cancelled(cancel) is transaction


@pytest.mark.parametrize("via", ["192.0.2.10:5062;branch=z9hG4bKother", "192.0.2.10:5062", "h;branch=z9hG4bKabc1"])
def test_txn_16_a_cancel_of_nothing_finds_nothing(via: str) -> None:
    clocked = Clocked()
    clocked.receive(request())
    cancel = request(
        ("CSeq", "7 CANCEL"), ("Via", f"SIP/2.0/UDP {via}"), start="CANCEL sip:alice@example.com SIP/2.0"
    )
    assert clocked.layer.find_cancelled(cancel) is None


def test_trn_04_05_answers_go_where_the_via_has_them_go() -> None:
    clocked = Clocked()
    source = Flow("udp", "198.51.100.7", 40000)
    with_rport = clocked.receive(request(), source)
    without = clocked.receive(request(("Via", "SIP/2.0/UDP 192.0.2.10:5070;branch=z9hG4bK2")), source)
    assert with_rport is not None
    assert without is not None
    clocked.respond(with_rport)
    clocked.respond(without)
    clocked.drain()
    assert [flow for _, flow, _ in clocked.sent] == [source, Flow("udp", "198.51.100.7", 5070)]


def test_finished_transactions_are_bounded_and_the_oldest_is_forgotten_first() -> None:
    clocked = Clocked(max_completed=2)
    for number in range(4):
        clocked.now += 1.0
        transaction = clocked.receive(request(("Via", f"SIP/2.0/UDP h;branch=z9hG4bK{number}")))
        assert transaction is not None
        clocked.respond(transaction)
    assert len(clocked.layer) == 2
    copies = [request(("Via", f"SIP/2.0/UDP h;branch=z9hG4bK{number}")) for number in range(4)]
    assert [clocked.receive(copy) is None for copy in copies] == [False, False, True, True]


def test_requests_whose_answer_is_owed_are_not_forgotten_for_finished_ones() -> None:
    clocked = Clocked(max_completed=1)
    owed = clocked.receive(request())
    for number in range(3):
        asked = request(("Via", f"SIP/2.0/UDP h;branch=z9hG4bK{number}"))
        transaction = clocked.receive(asked)
        assert transaction is not None
        clocked.respond(transaction)
        assert clocked.receive(asked) is None
    assert owed is not None
    assert owed.ongoing
    assert clocked.receive(request()) is None
    clocked.advance(100.0)
    assert len(clocked.layer) == 1


def test_a_transaction_begun_anew_after_it_was_forgotten_outlives_the_old_timer() -> None:
    clocked = Clocked(max_completed=1)
    first = clocked.receive(request())
    assert first is not None
    clocked.respond(first)
    other = clocked.receive(request(("Via", "SIP/2.0/UDP h;branch=z9hG4bK2")))
    assert other is not None
    clocked.respond(other)
    clocked.advance(20.0)
    again = clocked.receive(request())
    assert again is not None
    clocked.advance(40.0)
    assert again.ongoing
    clocked.respond(again)
    clocked.advance(71.9)
    assert clocked.receive(request()) is None
    clocked.advance(72.0)
    assert len(clocked.layer) == 0
