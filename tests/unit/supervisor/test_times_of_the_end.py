"""How long the end of a set may take: docker and systemd kill what has not ended after 10 seconds."""

from vedette_cli.supervisor.supervisor import SERVER_PATIENCE, STOP_PATIENCE, STOP_TOTAL

KILLED_AFTER = 10.0
TO_SPARE = 2.0
"""For what is no waiting."""


def test_a_set_in_which_nothing_answers_has_ended_before_it_is_killed() -> None:
    behind_the_edges = max(patience for name, patience in STOP_PATIENCE.items() if name != "edge")
    services = STOP_PATIENCE["edge"] + behind_the_edges
    servers = max(SERVER_PATIENCE, STOP_TOTAL - services)
    assert services + servers <= STOP_TOTAL <= KILLED_AFTER - TO_SPARE
