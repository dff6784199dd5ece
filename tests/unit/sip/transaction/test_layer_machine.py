"""Any sequence of requests, responses, sends and time: nothing raises or leaks, each request of ours ends once."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tests.unit.sip.messages import request
from tests.unit.sip.transaction.clock import TCP, UDP, Clocked
from vedette.sip.flow import Flow
from vedette.sip.transaction.client import State as ClientState
from vedette.sip.transaction.layer import ClientTransaction, ServerTransaction
from vedette.sip.transaction.server import State as ServerState

FLOWS = st.sampled_from([UDP, TCP, Flow("tcp", "192.0.2.10", 40001, 4)])
BRANCHES = [f"z9hG4bK{number}" for number in range(3)]
MAX_COMPLETED = 4
LONGEST = 64.0


class Transactions(RuleBasedStateMachine):
    """The layer beside a record of what was begun and what ended."""

    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.clocked = Clocked(max_completed=MAX_COMPLETED)
        self.owed: list[ServerTransaction] = []
        self.abandoned: set[int] = set()
        self.begun: list[ClientTransaction] = []
        self.answers = 0

    @rule(
        method=st.sampled_from(["SUBSCRIBE", "PUBLISH"]),
        branch=st.sampled_from([*BRANCHES, "z9hG4bK", "old", ""]),
        call_id=st.sampled_from(["c1", "c2"]),
        tag=st.sampled_from(["", ";tag=t1"]),
        flow=FLOWS,
    )
    def request_arrives(self, method: str, branch: str, call_id: str, tag: str, flow: Flow) -> None:
        asked = request(
            ("Via", f"SIP/2.0/UDP h;branch={branch}" if branch else "SIP/2.0/UDP h"),
            ("CSeq", f"7 {method}"),
            ("Call-ID", call_id),
            ("To", f"<sip:alice@example.com>{tag}"),
            start=f"{method} sip:alice@example.com SIP/2.0",
        )
        transaction = self.clocked.receive(asked, flow)
        if transaction is not None:
            assert not any(other.key == transaction.key for other in self.owed)
            self.owed.append(transaction)
            self.clocked.layer.is_merged(transaction)
            self.clocked.layer.find_cancelled(asked)

    @rule(data=st.data(), final=st.booleans())
    def answer_is_given(self, data: st.DataObject, final: bool) -> None:  # noqa: FBT001
        if not self.owed:
            return
        transaction = data.draw(st.sampled_from(self.owed))
        self.answers += 1
        octets = f"answer {self.answers}".encode()
        self.clocked.respond(transaction, octets, final=final)
        assert self.clocked.drain()[-1] == octets
        if final:
            self.owed.remove(transaction)

    @rule(target=sent, flow=FLOWS)
    def request_is_sent(self, flow: Flow) -> ClientTransaction:
        transaction = self.clocked.send(f"z9hG4bKn{len(self.begun)}", flow=flow)
        self.begun.append(transaction)
        return transaction

    @rule(
        transaction=sent,
        status=st.sampled_from([100, 180, 200, 481, 503]),
        method=st.sampled_from(["NOTIFY", "INFO"]),
    )
    def response_arrives(self, transaction: ClientTransaction, status: int, method: str) -> None:
        known = transaction.state is not ClientState.TERMINATED
        assert self.clocked.answer(status, transaction.branch, method) == (known and method == "NOTIFY")

    @rule(transaction=sent)
    def request_is_abandoned(self, transaction: ClientTransaction) -> None:
        if transaction.state in {ClientState.TRYING, ClientState.PROCEEDING}:
            self.clocked.drain()
            if not any(end.transaction is transaction for end in self.clocked.finished):
                self.abandoned.add(id(transaction))
        self.clocked.layer.abandon(transaction)

    @rule(flow=FLOWS)
    def flow_fails(self, flow: Flow) -> None:
        self.clocked.layer.fail_flow(flow, self.clocked.now)

    @rule(transaction=sent)
    def request_cannot_be_sent(self, transaction: ClientTransaction) -> None:
        self.clocked.layer.fail_request(transaction, self.clocked.now)

    @rule(seconds=st.sampled_from([0.0, 0.3, 0.5, 3.5, 4.0, 32.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.clocked.advance(self.clocked.now + seconds)

    @rule(seconds=st.sampled_from([0.4, 5.0, 40.0]))
    def the_timer_comes_late(self, seconds: float) -> None:
        self.clocked.now += seconds
        self.clocked.layer.handle_timer(self.clocked.now)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        layer = self.clocked.layer
        assert layer.ongoing == len(self.owed)
        unfinished = sum(transaction.state is not ClientState.TERMINATED for transaction in self.begun)
        assert len(self.owed) + unfinished <= len(layer) <= len(self.owed) + MAX_COMPLETED + unfinished

    @invariant()
    def nothing_ends_twice(self) -> None:
        self.clocked.drain()
        ended = [id(end.transaction) for end in self.clocked.finished]
        assert len(ended) == len(set(ended))
        assert not self.abandoned & set(ended)

    def teardown(self) -> None:
        for transaction in self.owed:
            self.clocked.respond(transaction)
            assert transaction.state in {ServerState.COMPLETED, ServerState.TERMINATED}
        self.clocked.advance(self.clocked.now + LONGEST)
        self.clocked.drain()
        assert len(self.clocked.layer) == 0
        assert self.clocked.layer.ongoing == 0
        assert self.clocked.layer._merges == {}
        assert self.clocked.layer.next_timer() is None
        ended = {id(end.transaction) for end in self.clocked.finished}
        assert ended | self.abandoned == {id(transaction) for transaction in self.begun}


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
