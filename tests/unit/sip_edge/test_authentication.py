"""Who sent a request (RFC 3261 section 22, RFC 3325; rows AUT-02, AUT-10, AUT-14, AUT-16, AUT-17)."""

import ipaddress

import pytest

from sip_edge.domain.admission import Refusal
from sip_edge.domain.authentication import (
    ANYBODY,
    NOT_TRUSTED,
    NOT_YOUR_ASSERTION,
    NOT_YOUR_NAME,
    NOT_YOUR_URI,
    Access,
    Sender,
    challenge,
    find_proof,
    fingerprint,
    identity_of,
    is_trusted,
    realm_for,
    sender_by_proof,
    sender_by_source,
)
from sip_edge.domain.calls import read_call
from tests.unit.sip_edge.received import request
from vedette.rpc.contract import PublishCall, SubscribeCall
from vedette.sip.digest import Proof
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request

NETWORKS = tuple(ipaddress.ip_network(text) for text in ("192.0.2.0/24", "198.51.100.7", "2001:db8::/32"))
BOB = "sip:bob@example.net"
ALICE = "sip:alice@example.com"


def proof(username: str = "bob", uri: str = ALICE, response: str = "r") -> Proof:
    return Proof(username, "example.net", "n", uri, response, "SHA-256", "c", "00000001")


def subscribe(*headers: tuple[str, str], sender: str = f"<{BOB}>;tag=1", uri: str = ALICE) -> Request:
    return request("SUBSCRIBE", uri, *headers, instead={"From": sender})


