"""Which parts are measured of which systems."""

from bench.plan import PARTS, SHARED, SYSTEMS, choose, estimate


def test_a_part_is_measured_of_the_systems_that_show_something_by_it() -> None:
    chosen = choose(["mixed", "publish"], ["vedette", "inline", "database-only"])
    assert [(part.name, names) for part, names in chosen] == [
        ("publish", ["vedette", "database-only"]),
        ("mixed", ["vedette", "database-only"]),
    ]


def test_a_part_of_which_no_system_is_wanted_is_left_out() -> None:
    assert choose(["replicas"], ["memory"]) == []


def test_a_whole_run_takes_less_than_three_quarters_of_an_hour() -> None:
    everything = choose([part.name for part in PARTS], SYSTEMS)
    assert estimate(everything) < 45 * 60


def test_the_parts_that_share_a_running_system_come_first() -> None:
    assert tuple(part.name for part in PARTS)[: len(SHARED)] == SHARED
