"""Bans and what leads to them, as rules without a clock."""

import pytest

from sip_edge.domain.bans import Bans
from sip_edge.domain.log_budget import MINUTE, LogBudget
from sip_edge.domain.offences import WINDOW, Offences

MALLORY = "192.0.2.66"


def test_a_ban_ends_by_itself_and_the_next_takes_twice_as_long_up_to_the_longest() -> None:
    bans: Bans[str] = Bans(60, 300)
    now, found = 0.0, []
    for _ in range(5):
        seconds, strikes = bans.strike(MALLORY, now)
        found.append((seconds, strikes))
        assert bans.left(MALLORY, now + seconds - 1) == pytest.approx(1)
        assert bans.left(MALLORY, now + seconds) == 0.0
        now += seconds + 1
    assert found == [(60, 1), (120, 2), (240, 3), (300, 4), (300, 5)]


def test_without_another_one_for_the_longest_time_a_ban_is_a_first_one() -> None:
    bans: Bans[str] = Bans(60, 300)
    bans.strike(MALLORY, 0.0)
    assert bans.strike(MALLORY, 360.0) == (120, 2)
    assert bans.strike(MALLORY, 360.0 + 120 + 301) == (60, 1)


def test_a_ban_that_was_lifted_is_forgotten() -> None:
    bans: Bans[str] = Bans(60, 300)
    bans.strike(MALLORY, 0.0)
    bans.lift(MALLORY)
    assert bans.left(MALLORY, 1.0) == 0.0
    assert bans.strike(MALLORY, 2.0) == (60, 1)
    bans.lift("nobody")


def test_however_often_in_a_row_the_time_is_a_number() -> None:
    bans: Bans[str] = Bans(60, 3600)
    bans.put(MALLORY, 0.0, 2**31 - 2)
    assert bans.strike(MALLORY, 1.0) == (3600, 2**31 - 1)


def test_bans_are_bounded_and_old_ones_are_dropped() -> None:
    bans: Bans[int] = Bans(60, 300, limit=100)
    for number in range(1000):
        bans.strike(number, 0.0)
    assert len(bans) == 100
    assert bans.left(999, 1.0)
    bans.forget(360.0)
    assert len(bans) == 100
    bans.forget(361.0)
    assert len(bans) == 0


def test_offences_are_summed_for_a_window_that_begins_with_the_first() -> None:
    offences: Offences[str] = Offences()
    assert [offences.add(MALLORY, weight, at) for weight, at in ((1, 0.0), (5, WINDOW), (1, WINDOW + 1))] == [1, 6, 1]
    assert offences.total(MALLORY, 2 * WINDOW + 1) == 1
    assert offences.total(MALLORY, 2 * WINDOW + 2) == 0
    offences.add(MALLORY, 1, 3 * WINDOW)
    offences.forget(MALLORY)
    assert offences.total(MALLORY, 3 * WINDOW) == 0


def test_offenders_are_bounded_and_who_goes_on_is_not_forgotten() -> None:
    offences: Offences[object] = Offences(limit=100)
    for number in range(1000):
        offences.add(number, 1, 0.0)
        offences.add(MALLORY, 1, 0.0)
    assert len(offences) == 100
    assert offences.total(MALLORY, 0.0) == 1000


def test_a_minute_has_so_many_lines() -> None:
    budget = LogBudget(3)
    assert [budget.allows(at) for at in (5.0, 6.0, 7.0, 8.0, 4.0 + MINUTE)] == [True, True, True, False, False]
    assert budget.allows(5.0 + MINUTE)
