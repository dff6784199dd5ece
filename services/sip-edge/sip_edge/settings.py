"""Parameters of sip-edge."""

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sip_edge.domain.authentication import Access
from sip_edge.domain.ban_rules import BanRules
from vedette.runtime.addresses import (
    HostPortsOrNone,
    IpAddressOrNone,
    IpPortsOrNone,
    NetworksOrNone,
    PeerList,
    PeerListOrNone,
    RedisUrlOrNone,
)
from vedette.runtime.parameters import About
from vedette.runtime.settings import (
    OptionalFile,
    OptionalNumber,
    OptionalPort,
    ParameterError,
    Port,
    ServiceSettings,
)
from vedette.sip.digest import PREFERENCE

Milliseconds = Annotated[int, Field(ge=1, le=60_000), About("milliseconds")]
Seconds = Annotated[int, Field(ge=1, le=86_400), About("seconds")]

STRANGERS_RATE = 500
"""Requests a second from one source that is not on this machine."""
STRANGERS_OFFENCES = 100


def _algorithms(value: str) -> str:
    names = [part.strip().upper() for part in value.split(",")]
    unknown = next((name for name in names if name not in PREFERENCE), None)
    if unknown is not None:
        raise ValueError(f"{unknown!r} is none of {', '.join(PREFERENCE)}")
    return ",".join(name for name in PREFERENCE if name in names)


