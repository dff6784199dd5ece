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
    api_port: int
    edges: int
    cores: int
    notifiers: int
    data: Path
    fresh: bool
    database_url: str | None
    redis_url: str | None
    auth: str | None
    advertise: str | None


def check_addresses(options: UpOptions) -> tuple[int, int]:
    """The SIP and the REST port to use: those that were asked for, or for 0 any free one, to be kept for restarts.

    Raises SetupError where an address is not ours or a port is taken. The sockets are bound without sharing, so that
    another set's are found out, and closed again.
    """
    try:
        address = ipaddress.ip_address(options.host)
    except ValueError:
        raise SetupError(f"--host: {options.host!r} is not an IP address") from None
    if not address.is_loopback and options.auth != "none":
        raise SetupError(
            f"--host {options.host} is not loopback, and there is no authentication yet: "
            "say --auth none to let everybody in"
        )
    if address.is_unspecified and options.advertise is None:
        raise SetupError(f"--host {options.host} needs --advertise HOST:PORT, the address that clients reach it by")
    if options.advertise is not None:
        try:
            check_host_port(options.advertise)
        except ValueError as error:
            raise SetupError(f"--advertise: {error}") from None
    port = options.sip_port
    for kind, name in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")):
        port = _try(options.host, port, kind, f"{name}, for SIP", "--sip-port")
    api_port = _try("127.0.0.1", options.api_port, socket.SOCK_STREAM, "TCP, for REST", "--api-port")
    return port, api_port


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
