"""Header text that need not be UTF-8: every octet comes back, and nothing stands in the way of RPC or Postgres."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vedette.sip.octets import NUL, decode, encode

ODD = st.lists(
    st.sampled_from([b"a", b"\0", b"\xe9", b"\xff", b"\xef", "é".encode(), "\uf700".encode(), "\uf780".encode()])
)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        ("Jörg".encode(), "Jörg"),
        ("Jörg".encode("latin-1"), "J\uf7f6rg"),
        (b"NUL:\\\0", f"NUL:\\{NUL}"),
        ("\uf7f6".encode(), "\uf7ef\uf79f\uf7b6"),
        (b"", ""),
    ],
)
def test_msg_14_octets_become_text_that_may_be_stored(data: bytes, text: str) -> None:
    assert decode(data) == text
    assert encode(text) == data


@given(st.binary() | ODD.map(b"".join))
@example(b"\xed\xb2\x80")
def test_msg_51_every_sequence_of_octets_comes_back_as_it_was(data: bytes) -> None:
    text = decode(data)
    assert encode(text) == data
    text.encode()  # no lone surrogate: RPC could not carry it
    assert "\0" not in text  # Postgres could not store it


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_without_stand_ins_is_plain_utf_8(text: str) -> None:
    if decode(text.encode()) == text:
        assert encode(text) == text.encode()


@given(st.text())
def test_any_text_can_be_written(text: str) -> None:
    assert isinstance(encode(text), bytes)
