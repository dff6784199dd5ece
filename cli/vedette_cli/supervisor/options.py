"""What `vedette up` was asked for."""

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from vedette.runtime.addresses import check_host_port
from vedette_cli.supervisor.folders import SetupError

MOST_PROCESSES = 64


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The options of the command line."""

    host: str
    sip_port: int
    tls_port: int | None
    ws_port: int | None
    wss_port: int | None
    tls_certificate: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    api_port: int
    edges: int
    cores: int
    notifiers: int
    data: Path
    fresh: bool
    database_url: str | None
    redis_url: str | None
    auth: str | None
    api_auth: str | None
    advertise: str | None

    @property
    def hosts(self) -> list[str]:
        """The addresses that SIP is listened on."""
        return [host.strip() for host in self.host.split(",")]

    @property
    def advertised(self) -> list[str]:
        """host:port values that clients reach the edge by, none where it is as it listens."""
        return [] if self.advertise is None else [address.strip() for address in self.advertise.split(",")]


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a set, kept for restarts."""

    sip: int
    api: int
    others: dict[str, int]
    """Of `tls`, `ws` and `wss`, as far as they were asked for."""


def check_addresses(options: UpOptions) -> Ports:
    """The ports to use: those that were asked for, or for 0 any free one.

    Raises SetupError where an address is not ours or a port is taken. The sockets are bound without sharing, so that
    another set's are found out, and closed again.
    """
    _check_hosts(options)
    port = options.sip_port
    others: dict[str, int] = {}
    asked = {"tls": options.tls_port, "ws": options.ws_port, "wss": options.wss_port}
    for host in options.hosts:
        for kind, name in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")):
            port = _try(host, port, kind, f"{name}, for SIP", "--sip-port")
        for transport, wanted in asked.items():
            if wanted is not None:
                purpose = f"TCP, for {transport.upper()}"
                wanted_now = others.get(transport, wanted)
                others[transport] = _try(host, wanted_now, socket.SOCK_STREAM, purpose, f"--{transport}-port")
    api_port = _try("127.0.0.1", options.api_port, socket.SOCK_STREAM, "TCP, for REST", "--api-port")
    return Ports(port, api_port, others)


def _check_hosts(options: UpOptions) -> None:
    for host in options.hosts:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise SetupError(f"--host: {host!r} is not an IP address") from None
        if address.is_unspecified and options.advertise is None:
            raise SetupError(f"--host {host} needs --advertise HOST:PORT, the address that clients reach it by")
    for advertised in options.advertised:
        try:
            check_host_port(advertised)
        except ValueError as error:
            raise SetupError(f"--advertise: {error}") from None


def _try(host: str, port: int, kind: socket.SocketKind, purpose: str, option: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            if kind == socket.SOCK_STREAM:
                probe.listen(1)
        except OSError as error:
            raise SetupError(
                f"cannot listen on {host}:{port} ({purpose}): {error.strerror}. Choose another port with {option}"
            ) from None
        return int(probe.getsockname()[1])
