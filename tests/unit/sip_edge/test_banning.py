"""Who is kept out and why: what a datagram may have been forged for is held against nobody."""

import pytest

from sip_edge.domain.ban_rules import EXCESS_WEIGHT, BanRules
from sip_edge.domain.request_rates import CONNECTION_COST, RequestRates
from sip_edge.domain.turned_away import TurnedAway
from sip_edge.flows import banning as banning_module
from sip_edge.flows.banning import Banning
from sip_edge.flows.gate import Gate
from tests.unit.sip.messages import wire
from vedette.rpc.contract import Ban
from vedette.sip.flow import Flow
from vedette.sip.message import Request

MALLORY = "192.0.2.66"
PROXY = "192.0.2.1"
UDP, TCP = Flow("udp", MALLORY, 5060), Flow("tcp", MALLORY, 4711, 1)
RESPONSE = b"SIP/2.0 200 OK\r\n\r\n"
THRESHOLD = 10


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(banning_module, "time", clock)
    return clock


class Here:
    """A gate with its bans, and what it did."""

    def __init__(self, *, rate: int = 0, burst: int = 1, **rules: float) -> None:
        self.counted = TurnedAway()
        self.cut: list[str] = []
        self.refused: list[str] = []
        options = {"threshold": THRESHOLD, "first": 60.0, "longest": 600.0, "wrong_passwords": 3} | rules
        self.banning = Banning(
            BanRules(**options),  # type: ignore[arg-type]
            self.counted,
            is_trusted=lambda host: host == PROXY,
            cut=self._cut,
        )
        rates = RequestRates(rate, burst, is_exempt=lambda host: host == PROXY)
        self.gate = Gate(rates, self.banning, self.counted, self._refuse)

    def _cut(self, source: str) -> int:
        self.cut.append(source)
        return 1

    def _refuse(self, request: Request, flow: Flow) -> None:
        self.refused.append(f"{request.method} {flow.host}")

    def lets_in(self, flow: Flow, data: bytes = b"x") -> bool:
        return not self.gate.watches or self.gate.lets_in(data, flow)


@pytest.mark.usefixtures("clock")
class TestGarbage:
    def test_a_connection_that_brings_garbage_has_its_source_banned_on_all_transports(self) -> None:
        here = Here()
        for _ in range(THRESHOLD):
            assert here.lets_in(UDP)
            here.gate.unreadable(TCP)
        assert here.gate.watches
        assert not here.lets_in(UDP)
        assert not here.lets_in(UDP, RESPONSE)
        assert not here.gate.admits(MALLORY)
        assert here.gate.admits("192.0.2.2")
        assert here.cut == [MALLORY]
        assert (here.counted.bans, here.counted.banned_messages, here.counted.banned_connections) == (1, 2, 2)

    def test_datagrams_are_held_against_nobody_since_anybody_may_have_sent_them(self) -> None:
        here = Here()
        for _ in range(100 * THRESHOLD):
            here.gate.unreadable(UDP)
        assert here.lets_in(UDP)
        assert here.gate.admits(MALLORY)
        assert here.counted.garbage == 100 * THRESHOLD

    def test_where_the_operator_wants_it_datagrams_are_dropped_for_a_while_and_only_they(self, clock: Clock) -> None:
        here = Here(forgeable=5.0)
        for _ in range(THRESHOLD):
            here.gate.unreadable(UDP)
        assert not here.lets_in(UDP)
        assert here.lets_in(TCP)
        assert here.gate.admits(MALLORY)
        assert here.cut == []
        assert here.banning.unreported() == {}
        clock.now += 5
        assert here.lets_in(UDP)

    def test_a_trusted_peer_is_never_banned(self) -> None:
        here = Here(forgeable=5.0)
        for _ in range(THRESHOLD):
            here.gate.unreadable(Flow("tcp", PROXY, 5060, 1))
            here.gate.unreadable(Flow("udp", PROXY, 5060))
        assert here.lets_in(Flow("udp", PROXY, 5060))
        here.banning.learn(Ban(PROXY, "", 60.0, 1))
        assert here.lets_in(Flow("udp", PROXY, 5060))
        assert here.gate.admits(PROXY)
        assert here.cut == []

    def test_without_a_threshold_nobody_is_banned(self) -> None:
        here = Here(threshold=0)
        for _ in range(1000):
            here.gate.unreadable(TCP)
            here.banning.wrong_password(TCP, "alice@x", proved=True)
        assert not here.gate.watches
        assert not here.banning.locked(TCP, "alice@x")


