"""STUN Binding requests and what they are answered with (RFC 5626 section 8, RFC 8489, RFC 5769; row TRN-14)."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.sip.stun import answer_binding

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
PLAIN = bytes.fromhex("000100002112a442") + TRANSACTION


def with_attributes(attributes: bytes) -> bytes:
    return b"\0\1" + len(attributes).to_bytes(2, "big") + PLAIN[4:] + attributes


def test_trn_14_the_addresses_of_rfc_5769_are_hidden_as_there() -> None:
    ipv4 = answer_binding(PLAIN, "192.0.2.1", 32853)
    assert ipv4 is not None
    assert ipv4 == bytes.fromhex("0101000c2112a442") + TRANSACTION + bytes.fromhex("002000080001a147e112a643")
    ipv6 = answer_binding(PLAIN, "2001:db8:1234:5678:11:2233:4455:6677", 32853)
    assert ipv6 == bytes.fromhex("010100182112a442") + TRANSACTION + bytes.fromhex(
        "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    )


@pytest.mark.parametrize(
    "attributes",
    [b"\x80\x22\0\5Phone\0\0\0", b"\0\6\0\1a\0\0\0", b"\x80\x28\0\4abcd"],
    ids=["software", "username", "fingerprint"],
)
def test_trn_14_what_a_client_adds_does_not_matter(attributes: bytes) -> None:
    assert answer_binding(with_attributes(attributes), "192.0.2.1", 5060) == answer_binding(PLAIN, "192.0.2.1", 5060)


def test_trn_14_an_attribute_that_has_to_be_known_and_is_not_gets_420() -> None:
    answer = answer_binding(with_attributes(b"\0\3\0\4\0\0\0\6"), "192.0.2.1", 5060)
    assert answer is not None
    assert answer[:2] == b"\x01\x11"
    assert b"\0\x09\0\x15\0\0\4\x14Unknown Attribute\0\0\0" in answer
    assert answer.endswith(b"\0\x0a\0\2\0\3\0\0")
    assert int.from_bytes(answer[2:4], "big") == len(answer) - 20


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PLAIN[:-1],
        PLAIN + b"\0",
        b"\x01\x01" + PLAIN[2:],
        PLAIN[:4] + b"\0\0\0\0" + PLAIN[8:],
        with_attributes(b"\x80\x22\0\x09Phone\0\0\0"),
        with_attributes(b"\x80\x22"),
        b"\0\1\0\2" + PLAIN[4:] + b"ab",
    ],
)
def test_trn_14_what_is_no_binding_request_gets_nothing(data: bytes) -> None:
    assert answer_binding(data, "192.0.2.1", 5060) is None


@given(st.binary(max_size=60), st.ip_addresses(), st.integers(1, 65535))
def test_trn_14_no_octets_do_harm(rest: bytes, address: ipaddress.IPv4Address, port: int) -> None:
    answer = answer_binding(with_attributes(rest), str(address), port)
    if answer is not None:
        (length,) = struct.unpack("!H", answer[2:4])
        assert len(answer) == 20 + length
        assert answer[8:20] == TRANSACTION
