"""Entries, fields and buckets of the hash tables (docs/decisions/0006); tests/integration has the rest."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.notifier.claimed import dialog
from vedette.records import ManifestRecord, PublicationRecord
from vedette.store.hash_tables import (
    TOMBSTONE_SECONDS,
    UNREADABLE,
    HashTable,
    dialog_entry,
    dialog_field,
    manifest_entry,
    manifest_field,
    publication_entry,
    publication_field,
    read_dialog,
    read_manifest,
    read_publication,
    tombstone,
)
from vedette.store.redis_link import RedisLink

ALICE = "sip:alice@example.com"
HASHES = st.integers(-(2**31), 2**31 - 1)


def table(size: int, name: str = "published") -> HashTable:
    return HashTable(RedisLink("redis://127.0.0.1:1"), name, size)


@given(size=st.integers(1, 16), presentity_hash=HASHES)
def test_every_presentity_has_a_bucket_whose_key_is_its_hash_tag(size: int, presentity_hash: int) -> None:
    one = table(size)
    bucket = one.bucket(presentity_hash)
    assert 0 <= bucket < one.buckets == 2**size
    assert one.key(bucket) == f"vedette:1:published:{{{bucket}}}"
    assert one.bucket(presentity_hash) == bucket


def test_the_hashes_spread_over_all_buckets() -> None:
    assert {table(4).bucket(number) for number in range(-8, 8)} == set(range(16))


def test_the_two_tables_do_not_share_keys() -> None:
    assert table(4, "published").key(3) != table(4, "dialogs").key(3)


def test_fields_name_package_presentity_and_publication() -> None:
    fields = {
        manifest_field(ALICE, "presence"),
        manifest_field(ALICE, "dialog"),
        manifest_field("sip:carol@example.com", "presence"),
        publication_field(ALICE, "presence", b"\x01" * 16),
        publication_field(ALICE, "presence", b"\x02" * 16),
        dialog_field(b"\x01" * 16),
    }
    assert len(fields) == 6


@given(
    version=st.integers(0, 2**62),
    sequence=st.integers(0, 2**31 - 1),
    body=st.binary(max_size=20),
    expires=st.floats(0, 1e11),
)
def test_publications_come_back_as_they_were_written(
    version: int, sequence: int, body: bytes, expires: float
) -> None:
    record = PublicationRecord(b"\x01" * 16, version, sequence, "application/pidf+xml", body, expires)
    entry = publication_entry(7, ALICE, "presence", record)
    assert (entry.presentity_hash, entry.version, entry.expires) == (7, sequence, expires)
    assert entry.field == publication_field(ALICE, "presence", b"\x01" * 16)
    assert read_publication(entry.payload) == record


def test_manifests_and_dialogs_come_back_as_they_were_written() -> None:
    manifest = ManifestRecord(9, [(b"\x01" * 16, 8), (b"\x02" * 16, 9)])
    entry = manifest_entry(7, ALICE, "presence", manifest, 2000.0)
    assert (entry.field, entry.version, entry.expires) == (manifest_field(ALICE, "presence"), 9, 2000.0)
    assert read_manifest(entry.payload) == manifest
    record = dialog("d", from_value='"B\uf7f6b" <sip:bob@example.net>')
    written = dialog_entry(record)
    assert (written.presentity_hash, written.field) == (record.presentity_hash, dialog_field(b"d"))
    assert (written.version, written.expires) == (1, 1600.0)
    assert read_dialog(written.payload) == record


def test_a_tombstone_is_an_entry_without_payload_that_lives_on_for_a_while() -> None:
    entry = tombstone(7, b"field", 5, 1000.0)
    assert entry == (7, b"field", 5, 1000.0 + TOMBSTONE_SECONDS, b"")


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"text", b"\x90", b"\x92\x01\x90\xff", b"\x96\xc4\x00\x01\x01\xa1\xff"]
)
@pytest.mark.parametrize("read", [read_dialog, read_publication], ids=["dialog", "publication"])
def test_a_payload_that_is_not_ours_is_unreadable_and_nothing_else(read: "object", payload: bytes) -> None:
    assert callable(read)
    with pytest.raises(UNREADABLE):
        read(payload)


def test_a_reader_passes_over_fields_that_a_newer_version_added_at_the_end() -> None:
    newer = msgspec.msgpack.encode([9, [], "more"])
    assert read_manifest(newer) == ManifestRecord(9, [])


def test_what_cannot_be_read_is_counted() -> None:
    one = table(2)
    one.distrust("no entry", b"\xfffield")
    assert one.unreadable == 1
