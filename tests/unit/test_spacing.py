"""Spacing: the first step at once, then what comes close together in one."""

import pytest

from vedette.spacing import Spacing


@pytest.mark.parametrize(
    ("items", "delay"),
    [
        pytest.param(1, 0.003, id="few: room for more"),
        pytest.param(49, 0.003, id="nearly enough"),
        pytest.param(50, 0.0, id="enough: there may be more at once"),
        pytest.param(0, 0.0, id="nothing: an idle system"),
    ],
)
def test_a_step_that_took_little_is_followed_by_a_space(items: int, delay: float) -> None:
    spacing = Spacing(0.004, 50)
    assert spacing.delay(100.0) == 0.0
    spacing.begun(100.0, items)
    assert spacing.delay(100.001) == pytest.approx(delay)
    assert spacing.delay(100.004) == pytest.approx(0.0)
    assert spacing.delay(200.0) == 0.0


def test_one_that_took_nothing_ends_the_space_of_the_one_before() -> None:
    spacing = Spacing(0.004, 50)
    spacing.begun(100.0, 1)
    spacing.begun(100.004, 0)
    assert spacing.delay(100.005) == 0.0
