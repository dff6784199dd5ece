"""Plain numbers for metrics."""

from hypothesis import given
from hypothesis import strategies as st

from vedette.counting import Distribution, Tally


def test_a_value_is_counted_below_the_first_bound_that_it_does_not_pass() -> None:
    distribution = Distribution((1, 5))
    for value in (0, 1, 1.5, 5, 6):
        distribution.add(value)
    assert (distribution.counts, distribution.total, distribution.count) == ([2, 2, 1], 13.5, 5)


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_every_value_is_counted_once(values: list[float]) -> None:
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    assert distribution.count == len(values)


def test_combinations_are_counted_apart() -> None:
    tally = Tally()
    tally.add("PUBLISH", "200")
    tally.add("PUBLISH", "200")
    tally.add("PUBLISH", "412", times=3)
    assert tally == {("PUBLISH", "200"): 2, ("PUBLISH", "412"): 3}
