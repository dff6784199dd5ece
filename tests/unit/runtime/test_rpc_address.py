"""The address a service tells others: that of its listener, or on all addresses that of the host's name."""

import socket
from collections.abc import Iterator

import pytest

from vedette.rpc.server import listen
from vedette.runtime.process import StartError
from vedette.runtime.settings import ServiceSettings
from vedette.runtime.start import rpc_address


@pytest.fixture
def on_all_addresses() -> Iterator[socket.socket]:
    with listen("0.0.0.0", 0) as listener:
        yield listener


def names(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    """Let the host be called `box`, and `box` stand for that address."""

    def look_up(host: str, *_: object) -> list[tuple[object, ...]]:
        assert host == "box"
        if address is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_address_is_told_as_it_is(host: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        expected = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        assert rpc_address(ServiceSettings(rpc_host=host), listener) == expected


def test_on_all_addresses_the_one_of_the_hosts_name_is_told(
    on_all_addresses: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, "172.18.0.5")
    port = on_all_addresses.getsockname()[1]
    assert rpc_address(ServiceSettings(rpc_host="0.0.0.0"), on_all_addresses) == f"172.18.0.5:{port}"


def test_what_the_operator_says_comes_first(on_all_addresses: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, "172.18.0.5")
    settings = ServiceSettings(rpc_host="0.0.0.0", rpc_address="core-1.example.com:8070")
    assert rpc_address(settings, on_all_addresses) == "core-1.example.com:8070"


@pytest.mark.parametrize(("address", "reason"), [("127.0.1.1", "box stands for 127.0.1.1"), (None, "box has no")])
def test_a_name_that_others_cannot_use_stops_the_start_and_says_what_to_set(
    address: str | None, reason: str, on_all_addresses: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, address)
    with pytest.raises(StartError, match=f"VEDETTE_RPC_ADDRESS: has to be set .* {reason}"):
        rpc_address(ServiceSettings(rpc_host="0.0.0.0"), on_all_addresses)
