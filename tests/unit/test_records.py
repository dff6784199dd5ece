"""What the hash tables in Redis hold, in msgpack, and two columns in text."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.records import (
    DialogRecord,
    ManifestRecord,
    PublicationRecord,
    join_routes,
    read_flow,
    split_routes,
    write_flow,
)
from vedette.sip.flow import FORWARDED, Flow

DIALOG = DialogRecord(
    presentity_hash=-1,
    dialog_id=bytes(range(16)),
    revision=3,
    presentity_uri="sip:alice@example.com",
    event="presence",
    event_id="",
    call_id="c1",
    to_tag="t",
    from_tag="",
    to_value="<sip:alice@example.com>",
    from_value='"J\uf7f6rg \\\uf700" <sip:bob@example.com>',
    contact="sip:bob@h",
    record_route=["<sip:p1;lr>", "<sip:p2;lr>"],
    local_contact="sip:edge",
    accept="application/pidf+xml",
    edge_instance="e1",
    edge_address="127.0.0.1:1",
    flow=Flow("tcp", "2001:db8::1", 5060, 7),
    expires=1_700_000_000.25,
    reason="",
)
PUBLICATION = PublicationRecord(bytes(16), 7, 2, "application/pidf+xml", b"<presence/>\x00\xff", 1.5)
MANIFEST = ManifestRecord(7, [(bytes(16), 3), (bytes(range(16)), 7)])


@pytest.mark.parametrize("record", [DIALOG, PUBLICATION, MANIFEST], ids=lambda record: type(record).__name__)
def test_a_record_comes_back_with_every_field(record: msgspec.Struct) -> None:
    data = msgspec.msgpack.encode(record)
    again = msgspec.msgpack.decode(data, type=type(record))
    assert again == record
    assert [getattr(again, name) for name in record.__struct_fields__] == [
        getattr(record, name) for name in record.__struct_fields__
    ]


def test_the_flow_of_a_record_is_a_flow_again() -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(DIALOG), type=DialogRecord)
    assert again.flow.source == ("2001:db8::1", 5060)
    assert again.flow.reliable


def test_records_are_arrays_without_names_and_cannot_be_changed() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(MANIFEST)) == [7, [[bytes(16), 3], [bytes(range(16)), 7]]]
    with pytest.raises(AttributeError):
        MANIFEST.version = 8  # type: ignore[misc]


@pytest.mark.parametrize("data", [b"", b"\xc0", b"\x90", b"\x92\x01\x02", msgspec.msgpack.encode(PUBLICATION)])
def test_rubbish_is_told(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.msgpack.decode(data, type=DialogRecord)


@pytest.mark.parametrize(
    ("flow", "text", "reliable"),
    [
        (Flow("udp", "192.0.2.1", 5060), "udp|192.0.2.1|5060|0", ""),
        (Flow("udp", "192.0.2.1", 5060, FORWARDED), "udp|192.0.2.1|5060|-1", ""),
        (Flow("tcp", "2001:db8::1", 40000, 12), "tcp|2001:db8::1|40000|12", "reliable"),
    ],
)
def test_a_flow_comes_back_from_its_text(flow: Flow, text: str, reliable: str) -> None:
    assert write_flow(flow) == text
    assert read_flow(text) == flow
    assert flow.reliable == bool(reliable)
    assert flow.source == (flow.host, flow.port)


@pytest.mark.parametrize("text", ["", "udp", "udp|h|5060", "udp|h|x|0", "udp|h|1|2|3"])
def test_text_that_is_no_flow_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        read_flow(text)


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), (["<sip:p1;lr>"], "<sip:p1;lr>"), (["<sip:p1;lr>", "<sip:p2>"], "<sip:p1;lr>\n<sip:p2>")],
)
def test_dlg_04_routes_come_back_from_their_text(values: list[str], text: str) -> None:
    assert join_routes(values) == text
    assert split_routes(text) == values


@given(st.lists(st.text(st.characters(exclude_characters="\n"), min_size=1)))
def test_dlg_04_any_routes_that_stand_in_a_header_come_back(values: list[str]) -> None:
    assert split_routes(join_routes(values)) == values