class EdgeSettings(ServiceSettings):
    """Timers in milliseconds as RFC 3261 table 4 has them."""

    sip_host: Annotated[str, About(allowed="an IP address, or an IPv4 and an IPv6 one separated by a comma")] = Field(
        "127.0.0.1", description="Where SIP is listened on, on every transport."
    )
    sip_port: Port = Field(5060, description="Port that SIP is listened on, UDP and TCP; 0: any free one.")
    reuse_port: bool = Field(False, description="Share the SIP port with other edge processes of the same set.")
    tls_port: OptionalPort = Field(
        None, description="Port that SIP over TLS is listened on; 0: any free one; nothing: no TLS."
    )
    ws_port: OptionalPort = Field(
        None, description="Port that SIP over WebSocket is listened on; 0: any free one; nothing: no WebSocket."
    )
    wss_port: OptionalPort = Field(
        None, description="Port that SIP over WebSocket and TLS is listened on; 0: any free one; nothing: none."
    )
    server_address: HostPortsOrNone = Field(
        "",
        description="host:port that clients reach the edge by, for Contact and Via; empty: as it listens. "
        "One for IPv4 and one for IPv6 may be given, separated by a comma.",
    )
    tls_server_address: HostPortsOrNone = Field(
        "", description="The same for TLS; empty: the host of server_address, and the port that TLS is on."
    )
    ws_server_address: HostPortsOrNone = Field("", description="The same for WebSocket.")
    wss_server_address: HostPortsOrNone = Field("", description="The same for WebSocket over TLS.")
    tls_certificate: OptionalFile = Field(
        None,
        description="Certificate of this server in PEM, followed by those of the authorities below the root. "
        "A file that changes is read again within seconds, or at once with SIGHUP.",
    )
    tls_key: OptionalFile = Field(
        None, description="Its private key in PEM, without a password; nothing: in the file of the certificate."
    )
    tls_client_ca: OptionalFile = Field(
        None, description="Authorities in PEM whose certificates clients have to show; nothing: clients show none."
    )
    tls_client_certificate: Literal["required", "optional"] = Field(
        "required",
        description="optional: a client without a certificate is let in, one with a bad one is not. "
        "Counts only with tls_client_ca.",
    )
    tls_ca: OptionalFile = Field(
        None, description="Authorities in PEM of the servers that NOTIFYs go to over TLS; nothing: the system's."
    )
    tls_check_servers: bool = Field(
        True, description="Whether a server that a NOTIFY goes to over TLS has to prove its name or address."
    )
    ws_origins: str = Field(
        "", description="Web sites, like https://app.example.com, whose scripts may connect; empty: all of them."
    )
    sip_published: IpAddressOrNone = Field(
        "",
        description="For an edge in a container: the address of the machine that its ports are published on. "
        "Loopback there counts for auth as loopback here does. Empty: nothing stands between.",
    )
    auth: Literal["", "none", "digest", "trusted"] = Field(
        "",
        description="Who may publish and subscribe. digest: users of `vedette user`, with their passwords, and "
        "trusted_peers. trusted: only trusted_peers. none: everybody. Empty: none where SIP is on loopback only, "
        "else digest.",
    )
    registrar: bool = Field(
        False,
        description="on: REGISTER is answered, so that a small site needs no other server; off: 405. "
        "`vedette up` says on where the environment says nothing.",
    )
    trusted_peers: NetworksOrNone = Field(
        "",
        description="The proxies in front: what comes from their addresses is not asked for a password, may be for "
        "anybody, and P-Asserted-Identity says whose it is (RFC 3325). UDP senders can forge their address: "
        "let nobody else send from these.",
    )
    realm: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9._:\[\]\-]{0,255}$"),
        AfterValidator(str.lower),
        About(allowed="a domain name or address of up to 255 characters, or empty"),
    ] = Field("", description="Domain whose users digest asks for, whatever From says. Empty: the domain of From.")
    digest_algorithms: Annotated[
        str, AfterValidator(_algorithms), About(allowed=f"one or more of {', '.join(PREFERENCE)}, with commas")
    ] = Field(
        ",".join(PREFERENCE),
        description="What digest offers, the strongest first. Without MD5 nobody can be brought to use it; MD5 alone "
        "serves clients that give up at a first offer which they do not know (baresip 1.0, SIP.js 0.21).",
    )
    nonce_lifetime: Seconds = Field(
        300, description="How long a nonce of digest may be used; then clients get another one, without a question."
    )
    users_max_age: Annotated[int, Field(ge=0, le=3600), About("seconds")] = Field(
        30,
        description="How long an edge goes by what it was told of a user: a removed user, or the old password of one "
        "who has a new one, is let in for so long at most.",
    )
    redis_url: RedisUrlOrNone = Field(
        "",
        description="Redis, as a URL, where edges share what was used of a nonce (auth=digest). Empty: each edge "
        "refuses what it has seen itself.",
    )
    core_peers: PeerList = Field("127.0.0.1:8070", description="Where presence-core is: host:port, ... or @file.")
    notifier_peers: PeerList = Field(
        "127.0.0.1:8071", description="Where the notifiers are: host:port, ... or @file."
    )
    edge_peers: PeerListOrNone = Field(
        "", description="Where the other edges are that share the port: host:port, ... or @file."
    )
    dns_servers: IpPortsOrNone = Field(
        "",
        description="Name servers that next hops are looked up at (NAPTR, SRV, A, AAAA): addresses with ports. "
        "Empty: those of /etc/resolv.conf.",
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
        10_000, description="Connections of TCP, TLS and WebSocket that may be open."
    )
    max_connections_per_source: Annotated[int, Field(ge=1, le=1_000_000), About("connections")] = Field(
        1_000, description="Of them, those from one IPv4 address or one IPv6 /64; a proxy in front is one source."
    )
    max_requests_per_second: Annotated[OptionalNumber, About("messages/s")] = Field(
        None,
        description="Messages that one IPv4 address or one IPv6 /64 may send, on all transports, for each process; "
        "more are answered with 503 once a second, and else dropped. Not counted: responses, and what comes from "
        "trusted_peers. 0: any number. Empty: 500, or 0 where SIP is on loopback only.",
    )
    max_requests_burst: Annotated[int, Field(ge=1, le=1_000_000), About("requests")] = Field(
        10_000,
        description="How many of them may come at once after a quiet time: all phones behind one address, when their "
        "power comes back.",
    )
    ban_threshold: Annotated[OptionalNumber, About("offences")] = Field(
        None,
        description="Offences within a minute for which a source is banned: what cannot be read, each user whose "
        "password is wrong, and, counting as five, each second over max_requests_per_second. Not trusted_peers, and "
        "nothing that a datagram may have been forged for. 0: nobody is banned. Empty: 100, or 0 where SIP is on "
        "loopback only.",
    )
    ban_time: Seconds = Field(
        60, description="How long the first ban takes; each that follows takes twice as long as the one before."
    )
    ban_time_max: Annotated[int, Field(ge=1, le=2_592_000), About("seconds")] = Field(
        3600, description="The longest that a ban takes; without another one for so long, the next is a first one."
    )
    ban_time_udp: Annotated[int, Field(ge=0, le=3600), About("seconds")] = Field(
        0,
        description="How long all datagrams of a source are dropped for garbage and excess in datagrams. Anybody can "
        "send these in the name of a victim, who is then shut out; max_requests_per_second limits them anyway. "
        "0: not at all.",
    )
    max_wrong_passwords: Annotated[int, Field(ge=0, le=1_000_000), About("requests")] = Field(
        20,
        description="Wrong passwords of one user from one source within a minute, after which he is locked for "
        "that source (403), and for no other, as long as a ban takes. 0: any number; also where ban_threshold is 0.",
    )
    max_waiting_time: Annotated[int, Field(ge=0, le=60_000), About("milliseconds")] = Field(
        1000,
        description="A PUBLISH or SUBSCRIBE that would wait longer for what was queued before it gets 503 and "
        "Retry-After; one that begins something does at half of it. 0: none.",
    )
    handshake_timeout: Seconds = Field(10, description="Time for the handshakes of TLS and WebSocket.")
    message_timeout: Seconds = Field(
        20, description="Time for a message that has begun to arrive, and for a client to read what is sent to it."
    )
    idle_timeout: Seconds = Field(
        3900, description="A connection is closed after so long without an octet from the client."
    )
    max_ongoing: Annotated[int, Field(ge=1, le=1_000_000), About("requests")] = Field(
        10_000, description="Requests that wait for their answer; more get 503."
    )
    max_udp_size: Annotated[int, Field(ge=0, le=65535), About("octets")] = Field(
        1300,
        description="A longer NOTIFY goes over TCP, unless Contact or route name UDP or the watcher is behind a NAT, "
        "and over UDP where nobody takes the connection. 0: over UDP whatever its size.",
    )
    nat_handling: Literal["auto", "always", "off"] = Field(
        "auto",
        description="Which watchers get NOTIFYs over UDP where their SUBSCRIBE came from, and not at their Contact. "
        "auto: those whose Contact has a private address, or one out of reach from here, unlike that source. always: "
        "all. off: none. Never with a route set, through a proxy (a second Via), or from trusted_peers.",
    )
    max_notifies: Annotated[int, Field(ge=1, le=1_000_000), About("requests")] = Field(
        50_000, description="NOTIFYs under way; more wait at the notifier."
    )
    call_batch: Annotated[int, Field(ge=1, le=4096), About("requests")] = Field(
        256, description="Requests in one call to presence-core."
    )

    @property
    def dns_server_list(self) -> list[str]:
        """The name servers, as host:port."""
        return self.dns_servers.split(",") if self.dns_servers else []

    @property
    def sip_hosts(self) -> list[str]:
        """The addresses that SIP is listened on."""
        return [host.strip() for host in self.sip_host.split(",")]

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the edge."""
        reached_at = [self.sip_published] if self.sip_published else self.sip_hosts
        return all(ipaddress.ip_address(host).is_loopback for host in reached_at)

    @property
    def requests_per_second(self) -> int:
        """Of one source; 0: any number."""
        asked = self.max_requests_per_second
        return (0 if self.is_local else STRANGERS_RATE) if asked is None else asked

    def ban_rules(self) -> BanRules:
        """From when on, and for how long, sources are kept out."""
        asked = self.ban_threshold
        return BanRules(
            threshold=(0 if self.is_local else STRANGERS_OFFENCES) if asked is None else asked,
            first=self.ban_time,
            longest=self.ban_time_max,
            forgeable=self.ban_time_udp,
            wrong_passwords=self.max_wrong_passwords,
        )

    def access(self) -> Access:
        """Who may send requests."""
        return Access(
            mode=self.auth or ("none" if self.is_local else "digest"),
            realm=self.realm,
            algorithms=tuple(self.digest_algorithms.split(",")),
            trusted=tuple(
                ipaddress.ip_network(part.strip()) for part in self.trusted_peers.split(",") if self.trusted_peers
            ),
        )

    @model_validator(mode="after")
    def _somebody_may_send(self) -> Self:
        if self.auth == "trusted" and not self.trusted_peers:
            raise ParameterError("trusted_peers", "names nobody, and with VEDETTE_AUTH=trusted nobody else may send")
        return self

    @model_validator(mode="after")
    def _addresses_that_others_know(self) -> Self:
        addresses = []
        for host in self.sip_hosts:
            try:
                addresses.append(ipaddress.ip_address(host))
            except ValueError:
                raise ParameterError("sip_host", f"{self.sip_host!r} is not an IP address") from None
        if len({address.version for address in addresses}) < len(addresses):
            raise ParameterError("sip_host", f"{self.sip_host} has two addresses of one IP version")
        for address in addresses:
            if address.is_unspecified and not self.server_address:
                raise ParameterError("server_address", f"has to be set where VEDETTE_SIP_HOST is {self.sip_host}")
        return self

    @model_validator(mode="after")
    def _has_a_certificate(self) -> Self:
        for name, port in (("TLS_PORT", self.tls_port), ("WSS_PORT", self.wss_port)):
            if port is not None and self.tls_certificate is None:
                raise ParameterError("tls_certificate", f"has to be set where VEDETTE_{name} is")
        return self
