"""A token bucket for each source, and what one of them costs."""

from hypothesis import given
from hypothesis import strategies as st

from sip_edge.domain.request_rates import CONNECTION_COST, RequestRates, Verdict

ALICE, MALLORY = "192.0.2.1", "192.0.2.66"


def taken(rates: RequestRates, host: str, times: int, now: float = 0.0) -> list[Verdict]:
    return [rates.take(host, now) for _ in range(times)]


def test_a_burst_passes_then_one_is_told_then_nobody_is_for_a_second() -> None:
    rates = RequestRates(10, 3)
    assert taken(rates, MALLORY, 6) == [Verdict.WITHIN] * 3 + [Verdict.REFUSE] + [Verdict.DROP] * 2
    assert taken(rates, MALLORY, 1, 0.05) == [Verdict.DROP]
    assert taken(rates, MALLORY, 2, 0.11) == [Verdict.WITHIN, Verdict.DROP]
    assert taken(rates, MALLORY, 5, 1.0) == [Verdict.WITHIN] * 3 + [Verdict.REFUSE, Verdict.DROP]


def test_a_source_does_not_pay_for_another_one() -> None:
    rates = RequestRates(1, 1)
    taken(rates, MALLORY, 100)
    assert rates.take(ALICE, 0.0) is Verdict.WITHIN


def test_an_ipv6_customer_has_one_bucket() -> None:
    rates = RequestRates(1, 2)
    hosts = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"]
    assert [rates.take(host, 0.0) for host in hosts] == [
        Verdict.WITHIN, Verdict.WITHIN, Verdict.REFUSE, Verdict.WITHIN,
    ]  # fmt: skip


def test_sec_05_a_connection_costs_more_than_a_message() -> None:
    rates = RequestRates(1, 11)
    assert [rates.take(MALLORY, 0.0, CONNECTION_COST) for _ in range(3)] == [
        Verdict.WITHIN, Verdict.WITHIN, Verdict.REFUSE,
    ]  # fmt: skip
    assert taken(rates, MALLORY, 2) == [Verdict.WITHIN, Verdict.DROP]
    assert rates.take(MALLORY, 4.5, CONNECTION_COST) is not Verdict.WITHIN
    assert rates.take(MALLORY, 5.0, CONNECTION_COST) is Verdict.WITHIN


def test_a_full_bucket_is_enough_for_a_connection_however_small_it_is() -> None:
    rates = RequestRates(1, 1)
    assert rates.take(ALICE, 0.0, CONNECTION_COST) is Verdict.WITHIN
    assert rates.take(ALICE, 0.5, CONNECTION_COST) is not Verdict.WITHIN
    assert rates.take(ALICE, 1.0, CONNECTION_COST) is Verdict.WITHIN
    assert rates.take(ALICE, 2.0) is Verdict.WITHIN


def test_who_is_exempt_has_none() -> None:
    rates = RequestRates(1, 1, is_exempt=lambda host: host == ALICE)
    assert set(taken(rates, ALICE, 100)) == {Verdict.WITHIN}
    assert len(rates) == 0


def test_without_a_rate_everything_passes() -> None:
    rates = RequestRates(0, 1)
    assert set(taken(rates, ALICE, 100)) == {Verdict.WITHIN}
    assert len(rates) == 0


def test_what_is_kept_is_bounded_and_who_goes_on_is_not_forgotten() -> None:
    rates = RequestRates(1, 2, limit=100)
    taken(rates, MALLORY, 3)
    for number in range(10_000):
        rates.take(f"198.51.{number // 250}.{number % 250}", 0.0)
        assert rates.take(MALLORY, 0.0) is Verdict.DROP
    assert len(rates) == 100


@given(st.integers(1, 50), st.integers(1, 50), st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_the_burst_and_the_rate_for_the_time(rate: int, burst: int, gaps: list[float]) -> None:
    rates = RequestRates(rate, burst)
    now, passed, told = 0.0, 0, 0
    for gap in gaps:
        now += gap
        verdict = rates.take(MALLORY, now)
        passed += verdict is Verdict.WITHIN
        told += verdict is Verdict.REFUSE
        assert passed <= burst + rate * now + 1e-6
        assert told <= now + 1
