"""SIP, SIPS and PRES URIs and the address-of-record behind one (RFC 3261 section 19.1, RFC 3859)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import FOLDER, needs_vectors
from vedette.sip.errors import SipError
from vedette.sip.uri import MAX_CACHED, SipUri, address_of_record, parse_uri, split_aor

URIS = [
    # text, scheme, user, host, port, parameters, headers
    ("sip:alice@example.com", "sip", "alice", "example.com", None, "", None),
    ("SIP:Alice@Example.COM", "sip", "Alice", "Example.COM", None, "", None),
    ("sips:alice@example.com:5061;transport=tcp", "sips", "alice", "example.com", 5061, ";transport=tcp", None),
    ("pres:alice@example.com", "pres", "alice", "example.com", None, "", None),
    ("sip:example.com", "sip", None, "example.com", None, "", None),
    ("sip:127.0.0.1:5162", "sip", None, "127.0.0.1", 5162, "", None),
    ("sip:alice:secret@example.com", "sip", "alice:secret", "example.com", None, "", None),
    ("sip:user;par=u%40example.net@example.com", "sip", "user;par=u%40example.net", "example.com", None, "", None),
    ("sip:+1-212-555:12@gw.com;user=phone", "sip", "+1-212-555:12", "gw.com", None, ";user=phone", None),
    ("sip:a@[2001:db8::1]:5060;ob", "sip", "a", "[2001:db8::1]", 5060, ";ob", None),
    ("sip:b.com;method=REGISTER?to=a%40b.com&x", "sip", None, "b.com", None, ";method=REGISTER", "to=a%40b.com&x"),
    ("sip://a@b", "sip", "//a", "b", None, "", None),
    ("sip:a@b;gr=urn:uuid:1;lr", "sip", "a", "b", None, ";gr=urn:uuid:1;lr", None),
    ("sip:h;x=a@b", "sip", "h;x=a", "b", None, "", None),
    ("sip:jörg@example.com", "sip", "jörg", "example.com", None, "", None),
]  # fmt: skip

BAD_URIS = [
    "", "sip", "sip:", "alice@example.com", "sip:@example.com", "sip:alice@", "sip:a b@c", "sip:a@b c", "sip:a@b:",
    "sip:a@b:0",
    "sip:a@b:65536", "sip:a@b:123456", "sip:a@b:x", "sip:2001:db8::1", "sip:a@2001:db8::1", "sip:a@[2001:db8::1",
    "sip:a@[x]",
    "sip:a@b@c", "sip:<a>@b", 'sip:"a"@b', "sip:a\t@b", "sip:a\n@b", "sip:a@-b", "sip:a@b\x00", "sip:a@b;x=<y>",
    "*", ":", "sip:a@b>",
]  # fmt: skip

UNKNOWN_SCHEMES = [
    "tel:+12125551212",
    "http://example.com",
    "nobodyKnowsThisScheme:totallyopaquecontent",
    "soap.beep://192.0.2.103:3002",
    "mailto:a@b",
]

EQUAL_NAMES = [
    # written, address-of-record
    ("sip:alice@example.com", "sip:alice@example.com"),
    ("sips:alice@example.com", "sip:alice@example.com"),
    ("pres:alice@example.com", "sip:alice@example.com"),
    ("sip:alice@EXAMPLE.com:5060;transport=tcp?x=y", "sip:alice@example.com"),
    ("sip:alice@example.com.", "sip:alice@example.com"),
    ("sip:%61lice@example.com", "sip:alice@example.com"),
    ("sip:Alice@example.com", "sip:Alice@example.com"),
    ("sip:a%2bb@example.com", "sip:a+b@example.com"),
    ("sip:a%40b@example.com", "sip:a%40b@example.com"),
    ("sip:a%00b@example.com", "sip:a%00b@example.com"),
    ("sip:a%C3%B6@example.com", "sip:a%C3%B6@example.com"),
    ("sip:a%c3%b6@example.com", "sip:a%C3%B6@example.com"),
    ("sip:aö@example.com", "sip:a%C3%B6@example.com"),
    ("sip:*72#@example.com", "sip:*72%23@example.com"),
    ("sip:*72%23@example.com", "sip:*72%23@example.com"),
    ("sip:100%@example.com", "sip:100%25@example.com"),
    ("sip:a%zz@example.com", "sip:a%25zz@example.com"),
    ("sip:a;x=1@example.com", "sip:a;x=1@example.com"),
    ("sip:example.com:5070", "sip:example.com"),
    ("sip:a@[2001:DB8::1]:5070", "sip:a@[2001:db8::1]"),
]


@pytest.mark.parametrize(("text", "scheme", "user", "host", "port", "parameters", "headers"), URIS)
def test_msg_19_43_uris(
    text: str, scheme: str, user: str | None, host: str, port: int | None, parameters: str, headers: str | None
) -> None:
    assert parse_uri(text) == SipUri(scheme, user, host, port, parameters, headers)


@pytest.mark.parametrize("text", BAD_URIS)
def test_msg_26_28_43_uris_that_are_malformed(text: str) -> None:
    for read in (parse_uri, address_of_record):
        with pytest.raises(SipError, match="URI") as caught:
            read(text)
        assert caught.value.status == 400


@pytest.mark.parametrize("text", UNKNOWN_SCHEMES)
def test_msg_38_uas_04_another_scheme_is_416(text: str) -> None:
    with pytest.raises(SipError, match="scheme") as caught:
        parse_uri(text)
    assert caught.value.status == 416


@pytest.mark.parametrize(("text", "aor"), EQUAL_NAMES)
def test_msg_15_prs_15_the_address_of_record(text: str, aor: str) -> None:
    assert address_of_record(text) == aor
    assert address_of_record(aor) == aor


@pytest.mark.parametrize(
    ("aor", "user", "domain"),
    [
        ("sip:alice@example.com", "alice", "example.com"),
        ("sip:example.com", "", "example.com"),
        ("sip:a%40b@example.com", "a%40b", "example.com"),
        ("sip:a@[2001:db8::1]", "a", "[2001:db8::1]"),
    ],
)
def test_an_address_of_record_has_a_user_and_a_domain(aor: str, user: str, domain: str) -> None:
    assert split_aor(aor) == (user, domain)


@pytest.mark.parametrize(
    ("name", "value"),
    [("transport", "TCP"), ("lr", ""), ("gr", "urn:x=y"), ("ob", ""), ("maddr", None), ("TRANSPORT", None)],
)
def test_msg_04_uri_parameters_are_found_in_any_case(name: str, value: str | None) -> None:
    assert parse_uri("sip:a@b;Transport=TCP;LR;gr=urn:x=y;ob=").parameter(name) == value


@pytest.mark.parametrize(
    ("contact", "request_uri"),
    [
        ("sip:bob@192.0.2.4;ob", "sip:bob@192.0.2.4;ob"),
        ("sip:bob@h:5070;gr=urn:uuid:1;transport=tcp;line=x", "sip:bob@h:5070;gr=urn:uuid:1;transport=tcp;line=x"),
        ("sip:bob@h;method=SUBSCRIBE;x?Route=%3Csip:c%3E", "sip:bob@h;x"),
        ("sip:h?Subject=x", "sip:h"),
        ("SIPS:Bob@H;METHOD=x", "sips:Bob@H"),
        ("sip:bob@[2001:db8::1]:5070", "sip:bob@[2001:db8::1]:5070"),
    ],
)
def test_dlg_07_msg_29_a_request_uri_keeps_parameters_and_drops_headers_and_method(
    contact: str, request_uri: str
) -> None:
    assert parse_uri(contact).without_headers() == request_uri


@needs_vectors
def test_msg_15_the_canonical_form_that_rfc_4826_prints() -> None:
    table = json.loads((FOLDER / "golden" / "uri" / "rfc3261-19.1.4.json").read_text(encoding="utf-8"))
    for case in table["canonicalise_rfc4826_5"]:
        assert address_of_record(case["in"]) == case["out"]


HOST = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True)
USER = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='@<>"%'), min_size=1)


@given(USER, HOST, st.none() | st.integers(1, 65535))
def test_msg_15_one_name_whatever_is_escaped(user: str, host: str, port: int | None) -> None:
    tail = "" if port is None else f":{port}"
    plain = address_of_record(f"sip:{user}@{host}{tail}")
    escaped = "".join(f"%{octet:02x}" for octet in user.encode())
    assert address_of_record(f"sips:{escaped}@{host.upper()};x=1") == plain
    assert address_of_record(plain) == plain
    assert split_aor(plain)[1] == host
    assert parse_uri(plain).host == host


def test_sec_07_uris_too_long_for_the_caches_are_read_the_same() -> None:
    user = "u" * MAX_CACHED
    assert parse_uri(f"sip:{user}@example.com").user == user
    assert address_of_record(f"SIP:{user}@EXAMPLE.com:5060") == f"sip:{user}@example.com"
    with pytest.raises(SipError):
        parse_uri(f"sip:{user} @example.com")
