"""Replicas behind a DNS name: found, come and gone, and kept while the name cannot be looked up."""

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import pytest

from vedette.rpc import discovery
from vedette.rpc.discovery import Discovery


class Names:
    """A name server: what each name stands for, or how looking it up fails."""

    def __init__(self) -> None:
        self.addresses: dict[str, Iterable[str]] = {}
        self.failure: OSError | None = None
        self.silent = False

    async def look_up(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        if self.silent:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.addresses[host]
        ]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    server = Names()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", server.look_up)
    monkeypatch.setattr(discovery, "LOOKUP_TIMEOUT", 0.01)
    return server


async def test_a_name_stands_for_all_its_addresses_and_is_looked_up_anew(names: Names) -> None:
    found = Discovery("presence-core:8070")
    names.addresses["presence-core"] = ["172.18.0.4", "172.18.0.5", "fd00::4"]
    assert await found.addresses() == {"172.18.0.4:8070", "172.18.0.5:8070", "[fd00::4]:8070"}
    names.addresses["presence-core"] = ["172.18.0.5", "172.18.0.9"]
    assert await found.addresses() == {"172.18.0.5:8070", "172.18.0.9:8070"}


@pytest.mark.parametrize(
    "failure",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        None,
    ],
    ids=["server out of order", "name gone", "server silent"],
)
async def test_replicas_that_are_known_outlive_the_name_server(failure: OSError | None, names: Names) -> None:
    found = Discovery("presence-core:8070")
    names.addresses["presence-core"] = ["172.18.0.4", "172.18.0.5"]
    before = await found.addresses()
    names.failure, names.silent = failure, failure is None
    assert await found.addresses() == before == {"172.18.0.4:8070", "172.18.0.5:8070"}
    names.failure, names.silent = None, False
    names.addresses["presence-core"] = ["172.18.0.7"]
    assert await found.addresses() == {"172.18.0.7:8070"}


@pytest.mark.parametrize("specification", ["", "nobody:8070", "presence-core", "presence-core:port"])
async def test_what_was_never_found_stands_for_nothing(specification: str, names: Names) -> None:
    names.addresses["presence-core"] = ["172.18.0.4"]
    assert await Discovery(specification).addresses() == set()


async def test_one_name_that_fails_does_not_hide_the_others(names: Names) -> None:
    found = Discovery("east:8070, west:8071")
    names.addresses = {"east": ["192.0.2.1"], "west": ["192.0.2.2"]}
    assert await found.addresses() == {"192.0.2.1:8070", "192.0.2.2:8071"}
    names.addresses = {"west": ["192.0.2.3"]}
    assert await found.addresses() == {"192.0.2.1:8070", "192.0.2.3:8071"}
