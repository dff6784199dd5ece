"""Names, name servers, ports and certificates, as they look from here."""

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import dns.exception
import dns.inet
import dns.message
import dns.query
import dns.resolver
from cryptography import x509

from vedette_cli.doctor.finding import Finding, failure, warning, well
from vedette_cli.doctor.system import Parameters

PATIENCE = 2.0
TRIES = 3
"""Within PATIENCE, of what is asked over UDP: a datagram may be lost."""
RENEW_WITHIN = timedelta(days=14)
PORTS = {"tls": "tls_port", "ws": "ws_port", "wss": "wss_port"}
_OPTIONS = (
    "OPTIONS sip:{host} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{tag};rport\r\nMax-Forwards: 70\r\n"
    "From: <sip:doctor@{host}>;tag={tag}\r\nTo: <sip:{host}>\r\nCall-ID: {tag}@doctor\r\nCSeq: 1 OPTIONS\r\n"
    "Content-Length: 0\r\n\r\n"
)

Place = tuple[str, int]


def places(parameters: Parameters, transport: str) -> list[Place]:
    """Where clients reach a transport (sip, tls, ws, wss): what is advertised, else what is listened on."""
    port_name = PORTS.get(transport, "sip_port")
    ports = [int(value) for value in parameters.values(port_name) if value.isdigit() and value != "0"]
    if not ports:
        return []
    prefix = "" if transport == "sip" else f"{transport}_"
    advertised = [place for value in parameters.values(f"{prefix}server_address") for place in split_places(value)]
    if not advertised:
        hosts = [host for value in parameters.values("server_address") for host, _ in split_places(value)]
        hosts = hosts or [host.strip() for value in parameters.values("sip_host") for host in value.split(",")]
        advertised = [(host, port) for host in hosts for port in ports]
    return sorted(set(advertised))


def split_places(value: str) -> list[Place]:
    """Each host and port of a list of host:port."""
    found: list[Place] = []
    for part in value.split(","):
        host, colon, port = part.strip().rpartition(":")
        if colon and port.isdigit():
            found.append((host.strip("[]"), int(port)))
    return found


def check_names(hosts: Sequence[str]) -> list[Finding]:
    """Whether the names that clients are told have addresses."""
    found: list[Finding] = []
    names = [host for host in dict.fromkeys(hosts) if not _is_address(host)]
    for name in names:
        try:
            socket.getaddrinfo(name, None)
        except OSError as error:
            found.append(
                failure(
                    "dns",
                    f"{name} has no address here: {error.strerror}",
                    "Correct VEDETTE_SERVER_ADDRESS, or the zone.",
                )
            )
    return found or ([well("dns", f"{', '.join(names)} has an address")] if names else [])


def check_name_servers(servers: Sequence[Place]) -> list[Finding]:
    """Whether each name server answers; it need not know anything."""
    silent = [(server, reason) for server in servers if (reason := _asked(server))]
    kind = failure if len(silent) == len(servers) else warning
    found = [
        kind(
            "dns",
            f"the name server {host}:{port} does not answer: {reason}",
            "NOTIFYs to names wait for it: correct VEDETTE_DNS_SERVERS, or start it.",
        )
        for (host, port), reason in silent
    ]
    return found or ([well("dns", f"{len(servers)} name servers answer")] if servers else [])


def system_name_servers() -> list[Place]:
    """Those of this machine's resolver, where it has any."""
    try:
        return [(str(server), 53) for server in dns.resolver.Resolver().nameservers]
    except dns.exception.DNSException:
        return []


def _asked(server: Place) -> str:
    """What is wrong; empty where it answers."""
    query = dns.message.make_query(".", "NS")
    try:
        # One socket and one query: an answer to what was sent first counts whenever it comes.
        with closing(socket.socket(dns.inet.af_for_address(server[0]), socket.SOCK_DGRAM)) as sender:
            sender.setblocking(False)
            for _ in range(TRIES):
                with suppress(dns.exception.Timeout):
                    dns.query.udp(query, server[0], port=server[1], timeout=PATIENCE / TRIES, sock=sender)
                    return ""
    except (OSError, ValueError, dns.exception.DNSException) as error:
        return str(error) or type(error).__name__
    return f"nothing within {PATIENCE:g} s"