def test_a_connection_that_goes_on_beyond_its_rate_is_banned_and_then_cut(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip_edge.flows.gate.time", clock)
    here = Here(rate=1, burst=1)
    data = wire()
    seconds = 0
    while not here.cut:
        clock.now += 1
        seconds += 1
        for _ in range(5):
            here.gate.lets_in(data, TCP)
    assert seconds == THRESHOLD // EXCESS_WEIGHT
    assert here.refused == [f"{here.refused[0].split()[0]} {MALLORY}"] * seconds
    assert here.counted.rate_refused == seconds


def test_over_the_rate_a_request_is_told_and_what_is_none_is_not(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip_edge.flows.gate.time", clock)
    here = Here(rate=1, burst=1)
    assert here.gate.lets_in(b"garbage", UDP)
    assert not here.gate.lets_in(b"garbage", UDP)
    assert here.gate.lets_in(RESPONSE, UDP)
    assert here.refused == []
    assert here.counted.rate_dropped == 1


def test_sec_05_connections_that_are_opened_beyond_the_rate_are_closed_and_counted(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sip_edge.flows.gate.time", clock)
    here = Here(rate=1, burst=2 * CONNECTION_COST)
    assert [here.gate.admits(MALLORY) for _ in range(4)] == [True, True, False, False]
    assert here.counted.rate_connections == 2
    assert here.gate.admits(PROXY)
    clock.now += CONNECTION_COST
    assert here.gate.admits(MALLORY)


# passwords


def test_many_wrong_passwords_lock_the_user_for_that_source_only(clock: Clock) -> None:
    here = Here()
    for _ in range(3):
        assert not here.banning.locked(TCP, "alice@x")
        here.banning.wrong_password(TCP, "alice@x", proved=False)
    assert here.banning.locked(TCP, "alice@x") == 60.0
    assert not here.banning.locked(TCP, "bob@x")
    assert not here.banning.locked(Flow("tcp", "192.0.2.2", 5060, 2), "alice@x")
    assert here.lets_in(TCP)
    clock.now += 60
    assert not here.banning.locked(TCP, "alice@x")


def test_a_right_password_begins_anew() -> None:
    here = Here()
    for _ in range(10):
        here.banning.wrong_password(TCP, "alice@x", proved=False)
        here.banning.wrong_password(TCP, "alice@x", proved=False)
        here.banning.right_password(TCP, "alice@x")
    assert not here.banning.locked(TCP, "alice@x")


def test_one_phone_with_a_wrong_password_does_not_have_its_source_banned_many_users_do() -> None:
    here = Here()
    for _ in range(100):
        if not here.banning.locked(TCP, "alice@x"):
            here.banning.wrong_password(TCP, "alice@x", proved=False)
    assert here.lets_in(TCP)
    here = Here()
    for number in range(THRESHOLD):
        assert here.lets_in(TCP)
        here.banning.wrong_password(TCP, f"user{number}@x", proved=False)
    assert not here.lets_in(TCP)


def test_a_datagram_counts_where_it_proves_that_what_is_sent_there_reaches_its_sender() -> None:
    """Else a stranger could lock alice out where she is; instead she has to answer a challenge of her own."""
    here = Here()
    for _ in range(1000):
        here.banning.wrong_password(UDP, "alice@x", proved=False)
    assert not here.banning.locked(UDP, "alice@x")
    assert here.lets_in(UDP)
    assert here.banning.must_prove(UDP, "alice@x")
    assert not here.banning.must_prove(UDP, "bob@x")
    for _ in range(3):
        here.banning.wrong_password(UDP, "alice@x", proved=True)
    assert here.banning.locked(UDP, "alice@x")


# what others know


def test_what_is_banned_here_is_reported_until_somebody_took_it(clock: Clock) -> None:
    here = Here()
    for _ in range(THRESHOLD):
        here.gate.unreadable(TCP)
    told = here.banning.unreported()
    assert list(told.values()) == [Ban(MALLORY, "", 60.0, 1, "garbage")]
    # What others say meanwhile is older.
    here.banning.learn(Ban(MALLORY, "", 0.0, 0, "", lifted=True))
    assert not here.lets_in(UDP)
    here.banning.reported(told)
    assert here.banning.unreported() == {}
    here.banning.learn(Ban(MALLORY, "", 0.0, 0, "", lifted=True))
    assert here.lets_in(UDP)
    for _ in range(THRESHOLD):
        here.gate.unreadable(TCP)
    clock.now += 60
    assert here.banning.unreported() == {}


@pytest.mark.parametrize("name", ["a\x00b", "\x1b[2J", "a\nb", "\udc80"])
def test_a_name_that_no_row_can_hold_is_locked_here_and_told_nobody(name: str) -> None:
    here = Here()
    for _ in range(3):
        here.banning.wrong_password(TCP, f"{name}@x", proved=False)
        here.banning.wrong_password(TCP, "alice@x", proved=False)
    assert here.banning.locked(TCP, f"{name}@x")
    assert list(here.banning.unreported()) == [(MALLORY, "alice@x")]


def test_what_others_say_counts_here_and_so_do_its_strikes() -> None:
    here = Here()
    here.banning.learn(Ban(MALLORY, "", 30.0, 2, "elsewhere"))
    here.banning.learn(Ban(MALLORY, "alice@x", 30.0, 1))
    assert here.cut == [MALLORY]
    assert not here.lets_in(TCP)
    assert here.banning.locked(TCP, "alice@x") == pytest.approx(30.0, abs=1)
    here.banning.learn(Ban(MALLORY, "", 30.0, 2, "elsewhere"))
    assert here.cut == [MALLORY], "a ban that is known cuts nothing again"
    for _ in range(THRESHOLD):
        here.gate.unreadable(TCP)
    assert here.banning.unreported()[MALLORY, ""].strikes == 3
    here.banning.learn(Ban(MALLORY, "alice@x", 0.0, 0, "", lifted=True))
    assert not here.banning.locked(TCP, "alice@x")


def test_a_flood_of_bans_does_not_flood_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    here = Here()
    for number in range(100):
        for _ in range(THRESHOLD):
            here.gate.unreadable(Flow("tcp", f"198.51.100.{number}", 1, 1))
    assert here.counted.bans == 100
    assert 0 < len(capsys.readouterr().out.splitlines()) <= 10
