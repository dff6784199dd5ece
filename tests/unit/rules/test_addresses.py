"""Equal URIs (RFC 3261 section 19.1.4), as services are compared."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import FOLDER, needs_vectors
from vedette.rules.addresses import ascii_domain, domain_of, identity_of, same_uri, scheme_of

TEXTS = st.one_of(
    st.text(max_size=20),
    st.from_regex(r"(sip|sips|pres|tel|mailto|urn|x):[a-z%0-9@.;:=?&\-]{0,20}", fullmatch=True),
)


@needs_vectors
def test_pol_18_uris_are_equal_as_the_examples_of_rfc_3261_say() -> None:
    examples = json.loads((FOLDER / "golden" / "uri" / "rfc3261-19.1.4.json").read_text())
    assert [same_uri(*pair) for pair in examples["equal"]] == [True] * len(examples["equal"])
    assert [same_uri(*pair[::-1]) for pair in examples["equal"]] == [True] * len(examples["equal"])
    assert [same_uri(*pair) for pair in examples["not_equal"]] == [False] * len(examples["not_equal"])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("mailto:a@EXAMPLE.com", "MAILTO:a@example.com", True),
        ("mailto:A@example.com", "mailto:a@example.com", False),
        ("tel:+1-555", "tel:+1555", True),
        ("tel:+1555", "sip:+1555@example.com", False),
        ("pres:a@example.com", "sip:a@example.com", False),
        ("pres:a@example.com", "pres:a@EXAMPLE.com", True),
        ("urn:UUID:AB", "urn:uuid:ab", True),
        ("urn:x:AB", "urn:x:ab", False),
        ("http://a/b", "http://a/B", False),
        ("nonsense", "nonsense", True),
        ("nonsense", "Nonsense", False),
        ("sip:a@b;user=phone", "sip:a@b", False),
        ("sip:a@b;maddr=1.2.3.4", "sip:a@b", False),
        ("sip:@b", "sip:b", False),
    ],
)
def test_pol_18_uris_of_other_schemes(one: str, other: str, *, same: bool) -> None:
    assert same_uri(one, other) is same
    assert same_uri(other, one) is same


@given(TEXTS, TEXTS)
def test_comparing_is_symmetric_and_takes_any_text(one: str, other: str) -> None:
    assert same_uri(one, one)
    assert same_uri(one, other) == same_uri(other, one)
    identity = identity_of(one)
    if identity is not None:
        assert identity_of(identity) == identity
        assert domain_of(identity) == domain_of(identity_of(identity) or "")
    assert ascii_domain(ascii_domain(one)) == ascii_domain(one) or "%" in one
    scheme_of(one)
