"""The sockets that SIP is listened on, and what clients are told of them."""

from dataclasses import dataclass, field

from sip_edge.domain.local_addresses import LocalAddresses, advertised, join, with_port
from sip_edge.settings import EdgeSettings
from vedette.runtime.process import StartError
from vedette.transport.endpoint import Endpoint


@dataclass(slots=True)
class Listening:
    """host:port by name (`sip` for UDP and TCP, `tls`, `ws`, `wss`; the first address where there are two)."""

    listening: dict[str, str] = field(default_factory=dict)
    advertised: dict[str, str] = field(default_factory=dict)


async def open_listeners(endpoint: Endpoint, settings: EdgeSettings, addresses: LocalAddresses) -> Listening:
    """Open all of them and fill `addresses`. Raises StartError where an address cannot be had."""
    wanted = {"tls": settings.tls_port, "ws": settings.ws_port, "wss": settings.wss_port}
    said = {
        "tls": settings.tls_server_address,
        "ws": settings.ws_server_address,
        "wss": settings.wss_server_address,
    }
    done = Listening()
    ports = {"sip": settings.sip_port}
    for host in settings.sip_hosts:
        ports["sip"] = await _open(endpoint, "sip", host, ports["sip"], reuse_port=settings.reuse_port)
        ours = advertised(settings.server_address, host, ports["sip"])
        for transport in ("udp", "tcp"):
            addresses.put(transport, host, ours)
        done.listening.setdefault("sip", join(host, ports["sip"]))
        done.advertised.setdefault("sip", ours)
        for transport, asked in wanted.items():
            if asked is None:
                continue
            asked_now = ports.get(transport, asked)
            port = ports[transport] = await _open(
                endpoint, transport, host, asked_now, reuse_port=settings.reuse_port
            )
            name = advertised(said[transport], host, port) if said[transport] else with_port(ours, port)
            addresses.put(transport, host, name)
            done.listening.setdefault(transport, join(host, port))
            done.advertised.setdefault(transport, name)
    return done


async def _open(endpoint: Endpoint, transport: str, host: str, port: int, *, reuse_port: bool) -> int:
    try:
        if transport == "sip":
            return await endpoint.open(host, port, reuse_port=reuse_port)
        return await endpoint.open_stream(transport, host, port, reuse_port=reuse_port)
    except OSError as error:
        what = "UDP and TCP" if transport == "sip" else transport.upper()
        raise StartError(
            f"cannot listen on {join(host, port)} (SIP over {what}): {error.strerror or error}"
        ) from None
