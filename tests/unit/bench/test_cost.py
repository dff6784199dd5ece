"""CPU time by the role of a process."""

import pytest

from bench.cost import Reading, for_thousand
from bench.cpu_time import assign, cpu_by_role, memory_by_role


def test_a_process_has_the_role_of_the_nearest_one_above_it() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20, 30: 1}
    roles = {10: "supervisor", 11: "edge", 20: "postgres"}
    assert assign(parents, roles) == {
        10: "supervisor",
        11: "edge",
        12: "edge",
        13: "supervisor",
        20: "postgres",
        21: "postgres",
    }


def test_a_role_whose_processes_are_gone_has_used_nothing() -> None:
    nobody = 2**22 + 1
    assert (cpu_by_role({nobody: "edge"}), memory_by_role({nobody: "edge"})) == ({"edge": 0.0}, {"edge": 0})


@pytest.mark.parametrize(
    ("idle", "expected"),
    [(None, {"edge": 0.5, "core": 0.1}), ({"edge": 0.04, "core": 0.2}, {"edge": 0.3, "core": 0.0})],
)
def test_the_cost_of_a_thousand_is_without_what_idling_uses(
    idle: dict[str, float] | None, expected: dict[str, float]
) -> None:
    before, after = Reading(100.0, {"edge": 1.0, "core": 2.0}), Reading(110.0, {"edge": 2.0, "core": 2.2})
    assert for_thousand(before, after, 2000, idle) == pytest.approx(expected)