@pytest.mark.parametrize(
    ("host", "trusted"),
    [
        ("192.0.2.1", True), ("192.0.3.1", False), ("198.51.100.7", True), ("198.51.100.8", False),
        ("2001:db8::1", True), ("2001:db9::1", False), ("::ffff:192.0.2.9", True), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_trusted_peers_are_those_of_the_networks(host: str, *, trusted: bool) -> None:
    assert is_trusted(NETWORKS, host) == trusted
    assert not is_trusted((), host)


def test_each_mode_by_the_source_alone() -> None:
    received = subscribe(("P-Asserted-Identity", "<sip:carol@example.org>"))
    expected = {
        "none": (ANYBODY, ANYBODY),
        "digest": (Sender("sip:carol@example.org"), None),
        "trusted": (Sender("sip:carol@example.org"), NOT_TRUSTED),
    }
    for mode in ("none", "digest", "trusted"):
        access = Access(mode, trusted=NETWORKS)
        found = tuple(sender_by_source(access, received, host) for host in ("192.0.2.1", "203.0.113.1"))
        assert found == expected[mode]


@pytest.mark.parametrize(
    ("values", "identity"),
    [
        ([], ""),
        (['"Carol" <sip:Carol@Example.org:5060;x=1>, <tel:+15551234>'], "sip:Carol@example.org"),
        (["<tel:+15551234>", "<sips:carol@example.org>"], "sip:carol@example.org"),
        (["<tel:+15551234>"], ""),
    ],
)
def test_aut_17_a_trusted_peer_asserts_who_it_is(values: list[str], identity: str) -> None:
    received = subscribe(*(("P-Asserted-Identity", value) for value in values))
    assert sender_by_source(Access("digest", trusted=NETWORKS), received, "192.0.2.1") == Sender(identity)


def test_an_assertion_that_cannot_be_read_gets_400() -> None:
    found = sender_by_source(
        Access("digest", trusted=NETWORKS), subscribe(("P-Asserted-Identity", "<sip:a@b")), "192.0.2.1"
    )
    assert isinstance(found, Refusal)
    assert found.status == 400


@pytest.mark.parametrize(
    ("sender", "realm"),
    [
        ("<sip:bob@Example.NET.:5070>;tag=1", "example.net"),
        ("<sips:example.net>;tag=1", "example.net"),
        ("<sip:bob@[2001:DB8::1]>;tag=1", "[2001:db8::1]"),
        ("<tel:+15551234>;tag=1", "example.com"),
    ],
)
def test_the_realm_is_the_domain_of_from(sender: str, realm: str) -> None:
    received = subscribe(sender=sender)
    assert realm_for(Access("digest"), received) == realm
    assert realm_for(Access("digest", realm="users.example"), received) == "users.example"


def test_aut_23_a_domain_that_no_name_server_has_is_not_repeated() -> None:
    with pytest.raises(SipError):
        realm_for(Access("digest"), subscribe(sender=f"<sip:bob@{'a' * 256}>;tag=1"))


def test_aut_02_one_row_for_each_algorithm_the_strongest_first() -> None:
    refusal = challenge(Access("digest"), "example.net", "n", stale=True)
    assert refusal.status == 401
    assert [(name, value.split(", ")[2]) for name, value in refusal.headers] == [
        ("WWW-Authenticate", f"algorithm={algorithm}") for algorithm in ("SHA-512-256", "SHA-256", "MD5")
    ]
    assert all(value.endswith(", stale=true") for _, value in refusal.headers)


def row(realm: str = "example.net", algorithm: str = "SHA-256", user: str = "bob", **more: str) -> tuple[str, str]:
    extra = "".join(f", {name}={value}" for name, value in more.items())
    return "Authorization", (
        f'Digest username="{user}", realm="{realm}", nonce="n", uri="{ALICE}", response="r", algorithm={algorithm}, '
        f'qop=auth, nc=00000001, cnonce="c"{extra}'
    )


def test_aut_14_the_first_row_of_the_realm_that_was_asked_for_counts() -> None:
    rows = [row("example.com"), row(algorithm="SHA-3"), row(algorithm="MD5"), row(user="carol")]
    found = find_proof(Access("digest"), subscribe(*rows), "example.net")
    assert found is not None
    assert (found.username, found.algorithm) == ("bob", "MD5")
    found = find_proof(Access("digest", algorithms=("SHA-256",)), subscribe(*rows), "example.net")
    assert found is not None
    assert (found.username, found.algorithm) == ("carol", "SHA-256")
    assert find_proof(Access("digest"), subscribe(*rows), "example.org") is None
    assert find_proof(Access("digest"), subscribe(row(user="u" * 256)), "example.net") is None
    assert find_proof(Access("digest"), subscribe(*[row("example.com")] * 16, row()), "example.net") is None


def test_rows_of_other_realms_may_be_malformed() -> None:
    other = ("Authorization", 'Digest realm="example.com", realm="x"')
    assert find_proof(Access("digest"), subscribe(other, row()), "example.net") is not None
    with pytest.raises(SipError):
        find_proof(Access("digest"), subscribe(row(nc="2")), "example.net")


@pytest.mark.parametrize(
    ("username", "aor"),
    [
        ("bob", BOB), ("Bob", "sip:Bob@example.net"), ("b b", "sip:b%20b@example.net"),
        ("50%", "sip:50%25@example.net"),
        ("a@b", "sip:a%40b@example.net"), ("zoë", "sip:zo%C3%AB@example.net"), ("a/b", "sip:a/b@example.net"),
    ],
)  # fmt: skip
def test_the_identity_of_a_user(username: str, aor: str) -> None:
    assert identity_of(username, "example.net") == aor


@pytest.mark.parametrize(
    ("received", "shown", "expected"),
    [
        (subscribe(), proof(), Sender(BOB, proved=True)),
        (subscribe(sender="Bob <sips:bob@Example.NET:5061;x=1>;tag=1"), proof(), Sender(BOB, proved=True)),
        (subscribe(sender=f"<{ALICE}>;tag=1"), proof(), NOT_YOUR_NAME),
        (subscribe(sender="<sip:Bob@example.net>;tag=1"), proof(), NOT_YOUR_NAME),
        (subscribe(sender="<sip:example.net>;tag=1"), proof(), NOT_YOUR_NAME),
        (subscribe(sender="<tel:+15551234>;tag=1"), proof(), NOT_YOUR_NAME),
        (subscribe(("P-Asserted-Identity", f"<{BOB}>")), proof(), Sender(BOB, proved=True)),
        (subscribe(("P-Asserted-Identity", f"<{BOB}>, <{ALICE}>")), proof(), NOT_YOUR_ASSERTION),
        (subscribe(uri="sip:alice@example.com;transport=tcp"), proof(), Sender(BOB, proved=True)),
        (subscribe(uri="sip:presence@127.0.0.1:5060"), proof(uri="sip:carol@example.net"), Sender(BOB, proved=True)),
        (subscribe(), proof(uri="sip:carol@example.org"), NOT_YOUR_URI),
        (subscribe(), proof(uri="tel:+15551234"), NOT_YOUR_URI),
    ],
)
def test_aut_10_16_17_the_request_names_its_user(received: Request, shown: Proof, expected: Sender | Refusal) -> None:
    assert sender_by_proof(received, shown, "example.net") == expected


def test_aut_10_a_uri_that_cannot_be_read_gets_400() -> None:
    found = sender_by_proof(subscribe(), proof(uri="alice"), "example.net")
    assert isinstance(found, Refusal)
    assert found.status == 400


def test_aut_08_a_copy_has_the_fingerprint_of_its_original_and_nothing_else_has() -> None:
    original = fingerprint(subscribe(), proof())
    through = request(
        "SUBSCRIBE", ALICE, ("Record-Route", "<sip:p.example;lr>"),
        instead={
            "Via": "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKproxy\r\nVia: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKphone",
            "From": f"<{BOB}>;tag=1", "Max-Forwards": "69",
        },
    )  # fmt: skip
    assert fingerprint(through, proof()) == original
    others = [
        (subscribe(("Expires", "0")), proof()),
        (subscribe(("Contact", "<sip:x@192.0.2.66>")), proof()),
        (subscribe(sender=f"<{BOB}>;tag=2"), proof()),
        (subscribe(), proof(response="s")),
        (request("SUBSCRIBE", ALICE, body=b"x", instead={"From": f"<{BOB}>;tag=1"}), proof()),
    ]
    assert original not in {fingerprint(received, shown) for received, shown in others}


@pytest.mark.parametrize(
    ("sender", "publisher", "watcher"),
    [(ANYBODY, "", ""), (Sender(BOB, proved=True), BOB, BOB), (Sender("sip:c@d"), "", "sip:c@d")],
)
def test_aut_17_the_identity_travels_with_the_call(sender: Sender, publisher: str, watcher: str) -> None:
    calls = [
        read_call(
            request(method), Flow("udp", "192.0.2.7", 5062), local_address="", edge_instance="", edge_address="",
            sender=sender,
        )
        for method in ("PUBLISH", "SUBSCRIBE")
    ]  # fmt: skip
    assert isinstance(calls[0], PublishCall)
    assert isinstance(calls[1], SubscribeCall)
    assert (calls[0].publisher, calls[1].watcher) == (publisher, watcher)
