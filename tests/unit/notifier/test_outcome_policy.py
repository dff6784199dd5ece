"""What the answer to a NOTIFY means (RFC 6665 section 4.2.2; rows NOT-04, NOT-14 to NOT-18, NOT-20, NOT-21)."""

import pytest

from notifier.domain.outcome_policy import LONGEST_RETRY, SILENCE_PAUSE, SILENCES, Settlement, Verdict, settle
from vedette.rpc.contract import FLOW_GONE, TIMEOUT, UNREACHABLE

REMOVING = [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604]
DEFINED_REASONS = {"deactivated", "probation", "rejected", "timeout", "giveup", "noresource", "invariant"}


@pytest.mark.parametrize("status", REMOVING)
@pytest.mark.parametrize("retry_after", [None, 0, 5])
def test_not_15_these_codes_remove_the_subscription_whatever_else_the_answer_says(
    status: int, retry_after: int | None
) -> None:
    settlement = settle(status, retry_after)
    assert settlement.verdict is Verdict.ENDED
    assert settlement.reason == ("noresource" if status == 404 else "deactivated")


def test_not_16_not_18_and_not_20_every_other_failure_keeps_it_and_causes_no_other_notify() -> None:
    for status in sorted(set(range(300, 700)) - set(REMOVING)):
        assert settle(status, None) == Settlement(Verdict.KEPT), status


def test_not_29_every_2xx_is_a_delivery() -> None:
    for status in range(200, 300):
        assert settle(status, None) == settle(status, 5) == Settlement(Verdict.DELIVERED), status


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(1, 1.0), (5, 5.0), (0, 1.0), (-5, 1.0), (3600, 3600.0), (3601, 3600.0), (2**32 - 1, 3600.0)],
)
@pytest.mark.parametrize("status", [400, 403, 486, 500, 503, 600])
def test_not_17_with_retry_after_the_state_is_owed_again_after_that_time(
    status: int, retry_after: int, seconds: float
) -> None:
    assert settle(status, retry_after) == Settlement(Verdict.AGAIN, seconds=seconds)
    assert seconds <= LONGEST_RETRY


def test_not_14_silence_removes_the_subscription() -> None:
    assert settle(TIMEOUT, None) == Settlement(Verdict.ENDED, reason="timeout")


def test_not_21_an_address_that_cannot_be_reached_removes_the_subscription() -> None:
    assert settle(UNREACHABLE, None) == Settlement(Verdict.ENDED, reason="giveup")


@pytest.mark.parametrize("end_sub_on_timeout", [True, False])
def test_out_12_a_watcher_that_only_its_own_connection_leads_to_may_come_back(*, end_sub_on_timeout: bool) -> None:
    assert settle(FLOW_GONE, None, end_sub_on_timeout=end_sub_on_timeout) == Settlement(Verdict.WAITS)


@pytest.mark.parametrize(("silence", "reason"), [(TIMEOUT, "timeout"), (UNREACHABLE, "giveup")])
def test_parameter_end_sub_on_timeout_0_tries_again_a_few_times(silence: int, reason: str) -> None:
    settlement = settle(silence, None, end_sub_on_timeout=False)
    assert settlement == Settlement(Verdict.SILENT, SILENCE_PAUSE, reason)
    assert SILENCE_PAUSE * 2 ** (SILENCES - 2) <= 60, "the longest pause"


def test_parameter_end_sub_on_timeout_changes_no_answer() -> None:
    for status in range(200, 700):
        for retry_after in (None, 5):
            kept = settle(status, retry_after, end_sub_on_timeout=False)
            assert kept == settle(status, retry_after), status


def test_not_04_and_not_05_only_reasons_that_are_defined_and_none_that_asks_for_retry_after() -> None:
    reasons = {settle(status, None).reason for status in (*range(200, 700), TIMEOUT, UNREACHABLE)} - {""}
    assert reasons <= DEFINED_REASONS
    assert "expired" not in reasons
    assert "probation" not in reasons
