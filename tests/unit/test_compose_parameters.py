"""docker-compose.yml hands every parameter on that an operator may set."""

import re

import pytest

from tests.rfc_coverage import ROOT
from vedette.runtime.parameters import environment_name
from vedette_cli.configuration.services import settings_classes

BLOCKS = {
    "presence-core": ("x-rpc", "x-store", "presence-core"),
    "notifier": ("x-rpc", "x-store", "notifier"),
    "sip-edge": ("x-rpc", "sip-edge"),
}
"""Where the environment of a service is written."""
ITS_OWN = {
    "presence-core": {"rpc_address", "ready_fd", "role", "core_peers"},
    "notifier": {"rpc_address", "ready_fd"},
    "sip-edge": {"rpc_address", "ready_fd", "reuse_port", "edge_peers"},
}
"""What a container has nothing to be told of, or only the one with the role api."""


def block(name: str) -> str:
    """The lines below a name in the first two levels of docker-compose.yml."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    match = re.search(rf"^( {{0,2}}){name}:.*\n(?P<lines>(?:\1 .*\n|\n| *#.*\n)*)", text, re.MULTILINE)
    assert match is not None, name
    return match["lines"]


def test_every_parameter_of_rest_is_handed_to_the_api() -> None:
    names = [name for name in settings_classes()["presence-core"].model_fields if name.startswith("api_")]
    written = block("api")
    assert [name for name in names if not re.search(rf"^ +{environment_name(name)}:", written, re.MULTILINE)] == []


@pytest.mark.parametrize("service", BLOCKS)
def test_every_parameter_of_a_service_is_handed_to_its_container(service: str) -> None:
    written = "".join(map(block, BLOCKS[service]))
    names = [
        name
        for name in settings_classes()[service].model_fields
        if name not in ITS_OWN[service] and not name.startswith("api_")
    ]
    assert [name for name in names if not re.search(rf"^ +{environment_name(name)}:", written, re.MULTILINE)] == []