def check_replica_ports(replicas: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Whether the processes listen where they say; those of other machines only where that is not loopback."""
    own = socket.gethostname()
    found: list[Finding] = []
    tried = 0
    for replica in replicas:
        place = split_places(str(replica["address"]))
        if not place or (_is_loopback(place[0][0]) and replica["host"] != own):
            continue
        tried += 1
        reason = _connect(place[0])
        if reason:
            name = f"{replica['service']} {replica['instance']}"
            found.append(
                warning(
                    "ports",
                    f"{name} does not take connections at {replica['address']}: {reason}",
                    "Others have to reach it there: look at VEDETTE_RPC_ADDRESS and at firewalls.",
                )
            )
    return found or ([well("ports", f"{tried} processes take connections where they say")] if tried else [])


def check_sip_ports(found_places: Mapping[str, Sequence[Place]]) -> list[Finding]:
    """Whether SIP is answered on every transport. By transport: sip (UDP and TCP), tls, ws, wss."""
    return list(_sip_ports(found_places))


def _sip_ports(found_places: Mapping[str, Sequence[Place]]) -> Iterator[Finding]:
    for transport, wanted in found_places.items():
        for place in wanted:
            checks: list[tuple[str, Callable[[Place], str]]] = [
                ("TCP" if transport == "sip" else transport.upper(), _connect)
            ]
            if transport == "sip":
                checks.append(("UDP", _options))
            for name, check in checks:
                reason = check(place)
                where = f"{name} {place[0]}:{place[1]}"
                if reason:
                    yield failure(
                        "ports",
                        f"{where} is not reached from here: {reason}",
                        "Is an edge up? Is a firewall between?",
                    )
                else:
                    yield well("ports", f"{where} answers")


def _connect(place: Place) -> str:
    try:
        socket.create_connection(place, PATIENCE).close()
    except TimeoutError:
        return f"nothing within {PATIENCE:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _options(place: Place) -> str:
    """Send OPTIONS over UDP; what is wrong, empty where something of SIP comes back."""
    host = f"[{place[0]}]" if ":" in place[0] else place[0]
    try:
        family, _, _, _, address = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as sender:
            sender.settimeout(PATIENCE / TRIES)
            sender.connect(address)
            own_host, own_port = sender.getsockname()[:2]
            local = f"[{own_host}]:{own_port}" if ":" in own_host else f"{own_host}:{own_port}"
            options = _OPTIONS.format(host=host, local=local, tag=f"d{own_port}{id(sender):x}").encode()
            for _ in range(TRIES):
                sender.send(options)
                with suppress(TimeoutError):
                    return "" if sender.recv(65536).startswith(b"SIP/2.0 ") else "what answers there is no SIP"
    except OSError as error:
        return error.strerror or str(error)
    return f"OPTIONS has no answer within {PATIENCE:g} s"


def check_certificates(wanted: Sequence[Place], now: datetime | None = None) -> list[Finding]:
    """Whether what is shown at these places is in date and of the name that clients know."""
    found: list[Finding] = []
    for place in wanted:
        shown = _certificate(place)
        where = f"{place[0]}:{place[1]}"
        if isinstance(shown, str):
            found.append(failure("certificates", f"{where} shows no certificate: {shown}", "Look at the edge's log."))
        else:
            found.append(judge_certificate(where, place[0], shown, now or datetime.now(UTC)))
    return found


def judge_certificate(where: str, host: str, shown: x509.Certificate, now: datetime) -> Finding:
    """What is said of a certificate that is shown for a host."""
    ends, begins = shown.not_valid_after_utc, shown.not_valid_before_utc
    renew = "Put a new one into the file of VEDETTE_TLS_CERTIFICATE; it is read within seconds."
    if now >= ends:
        return failure("certificates", f"the certificate at {where} is over since {ends:%Y-%m-%d %H:%M} UTC", renew)
    if now < begins:
        return failure(
            "certificates", f"the certificate at {where} begins at {begins:%Y-%m-%d %H:%M} UTC only", renew
        )
    names = _names(shown)
    if not any(_covers(name, host) for name in names):
        return failure(
            "certificates",
            f"the certificate at {where} is for {', '.join(names) or 'nobody'}, and clients know {host}",
            "Get one that names it, or correct VEDETTE_TLS_SERVER_ADDRESS.",
        )
    if ends - now < RENEW_WITHIN:
        return warning("certificates", f"the certificate at {where} ends in {(ends - now).days} days", renew)
    return well("certificates", f"the certificate at {where} is good until {ends:%Y-%m-%d}")


def _certificate(place: Place) -> x509.Certificate | str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is looked at, and nothing is told to whoever shows it
    name = None if _is_address(place[0]) else place[0]
    try:
        with (
            closing(socket.create_connection(place, PATIENCE)) as plain,
            context.wrap_socket(plain, server_hostname=name) as secured,
        ):
            octets = secured.getpeercert(binary_form=True)
    except (OSError, ssl.SSLError) as error:
        return str(error)
    return x509.load_der_x509_certificate(octets) if octets else "none at all"


def _names(shown: x509.Certificate) -> list[str]:
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    ]


def _covers(name: str, host: str) -> bool:
    """Whether a name of a certificate stands for a host (RFC 5922 section 7.2: no wildcards in SIP)."""
    if _is_address(host) and _is_address(name):
        return ipaddress.ip_address(name) == ipaddress.ip_address(host)
    return name.lower().rstrip(".") == host.lower().rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
