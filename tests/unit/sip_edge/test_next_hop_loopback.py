"""A phone on the machine of a container: its Contact is loopback, its requests come from the container's gateway."""

import pytest

from sip_edge.domain.next_hop import Destination, choose_destination
from vedette.sip.flow import Flow
from vedette.sip.route import route_in_dialog

GATEWAY, HERE, PHONE = "172.18.0.1", "127.0.0.1", "192.0.2.9"


@pytest.mark.parametrize(
    ("contact", "source", "expected"),
    [
        pytest.param(f"sip:bob@{HERE}:5090", (GATEWAY, 40001), (GATEWAY, 40001), id="loopback from elsewhere"),
        pytest.param("sip:bob@[::1]:5090", (GATEWAY, 40001), (GATEWAY, 40001), id="the other family's loopback"),
        pytest.param(f"sip:bob@{HERE}:5090", (PHONE, 5060), (PHONE, 5060), id="loopback from a public address"),
        pytest.param(f"sip:bob@{HERE}:5090", (HERE, 5060), (HERE, 5090), id="another port of the same loopback"),
        pytest.param("sip:bob@127.0.0.2:5090", (HERE, 5060), ("127.0.0.2", 5090), id="both on loopback"),
    ],
)
def test_a_contact_on_loopback_from_elsewhere_is_answered_where_it_came_from(
    contact: str, source: tuple[str, int], expected: tuple[str, int]
) -> None:
    destination = choose_destination(route_in_dialog(contact, ()), Flow("udp", *source), flow_is_open=True)
    assert destination == Destination("udp", *expected)


def test_a_route_set_leads_past_a_contact_on_loopback() -> None:
    routed = route_in_dialog(f"sip:bob@{HERE}:5090", ("<sip:192.0.2.1;lr>",))
    destination = choose_destination(routed, Flow("udp", GATEWAY, 40001), flow_is_open=True)
    assert destination == Destination("udp", "192.0.2.1", 5060)
