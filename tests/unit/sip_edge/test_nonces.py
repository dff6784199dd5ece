"""Nonces and how far they were used (RFC 7616 sections 3.3, 3.4 and 5.5; rows AUT-07, AUT-08, AUT-09, AUT-22)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip_edge.domain.nonces import UNIQUE, Nonces
from sip_edge.domain.used_nonces import UsedNonces

NOW = 1_700_000_000
ONE = Nonces([b"k" * 32])


def nonce(number: int = 0, at: float = NOW) -> str:
    return ONE.make(at, number.to_bytes(UNIQUE, "big"))


def test_aut_07_any_edge_with_the_key_knows_when_a_nonce_was_made() -> None:
    assert Nonces([b"k" * 32]).made_at(nonce(at=NOW + 0.9)) == NOW
    assert Nonces([b"x" * 32]).made_at(nonce()) is None


def test_a_key_that_was_rotated_is_known_for_a_while() -> None:
    after = Nonces([b"new" * 11, b"k" * 32])
    assert after.made_at(nonce()) == NOW
    assert ONE.made_at(after.make(NOW, bytes(UNIQUE))) is None


def test_each_nonce_is_one_of_a_kind() -> None:
    assert len({nonce(number) for number in range(100)}) == 100


@given(st.integers(0, 31), st.sampled_from("ABCDabcd0123-_"))
def test_a_nonce_that_was_changed_is_none_of_ours(place: int, character: str) -> None:
    made = nonce()
    changed = made[:place] + character + made[place + 1 :]
    assert ONE.made_at(changed) == (NOW if changed == made else None)


@pytest.mark.parametrize("text", ["", "n", "=" * 32, "ü" * 32, " " * 32, nonce()[:-1], nonce() + "A"])
def test_other_text_is_no_nonce(text: str) -> None:
    assert ONE.made_at(text) is None


@given(st.text(max_size=40))
def test_any_text_may_be_asked_for(text: str) -> None:
    assert ONE.made_at(text) is None


def test_a_nonce_knows_whom_it_was_given_to_and_so_does_any_edge() -> None:
    made = ONE.make(NOW, bytes(UNIQUE), "192.0.2.1")
    for edge in (ONE, Nonces([b"new" * 11, b"k" * 32])):
        assert edge.was_given_to(made, "192.0.2.1")
        assert not edge.was_given_to(made, "192.0.2.2")
        assert not edge.was_given_to(made, "")


# how far they were used


def test_aut_08_09_counts_may_have_gaps_and_never_go_back() -> None:
    used = UsedNonces(10)
    taken = [(1, True), (2, True), (7, True), (3, False), (7, False), (8, True), (0xFFFFFFFF, True), (0, False)]
    assert [used.take("n", NOW, count, bytes([place])) for place, (count, _) in enumerate(taken)] == [
        new for _, new in taken
    ]


def test_aut_08_the_same_request_again_is_a_copy_as_long_as_it_was_the_last() -> None:
    used = UsedNonces(10)
    assert used.take("n", NOW, 1, b"first")
    assert used.take("n", NOW, 1, b"first")
    assert not used.take("n", NOW, 1, b"another")
    assert used.take("n", NOW, 2, b"second")
    assert not used.take("n", NOW, 1, b"first")


def test_where_there_is_no_room_what_is_forgotten_is_refused_not_taken_again() -> None:
    used = UsedNonces(3)
    for place in range(5):
        assert used.take(f"n{place}", NOW + place, 1, b"r")
    assert len(used) == 3
    assert not used.take("n0", NOW, 1, b"r")
    assert not used.take("n1", NOW + 1, 2, b"r")
    assert used.take("n2", NOW + 2, 2, b"r")
    assert used.take("later", NOW + 5, 1, b"r")


def test_a_nonce_of_a_clock_that_is_ahead_shuts_nobody_out() -> None:
    used = UsedNonces(1)
    assert used.take("ahead", NOW + 250, 1, b"r")
    assert used.take("now", NOW, 1, b"r")
    assert used.take("now too", NOW, 1, b"r")


def test_nonces_from_before_the_start_are_not_taken() -> None:
    used = UsedNonces(3, since=NOW)
    assert not used.take("old", NOW - 1, 1, b"r")
    assert used.take("new", NOW, 1, b"r")


def test_aut_22_what_is_not_good_any_more_is_forgotten() -> None:
    used = UsedNonces(1000)
    for place in range(100):
        used.take(f"n{place}", NOW + place, 1, b"r")
    used.forget(NOW + 90)
    assert len(used) == 10
    used.forget(NOW + 1000)
    assert len(used) == 0
