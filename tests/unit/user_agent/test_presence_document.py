"""The documents that `vedette publish` writes, and what `vedette watch` says of the ones that it gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.unit.documents.schemas import faults
from tests.vectors import needs_vectors
from vedette.documents.pidf import check
from vedette.documents.xml_reader import DocumentError
from vedette_cli.user_agent.presence_document import ACTIVITIES, Summary, summarize, write

PIDF = "urn:ietf:params:xml:ns:pidf"
RPID = "urn:ietf:params:xml:ns:pidf:rpid"
DATA_MODEL = "urn:ietf:params:xml:ns:pidf:data-model"
ALICE = "sip:alice@example.com"


def written(*, status: str = "open", note: str | None = None, activity: str | None = None) -> bytes:
    return write(ALICE, status=status, note=note, activity=activity, tuple_id="t1")


def document(content: str) -> bytes:
    return (
        f'<presence xmlns="{PIDF}" xmlns:d="{DATA_MODEL}" xmlns:r="{RPID}" xmlns:x="urn:example:other" '
        f'entity="{ALICE}">{content}</presence>'
    ).encode()


def a_tuple(basic: str | None, rest: str = "", number: int = 1) -> str:
    text = "" if basic is None else f"<basic>{basic}</basic>"
    return f'<tuple id="t{number}"><status>{text}</status>{rest}</tuple>'


@pytest.mark.parametrize("status", ["open", "closed"])
@pytest.mark.parametrize("note", [None, "In a meeting", "", "<&>\"' ]]>", "línea\n两行\t!", "\N{WAVING HAND SIGN}"])
@pytest.mark.parametrize("activity", [None, "meeting"])
def test_what_is_written_is_read_again(status: str, note: str | None, activity: str | None) -> None:
    body = written(status=status, note=note, activity=activity)
    assert check(body) is None
    notes = [note.strip()] if note and note.strip() else []
    assert summarize(body) == Summary(status, [activity] if activity else [], notes, 1)
    assert etree.fromstring(body).get("entity") == ALICE


def test_pdf_documents_have_the_form_that_phones_look_for() -> None:
    """Some find these strings by pattern: no prefix on basic, `rpid:` elsewhere, empty elements closed at once."""
    body = written(activity="on-the-phone")
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n')
    assert b"<basic>open</basic>" in body
    assert b"<rpid:activities><rpid:on-the-phone/></rpid:activities>" in body
    assert b"<dm:person id=" in body


@needs_vectors
@pytest.mark.parametrize("activity", [None, *(name for name in ACTIVITIES if name != "lunch")])
def test_pdf_documents_are_valid_by_the_schema(activity: str | None) -> None:
    """But for `lunch`, which RFC 4480 describes and its schema has forgotten."""
    assert faults(written(note="here", activity=activity)) == []


def test_every_activity_of_rfc_4480_can_be_published_and_is_read_by_its_name() -> None:
    assert len(ACTIVITIES) == len(set(ACTIVITIES)) == 26
    for activity in ACTIVITIES:
        assert summarize(written(activity=activity)).activities == [activity]


@pytest.mark.parametrize("note", ["\0", "a\x0bb", "\x1b[31m", "\ufffe", "\ud800"])
def test_a_note_that_xml_cannot_carry_is_a_value_error(note: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        written(note=note)


@given(st.text())
def test_any_note_is_carried_or_refused(note: str) -> None:
    try:
        body = written(note=note)
    except ValueError:
        return
    assert check(body) is None
    said = summarize(body).notes
    assert said == ([note.replace("\r\n", "\n").strip()] if note.strip() else []) or "\r" in note


def doing(activities: str, person: str = "p") -> str:
    return f'<d:person id="{person}"><r:activities>{activities}</r:activities></d:person>'


SUMMARIES: list[tuple[str, str, Summary]] = [
    ("nothing", "", Summary("unknown", [], [], 0)),
    ("open", a_tuple("open"), Summary("open", [], [], 1)),
    ("closed", a_tuple("closed"), Summary("closed", [], [], 1)),
    ("white space", a_tuple("\n open "), Summary("open", [], [], 1)),
    ("no basic", a_tuple(None), Summary("unknown", [], [], 1)),
    ("basic unknown", a_tuple("unknown"), Summary("unknown", [], [], 1)),
    ("open wins", a_tuple("closed", number=1) + a_tuple("open", number=2), Summary("open", [], [], 2)),
    ("closed before unknown", a_tuple(None, number=1) + a_tuple("closed", number=2), Summary("closed", [], [], 2)),
    (
        "notes of all kinds",
        a_tuple("open", "<note>at the desk</note>")
        + "<note>\n  all day </note><d:person id='p'><r:note>r</r:note><d:note>d</d:note></d:person>",
        Summary("open", [], ["at the desk", "all day", "d", "r"], 1),
    ),
    ("empty notes", a_tuple("open", "<note/><note> \n</note>"), Summary("open", [], [], 1)),
    ("a note of another", a_tuple("open", "<x:note>x</x:note>"), Summary("open", [], [], 1)),
    (
        "activities",
        doing("<r:note>busy day</r:note><r:away/><r:meal/>"),
        Summary("unknown", ["away", "meal"], ["busy day"], 0),
    ),
    (
        "two persons",
        doing("<r:away/><!-- no -->") + doing("<r:meal/><?no?>", "q"),
        Summary("unknown", ["away", "meal"], [], 0),
    ),
    (
        "an activity of somebody else's making",
        doing("<x:diving/>"),
        Summary("unknown", ["diving"], [], 0),
    ),
    ("activities of another", "<x:activities><x:away/></x:activities>", Summary("unknown", [], [], 0)),
]


@pytest.mark.parametrize(
    ("content", "expected"), [case[1:] for case in SUMMARIES], ids=[case[0] for case in SUMMARIES]
)
def test_a_document_is_summed_up(content: str, expected: Summary) -> None:
    assert summarize(document(content)) == expected


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"<presence", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"\xff\xfe<a/>"]
)
def test_what_is_no_document_is_told(body: bytes) -> None:
    with pytest.raises(DocumentError):
        summarize(body)
