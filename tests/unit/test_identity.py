"""Names that follow from a request (architecture, "Key of a request"; UAS-17)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.identity import (
    KEY_LENGTH,
    Presentity,
    entity_tag,
    parse_entity_tag,
    parse_to_tag,
    presentity,
    presentity_hash,
    request_key,
    to_tag,
)
from vedette.sip.grammar import is_token

SECRET = b"s" * 32
PARTS = ["PUBLISH", "sip:alice@example.com", "presence", "c1", "1", "tag", "z9hG4bK1"]
ID = bytes(range(16))
HEX = ID.hex()


def test_the_key_of_a_request_is_the_same_wherever_and_whenever_it_is_made() -> None:
    assert request_key(SECRET, PARTS) == request_key(SECRET, tuple(PARTS))
    assert request_key(SECRET, PARTS).hex() == "329d2c5eade288a4e17e83cea534200d"
    assert len(request_key(SECRET, PARTS)) == KEY_LENGTH


@pytest.mark.parametrize("place", range(len(PARTS)))
def test_uas_17_every_part_and_the_secret_make_another_key(place: int) -> None:
    changed = [part + "x" if number == place else part for number, part in enumerate(PARTS)]
    assert request_key(SECRET, changed) != request_key(SECRET, PARTS)
    assert request_key(SECRET + b"x", PARTS) != request_key(SECRET, PARTS)


@given(st.lists(st.text(st.characters(exclude_characters="\0"), max_size=5), min_size=2, max_size=4), st.data())
def test_uas_17_a_character_that_moves_to_another_part_makes_another_key(
    parts: list[str], data: st.DataObject
) -> None:
    joined = "".join(parts)
    cut = data.draw(st.integers(0, len(joined)))
    other = [joined[:cut], joined[cut:], *[""] * (len(parts) - 2)]
    safe = [[part.encode("utf-8", "replace") for part in each] for each in (parts, other)]
    assert (request_key(SECRET, parts) == request_key(SECRET, other)) == (safe[0] == safe[1])


def test_uas_17_keys_of_many_requests_do_not_repeat_and_are_in_no_order() -> None:
    keys = [request_key(SECRET, [*PARTS[:-1], f"z9hG4bK{number}"]) for number in range(10_000)]
    assert len(set(keys)) == len(keys)
    rising = sum(before < after for before, after in pairwise(keys))
    assert 4_500 < rising < 5_500


def test_a_secret_longer_than_the_hash_takes_still_works() -> None:
    assert request_key(b"s" * 100, PARTS) == request_key(b"s" * 64, PARTS)


@pytest.mark.parametrize(
    ("uri", "value"),
    [
        ("", 0),
        ("123456789", 0xCBF43926 - 2**32),  # the check value of CRC-32
        ("sip:alice@example.com", -1_932_281_023),
        ("sip:ö@h", -1_352_955_665),
    ],
)
def test_the_hash_of_a_presentity_never_changes(uri: str, value: int) -> None:
    assert presentity_hash(uri) == value
    assert presentity(uri, "presence") == Presentity(value, uri, "presence")


@given(st.text())
def test_the_hash_of_any_presentity_is_a_signed_32_bit_number(uri: str) -> None:
    assert -(2**31) <= presentity_hash(uri) < 2**31


def test_presentities_sort_in_lock_order() -> None:
    mixed = [presentity(f"sip:u{number}@h", event) for number in range(5) for event in ("presence", "dialog")]
    assert [each.hash for each in sorted(mixed)] == sorted(each.hash for each in mixed)
    assert sorted(mixed) == sorted(mixed, key=lambda each: (each.hash, each.uri, each.event))


@pytest.mark.parametrize("sequence", [0, 1, 9, 10, 999_999_999])
def test_entity_tags_come_back_and_are_tokens(sequence: int) -> None:
    tag = entity_tag(ID, sequence)
    assert tag == f"{HEX}.{sequence}"
    assert is_token(tag)
    assert parse_entity_tag(tag) == (ID, sequence)


FOREIGN_ENTITY_TAGS = [
    "", ".", "1", HEX, f"{HEX}.", f".{HEX}", f"{HEX}.01", f"{HEX}.-1", f"{HEX}.+1", f"{HEX}.1.2", f"{HEX}.1 ",
    f" {HEX}.1", f"{HEX}.x",
    f"{HEX}.1000000000", f"{HEX}.٣", f"{HEX}.²", f"{HEX[:-1]}.1", f"{HEX}0.1", f"{HEX.upper()}.1", f"{HEX[:-1]}g.1",
    f"0x{HEX[2:]}.1",
    "a.1400662042.2290.84448.1", f"{HEX[:-2]} 1.1", f"{HEX}.1_0",
]  # fmt: skip


@pytest.mark.parametrize("tag", FOREIGN_ENTITY_TAGS)
def test_entity_tags_of_others_are_told_apart(tag: str) -> None:
    assert parse_entity_tag(tag) is None


@pytest.mark.parametrize("hash_", [0, 1, -1, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("preference", ["", "10", "a.b-c", "a.b.c"])
def test_uas_17_to_tags_come_back_and_are_tokens(preference: str, hash_: int) -> None:
    tag = to_tag(preference, hash_, ID)
    assert is_token(tag)
    assert tag.startswith(f"{preference}." if preference else f"{hash_ & 0xFFFFFFFF:08x}.")
    assert parse_to_tag(tag) == (hash_, ID)


FOREIGN_TO_TAGS = [
    "", ".", HEX, f".{HEX}", f"0000000.{HEX}", f"000000000.{HEX}", f"0000000g.{HEX}", f"0000000A.{HEX}",
    f"00000000.{HEX[:-1]}",
    f"00000000.{HEX}0", f"00000000.{HEX.upper()}", f"00000000.{HEX}.x", f"00000000-{HEX}",
    f"0x000000.{HEX}", "a6a1c5f60faecf03-2a9e",
    f"+0000000.{HEX}", f"0000_000.{HEX}",
]  # fmt: skip


@pytest.mark.parametrize("tag", FOREIGN_TO_TAGS)
def test_to_tags_of_others_are_told_apart(tag: str) -> None:
    assert parse_to_tag(tag) is None


@given(st.text() | st.text(alphabet="0123456789abcdef.", max_size=60))
def test_any_text_is_a_tag_of_ours_only_if_it_is_written_the_same_again(text: str) -> None:
    publication, dialog = parse_entity_tag(text), parse_to_tag(text)
    if publication is not None:
        assert entity_tag(*publication) == text
    if dialog is not None:
        assert text.endswith(to_tag("", *dialog))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 10**9 - 1), st.integers(-(2**31), 2**31 - 1))
def test_what_tags_carry_comes_back(id_: bytes, sequence: int, hash_: int) -> None:
    assert parse_entity_tag(entity_tag(id_, sequence)) == (id_, sequence)
    assert parse_to_tag(to_tag("pref", hash_, id_)) == (hash_, id_)
