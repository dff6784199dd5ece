"""Parameters of sip-edge."""

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vedette.runtime.addresses import HostPortOrNone, PeerList, PeerListOrNone
from vedette.runtime.parameters import About
from vedette.runtime.settings import ParameterError, Port, ServiceSettings

Milliseconds = Annotated[int, Field(ge=1, le=60_000), About("milliseconds")]


class EdgeSettings(ServiceSettings):
    """Timers in milliseconds as RFC 3261 table 4 has them."""

    sip_host: Annotated[str, About(allowed="an IP address")] = Field(
        "127.0.0.1", description="IP address that SIP is listened on, UDP and TCP."
    )
    sip_port: Port = Field(5060, description="Port that SIP is listened on, UDP and TCP; 0: any free one.")
    reuse_port: bool = Field(False, description="Share the SIP port with other edge processes of the same set.")
    server_address: HostPortOrNone = Field(
        "", description="host:port that clients reach the edge by, for Contact and Via; empty: as it listens."
    )
    auth: Literal["", "none"] = Field(
        "", description="none: everybody may publish and subscribe. Has to be said where SIP is not on loopback."
    )
    core_peers: PeerList = Field("127.0.0.1:8070", description="Where presence-core is: host:port, ... or @file.")
    notifier_peers: PeerList = Field(
        "127.0.0.1:8071", description="Where the notifiers are: host:port, ... or @file."
    )
    edge_peers: PeerListOrNone = Field(
        "", description="Where the other edges are that share the port: host:port, ... or @file."
    )
    sender_header: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9\-.!%*_+`'~]{0,64}$"),
        About(allowed="the name of a header, of up to 64 characters, or nothing"),
    ] = Field(
        "",
        description="Header of a PUBLISH with the URI of its sender, as shared lines have it (Sender): the watcher "
        "with this Contact is not notified of the change. Empty: none.",
    )
    t1: Milliseconds = Field(500, description="Round-trip estimate. Timers F and J are 64 times this.")
    t2: Milliseconds = Field(4000, description="Longest interval between retransmissions.")
    t4: Milliseconds = Field(5000, description="How long a message may stay in the network.")
    max_body_size: Annotated[int, Field(ge=1024, le=16 * 1024 * 1024), About("octets")] = Field(
        131072, description="A larger body gets 413."
    )
    max_connections: Annotated[int, Field(ge=1, le=1_000_000), About("connections")] = Field(
        10_000, description="TCP connections that may be open."
    )
    max_ongoing: Annotated[int, Field(ge=1, le=1_000_000), About("requests")] = Field(
        10_000, description="Requests that wait for their answer; more get 503."
    )
    max_notifies: Annotated[int, Field(ge=1, le=1_000_000), About("requests")] = Field(
        50_000, description="NOTIFYs under way; more wait at the notifier."
    )
    call_batch: Annotated[int, Field(ge=1, le=4096), About("requests")] = Field(
        256, description="Requests in one call to presence-core."
    )

    @model_validator(mode="after")
    def _closed_to_strangers(self) -> Self:
        try:
            address = ipaddress.ip_address(self.sip_host)
        except ValueError:
            raise ParameterError("sip_host", f"{self.sip_host!r} is not an IP address") from None
        if not address.is_loopback and self.auth != "none":
            raise ParameterError(
                "sip_host",
                f"{self.sip_host} is not loopback and there is no authentication: "
                "say VEDETTE_AUTH=none to let everybody in",
            )
        if address.is_unspecified and not self.server_address:
            raise ParameterError("server_address", f"has to be set where VEDETTE_SIP_HOST is {self.sip_host}")
        return self
