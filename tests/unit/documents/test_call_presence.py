"""What calls add to presence (row CMP-15)."""

from itertools import chain, combinations
from xml.etree import ElementTree as ET

import pytest

from tests.unit.documents.pidf_reading import ALICE
from tests.unit.documents.schemas import faults
from vedette.documents import call_presence, pidf
from vedette.documents.dialog_info import CONFIRMED, EARLY, PROCEEDING, TERMINATED, TRYING
from vedette.documents.pidf import PublishedDocument
from vedette.documents.presence_schema import DATA_MODEL, PIDF, RPID

ALL = (TRYING, PROCEEDING, EARLY, CONFIRMED, TERMINATED)
SETS = [frozenset(some) for some in chain.from_iterable(combinations(ALL, size) for size in range(len(ALL) + 1))]


def expected(states: frozenset[int]) -> str | None:
    """The note."""
    if CONFIRMED in states:
        return "On the phone"
    return "Calling" if states - {TERMINATED} else None


@pytest.mark.parametrize("states", SETS, ids=lambda states: "-".join(map(str, sorted(states))) or "none")
def test_cmp_15_a_call_is_shown_until_it_ends_and_an_answered_one_goes_before_others(states: frozenset[int]) -> None:
    body = call_presence.compose(states)
    if expected(states) is None:
        assert body is None
        return
    assert body is not None
    assert pidf.check(body) is None
    root = ET.fromstring(body)
    assert root.findtext(f"{{{PIDF}}}tuple/{{{PIDF}}}status/{{{PIDF}}}basic") == "open"
    assert root.findtext(f"{{{PIDF}}}note") == expected(states)
    (person,) = root.findall(f"{{{DATA_MODEL}}}person")
    assert person.findtext(f"{{{DATA_MODEL}}}note") == expected(states)
    assert [activity.tag for activity in person.findall(f"{{{RPID}}}activities/*")] == [f"{{{RPID}}}on-the-phone"]


@pytest.mark.parametrize("states", [{EARLY}, {CONFIRMED}])
@pytest.mark.parametrize("basic", [None, "open", "closed"])
def test_cmp_15_what_is_composed_with_it_is_valid_and_keeps_what_is_published(
    states: set[int], basic: str | None
) -> None:
    call = call_presence.compose(states)
    assert call is not None
    documents = [PublishedDocument(call, "000000")]
    if basic is not None:
        body = (
            f'<presence xmlns="{PIDF}" xmlns:d="{DATA_MODEL}" xmlns:r="{RPID}" entity="x"><tuple id="call"><status>'
            f"<basic>{basic}</basic></status></tuple><note>Lunch</note>"
            '<d:person id="caller"><r:activities><r:meal/></r:activities></d:person></presence>'
        )
        documents.append(PublishedDocument(body.encode(), "3fa09c"))
    composed = pidf.compose(ALICE, documents)
    assert faults(composed) == []
    assert b"<rpid:on-the-phone/>" in composed, "phones look for this string"
    root = ET.fromstring(composed)
    assert root.get("entity") == ALICE
    ids = [item.get("id") for item in root.iterfind(f"{{{PIDF}}}tuple")]
    assert ids == ["call.000000", *(["call.3fa09c"] if basic else [])]
    assert len(root.findall(f"{{{DATA_MODEL}}}person")) == len(documents)
    assert [note.text for note in root.findall(f"{{{PIDF}}}note")][1:] == (["Lunch"] if basic else [])
