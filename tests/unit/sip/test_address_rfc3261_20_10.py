"""From, To, Contact, Route: name-addr and addr-spec (RFC 3261 sections 20 and 20.10)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors import FOLDER, needs_vectors
from vedette.sip.address import parse_address, without_tag
from vedette.sip.errors import SipError
from vedette.sip.grammar import quote
from vedette.sip.uri import parse_uri

ADDRESSES: list[tuple[str, str, str, dict[str, str | None]]] = [
    # value, display name, URI, parameters
    ("<sip:a@b>", "", "sip:a@b", {}),
    ("sip:a@b", "", "sip:a@b", {}),
    ("sip:a@b;tag=1", "", "sip:a@b", {"tag": "1"}),
    ("sip:a@b ; tag = 1 ; x", "", "sip:a@b", {"tag": "1", "x": None}),
    ("<sip:a@b;lr>;tag=1", "", "sip:a@b;lr", {"tag": "1"}),
    ("Bob<sip:a@b>", "Bob", "sip:a@b", {}),
    ("Bob of  Biloxi <sip:a@b>", "Bob of  Biloxi", "sip:a@b", {}),
    ('"Bob"<sip:a@b>;tag=1', '"Bob"', "sip:a@b", {"tag": "1"}),
    (' "B, \\"o\\"; <b>" <sip:a@b>', '"B, \\"o\\"; <b>"', "sip:a@b", {}),
    ('"ends \\\\" <sip:a@b>', '"ends \\\\"', "sip:a@b", {}),
    ("Watson, Thomas <sip:a@b>", "Watson, Thomas", "sip:a@b", {}),
    ("<sip:a@b?Route=%3Csip:c%3E>", "", "sip:a@b?Route=%3Csip:c%3E", {}),
    ("<sip:a,b;c@d>", "", "sip:a,b;c@d", {}),
    ("<urn:service:sos>", "", "urn:service:sos", {}),
    ('<sip:a@b>;+sip.instance="<urn:1>";q=1', "", "sip:a@b", {"+sip.instance": "<urn:1>", "q": "1"}),
    ("J\xf6rg <sip:a@b>", "J\xf6rg", "sip:a@b", {}),
]  # fmt: skip

BAD_ADDRESSES = [
    "", "*", "sip", "<>", "< sip:a@b >", "< sip:a@b>", "<sip:a@b >", "<sip:a@b", "sip:a@b>", "<sip:a@b>x",
    '"Bob <sip:a@b>', 'Bob" <sip:a@b>', '"Bob" sip:a@b', "<sip:a@b>;tag=1;tag=2", "<sip:a@b>;;tag=1",
    "<sip:a@b> <sip:c@d>", "sip:a@b?x=y", "sip:a@b,sip:c@d", "sip:a @b", "<sip:a<b>", '<sip:"a"@b>',
    '\\"arik\\" <sip:a@b>', "Bob sip:a@b", '<sip:a@b>;x="open', "a" + " " * 2000 + "b",
]  # fmt: skip

WITHOUT_TAG = [
    ("<sip:a@b>;tag=1", "<sip:a@b>"),
    ("<sip:a@b>", "<sip:a@b>"),
    ("sip:a@b", "sip:a@b"),
    ("sip:a@b;tag=1", "sip:a@b"),
    ("sip:a@b;x=1;TAG=1;y", "sip:a@b;x=1;y"),
    ("<sip:a@b;tag=uri>;tag=1", "<sip:a@b;tag=uri>"),
    ("<sip:a@b> ; tag = 1 ;x=2", "<sip:a@b> ;x=2"),
    ("<sip:a@b>;tag;x", "<sip:a@b>;x"),
    ("<sip:a@b>;tagx=1;xtag=2", "<sip:a@b>;tagx=1;xtag=2"),
    ('"b;tag=1" <sip:a@b>;tag=2', '"b;tag=1" <sip:a@b>'),
    ('<sip:a@b>;x=";tag=1 >";tag=2', '<sip:a@b>;x=";tag=1 >"'),
    ('sip:a@b;x=">;tag=1";tag=2', 'sip:a@b;x=">;tag=1"'),
]


@pytest.mark.parametrize(("value", "display", "uri", "parameters"), ADDRESSES)
def test_msg_08_09_16_addresses(value: str, display: str, uri: str, parameters: dict[str, str | None]) -> None:
    address = parse_address(value, "From")
    assert (address.display, address.uri, address.parameters) == (display, uri, parameters)
    assert address.tag == parameters.get("tag")


@pytest.mark.parametrize("value", BAD_ADDRESSES)
def test_msg_13_27_31_addresses_that_are_malformed(value: str) -> None:
    with pytest.raises(SipError, match="From") as caught:
        parse_address(value, "From")
    assert caught.value.status == 400


def baresip_values() -> list[str]:
    path = FOLDER / "headers" / "name-addr-baresip.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["values"]) if path.exists() else []


@needs_vectors
@pytest.mark.parametrize("value", baresip_values())
def test_msg_08_the_values_that_baresip_reads_are_read_and_put_together_again(value: str) -> None:
    address = parse_address(value, "To")
    assert parse_uri(address.uri).host
    head = f"{address.display} <{address.uri}>".strip()
    assert value.startswith(head)
    parameters = [
        f";{name}={quote(text or '') if name in {'gruu', '+sip.instance'} else text}"
        for name, text in address.parameters.items()
    ]
    assert head + "".join(parameters) == value


@pytest.mark.parametrize(("value", "expected"), WITHOUT_TAG)
def test_dlg_08_a_value_loses_its_tag_and_nothing_else(value: str, expected: str) -> None:
    assert without_tag(value) == expected
    before, after = parse_address(value, "To"), parse_address(expected, "To")
    assert (after.display, after.uri, after.tag) == (before.display, before.uri, None)
    assert after.parameters == {name: text for name, text in before.parameters.items() if name != "tag"}


NAME = st.from_regex(r"[a-z0-9.!%*_+`'~-]+", fullmatch=True).filter(lambda name: name != "tag")
PARAMETERS = st.dictionaries(NAME, st.none() | st.text(), max_size=4)


@given(st.text(), PARAMETERS, st.from_regex(r"[A-Za-z0-9.!%*_+`'~-]+", fullmatch=True))
def test_msg_08_dlg_08_what_is_written_is_read(display: str, parameters: dict[str, str | None], tag: str) -> None:
    rest = "".join(f";{name}" if text is None else f";{name}={quote(text)}" for name, text in parameters.items())
    untagged = f"{quote(display)} <sip:a@b>{rest}"
    address = parse_address(f"{untagged};tag={tag}", "From")
    assert (address.display, address.uri, address.tag) == (quote(display), "sip:a@b", tag)
    assert address.parameters == {**parameters, "tag": tag}
    assert without_tag(f"{untagged};tag={tag}") == untagged
    assert without_tag(f"{quote(display)} <sip:a@b>;tag={tag}{rest}") == untagged
