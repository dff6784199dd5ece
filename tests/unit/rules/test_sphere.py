"""The sphere of a presentity (RFC 4480 section 3.10, RFC 5025 section 3.1.2)."""

import pytest

from tests.unit.documents.pidf_reading import ALICE, document, published
from vedette.documents.pidf import compose
from vedette.rules.sphere import sphere_of


def person(content: str, name: str = "p") -> str:
    return f"<dm:person id='{name}'>{content}</dm:person>"


WORK = "<rpid:sphere><rpid:work/></rpid:sphere>"
HOME = "<rpid:sphere><rpid:home/></rpid:sphere>"


@pytest.mark.parametrize(
    ("content", "sphere"),
    [
        ("", None),
        (person(""), None),
        (person(WORK), "work"),
        (person("<rpid:sphere>work</rpid:sphere>"), "work"),
        (person("<rpid:sphere>\n Work </rpid:sphere>"), "work"),
        (person("<rpid:sphere from='2026-01-01T00:00:00Z'><rpid:home/></rpid:sphere>"), "home"),
        (person("<r:sphere xmlns:r='urn:ietf:params:xml:ns:pidf:rpid'><r:home/></r:sphere>"), "home"),
        (person("<sphere xmlns='urn:ietf:params:xml:ns:pidf:rpid'><work/></sphere>"), "work"),
        (person("<rpid:sphere xmlns:rpid='urn:other'><rpid:work/></rpid:sphere>"), None),
        (person("<rpid:sphere><v:club xmlns:v='urn:v'/></rpid:sphere>"), "club"),
        (person("<rpid:sphere><rpid:unknown/></rpid:sphere>"), None),
        (person("<rpid:sphere/>"), None),
        (person(WORK + HOME), None),
        ("<tuple id='t'><status>" + WORK + "</status></tuple>", "work"),
    ],
)
def test_pol_14_the_sphere_is_read_by_namespace_as_element_and_as_text(content: str, sphere: str | None) -> None:
    assert sphere_of(document(content)) == sphere


@pytest.mark.parametrize(
    ("contents", "sphere"),
    [
        ([], None),
        ([person(WORK)], "work"),
        ([person(WORK), person("<rpid:sphere>WORK</rpid:sphere>")], "work"),
        ([person(WORK), person("")], "work"),
        ([person(WORK), person(HOME)], None),
        ([person(WORK), person("<rpid:sphere><rpid:unknown/></rpid:sphere>")], None),
        ([person(WORK) + person(HOME, "q"), person(WORK)], None),
    ],
)
def test_pol_14_and_cmp_13_the_sphere_is_what_all_publications_agree_on(
    contents: list[str], sphere: str | None
) -> None:
    documents = [published(content, scope=f"{number:06x}") for number, content in enumerate(contents)]
    assert sphere_of(compose(ALICE, documents)) == sphere


@pytest.mark.parametrize("body", [b"", b"<", b"\xff", b"<!DOCTYPE a><a/>"])
def test_what_cannot_be_read_has_no_sphere(body: bytes) -> None:
    assert sphere_of(body) is None
