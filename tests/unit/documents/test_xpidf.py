"""XPIDF for old phones: one atom for each tuple, with the words of Asterisk and FreeSWITCH."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from tests.unit.documents.pidf_reading import ALICE
from vedette.documents.pidf import PublishedDocument
from vedette.documents.presence_schema import PIDF
from vedette.documents.xpidf import compose


def published(basic: str, *, contact: str = "", activities: str = "") -> PublishedDocument:
    person = (
        f'<dm:person id="p"><rpid:activities><rpid:{activities}/></rpid:activities></dm:person>' if activities else ""
    )
    body = (
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
        f'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="x"><tuple id="t"><status>'
        f"<basic>{basic}</basic></status>"
        f"{contact}</tuple>{person}</presence>"
    )
    return PublishedDocument(body.encode(), "3fa09c")


def atoms(document: bytes) -> list[tuple[str | None, ...]]:
    """Of each atom: id, address, status, substatus."""
    assert document.startswith(b"<?xml version='1.0' encoding='UTF-8'?>\n<!DOCTYPE presence PUBLIC ")
    root = ET.fromstring(document)
    assert root.tag == "presence"
    assert root[0].tag == "presentity"
    assert root[0].get("uri") == f"{ALICE};method=SUBSCRIBE"
    found: list[tuple[str | None, ...]] = []
    for atom in root.findall("atom"):
        address, status, substatus = (
            atom.find("address"),
            atom.find("address/status"),
            atom.find("address/msnsubstatus"),
        )
        assert address is not None
        assert status is not None
        assert substatus is not None
        found.append((atom.get("id"), address.get("uri"), status.get("status"), substatus.get("substatus")))
    return found


@pytest.mark.parametrize(
    ("basic", "activities", "status", "substatus"),
    [
        ("open", "", "open", "online"),
        ("OPEN", "reading", "open", "online"),
        ("open", "on-the-phone", "inuse", "onthephone"),
        ("open", "busy", "inuse", "onthephone"),
        ("open", "away", "inactive", "away"),
        ("closed", "away", "closed", "offline"),
        ("unknown", "", "closed", "offline"),
    ],
)
def test_the_status_follows_from_basic_and_activities(
    basic: str, activities: str, status: str, substatus: str
) -> None:
    document = compose(ALICE, [published(basic, activities=activities)])
    assert atoms(document) == [("t.3fa09c", f"{ALICE};user=ip", status, substatus)]


def test_the_first_atom_is_that_of_the_first_tuple_and_the_contact_is_its_address() -> None:
    first = published("open", contact='<contact>sip:alice@192.0.2.7?a=1&amp;b="2"</contact>')
    second = PublishedDocument(published("closed").body, "aaaaaa")
    document = compose(ALICE, [second, first])
    assert [atom[:3] for atom in atoms(document)] == [
        ("t.3fa09c", 'sip:alice@192.0.2.7?a=1&b="2";user=ip', "open"),
        ("t.aaaaaa", f"{ALICE};user=ip", "closed"),
    ]


def test_nothing_published_is_closed() -> None:
    assert atoms(compose(ALICE, [])) == [("offline", f"{ALICE};user=ip", "closed", "offline")]


@pytest.mark.parametrize(("value", "status"), [("true", "open"), ("1", "open"), ("0", "inuse"), ("false", "inuse")])
def test_pdf_10_activities_are_not_told_where_something_in_them_must_be_understood(value: str, status: str) -> None:
    extension = f'<v:x xmlns:v="urn:v" xmlns:p="{PIDF}" p:mustUnderstand="{value}"/>'
    document = published("open", activities="busy")
    body = document.body.replace(b"</rpid:activities>", f"{extension}</rpid:activities>".encode())
    assert [atom[2] for atom in atoms(compose(ALICE, [replace(document, body=body)]))] == [status]
