"""What may be published as PIDF (rows PUB-32, PUB-33, PDF-12, PDF-22; clients.md, "PIDF bodies to accept")."""

import re

import pytest

from tests.unit.documents.pidf_reading import ALICE, document
from tests.unit.documents.schemas import faults
from tests.vectors import Vector, needs_vectors, vectors
from vedette.documents.pidf import PublishedDocument, check, compose
from vedette.documents.presence_schema import PIDF

BODIES = vectors("body/pidf") + vectors("golden/composition")

PLACEHOLDER = re.compile(rb"\[\w[^\]<>]*\]|\{\{\w+\}\}|\$\{?\w+\}?|%(?:\.\*)?[sd]|\{\w+\}")
BROKEN_TEMPLATES = {
    "body/pidf/RestComm_sip-presence-service-uac-L22.tmpl.xml": "a namespace name that begins with a space",
    "body/pidf/RestComm_sipunit-TestPresenceNoProxy-L1350.tmpl.xml": "no space between two attributes, on purpose",
    "body/pidf/konglinglong_kamailio-go-presence_profile-L102.tmpl.xml": "only the first lines of a document",
    "body/pidf/sipwise_kamailio-config-tests-sipp_scenario_responder00_test.yml-L32.tmpl.xml": "a YAML list of lines",
}
"""Templates that are no documents even with their placeholders filled: 400, and here is why."""


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in BODIES if v.expected in (["accept"], ["input"])], ids=str)
def test_pub_33_and_pdf_12_documents_of_real_clients_are_taken_and_come_out_valid(vector: Vector) -> None:
    assert check(vector.data) is None
    composed = compose(ALICE, [PublishedDocument(vector.data, "3fa09c")])
    assert check(composed) is None
    assert faults(composed) == []


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in BODIES if v.expected == ["reject:400"]], ids=str)
def test_pub_32_documents_that_are_not_well_formed_are_refused(vector: Vector) -> None:
    assert vector.facts["wellformed"] is False
    reason = check(vector.data)
    assert reason is not None
    assert re.fullmatch(r"PIDF: not well-formed XML at line \d+, column \d+", reason)


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in BODIES if v.expected == ["template"]], ids=str)
def test_pub_33_templates_of_other_peoples_tests_are_taken_once_they_are_filled_in(vector: Vector) -> None:
    reason = check(PLACEHOLDER.sub(b"a1", vector.data))
    assert (reason is not None) == (vector.path in BROKEN_TEMPLATES), reason


@needs_vectors
def test_every_pidf_vector_is_one_of_these() -> None:
    known = (["accept"], ["input"], ["reject:400"], ["template"])
    assert [vector.path for vector in BODIES if vector.expected not in known] == []
    assert set(BROKEN_TEMPLATES) <= {vector.path for vector in BODIES}


@needs_vectors
@pytest.mark.parametrize("vector", [v for v in vectors("body/xpidf") if v.expected == ["accept"]], ids=str)
def test_pdf_21_what_has_another_root_is_not_stored_as_pidf(vector: Vector) -> None:
    assert check(vector.data) == "PIDF: the root element is not presence"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (document(""), None),
        (document("text"), None),
        (document('<tuple id="a"/>'), None),
        (document("<tuple/>"), None),
        (document('<tuple id=""><status/></tuple>'), None),
        (document("<note/><tuple/><note/>"), None),
        (document('<tuple id="a"/><tuple id="a"/>'), None),
        (f'<presence xmlns="{PIDF}"/>'.encode(), None),
        (f'<p:presence xmlns:p="{PIDF}" entity=""/>'.encode(), None),
        (b"\xef\xbb\xbf" + document("").replace(b"\n", b"\r\n"), None),
        (document("<!-- c --><?p i?><tuple id='a'><status><basic><![CDATA[open]]></basic></status></tuple>"), None),
        (b"<presence/>", "PIDF: the root element is not presence"),
        (b'<presence xmlns="urn:ietf:params:xml:ns:pidf:data-model"/>', "PIDF: the root element is not presence"),
        (f'<tuple xmlns="{PIDF}" id="a"/>'.encode(), "PIDF: the root element is not presence"),
        (f'<PRESENCE xmlns="{PIDF}"/>'.encode(), "PIDF: the root element is not presence"),
        (b"", "PIDF: not well-formed XML at line 1, column 1"),
        (document("<tuple>"), "PIDF: not well-formed XML at line 2, column 196"),
        (b"<!DOCTYPE presence>" + document("")[39:], "PIDF: document type declarations are not accepted"),
        (document("<a>" * 64 + "</a>" * 64), "PIDF: nested deeper than 64 elements"),
    ],
)
def test_pub_32_and_pub_33_only_what_composition_needs_is_asked_for(body: bytes, reason: str | None) -> None:
    assert check(body) == reason


OPEN = "<basic>open</basic>"


def client(status: str, *, entity: str = "sip:alice@example.test", declarations: str = "", more: str = "") -> bytes:
    return (
        f'<presence xmlns="{PIDF}" xmlns:dm="{PIDF}:data-model" xmlns:rpid="{PIDF}:rpid" {declarations} '
        f'entity="{entity}"><tuple id="t1"><status>{status}</status>{more}</tuple></presence>'
    ).encode()


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (client("<basic>unknown</basic>"), b'<tuple id="t1.3fa09c"><status/></tuple>'),
        (client("<basic>OPEN</basic>"), b"<basic>open</basic>"),
        (client("<basic/>"), b'<tuple id="t1.3fa09c"><status/></tuple>'),
        (
            client(OPEN, entity="alice%40example.test", more="<contact>sip%3Aalice%40example.test</contact>"),
            b"<contact>sip%3Aalice%40example.test</contact>",
        ),
        (
            client(
                f"{OPEN}<pidfonline:online/>",
                declarations='xmlns:pidfonline="http://www.linphone.org/xsds/pidfonline.xsd"',
                more='<contact priority="0.8">sip:a@b</contact>',
            ),
            b'<basic>open</basic><pidfonline:online/></status><contact priority="0.8">sip:a@b</contact>',
        ),
        (
            client(
                OPEN,
                declarations='xmlns:agp-pidf="urn:ag-projects:xml:ns:pidf"',
                more="<agp-pidf:device-info><agp-pidf:description>x</agp-pidf:description></agp-pidf:device-info>"
                "<timestamp>2026-01-02T03:04:05.678901+00:00</timestamp>",
            ),
            (b"<agp-pidf:device-info><agp-pidf:description>x</agp-pidf:description></agp-pidf:device-info>"
            b"<timestamp>2026-01-02T03:04:05.678901+00:00</timestamp>"),
        ),
        (client(OPEN, more='<contact priority="1.5">sip:a@b</contact>'), b"<contact>sip:a@b</contact>"),
        (client(OPEN, more='<contact priority="-1">sip:a@b</contact>'), b"<contact>sip:a@b</contact>"),
        (client(OPEN, more='<contact priority="0.12345">sip:a@b</contact>'), b"<contact>sip:a@b</contact>"),
        (client(OPEN, more="<contact>sip:a@[2001:db8::1]:5060</contact>"), b">sip:a@[2001:db8::1]:5060<"),
        (client(OPEN, more="<contact>sip:al ice@b</contact>"), b">sip:al%20ice@b<"),
        (client(OPEN, more="<timestamp>2026-01-02t03:04:05</timestamp>"), b"<timestamp>2026-01-02T03:04:05Z<"),
        (client(OPEN, more="<timestamp>yesterday</timestamp>"), b"</status></tuple>"),
        (client(OPEN, more="<note xml:lang='de'>da</note><note/>"), b'<note xml:lang="de">da</note><note/>'),
    ],
    ids=[
        "baresip-unknown", "upper-case", "empty", "sipsimple-entity", "linphone-online", "sipsimple-device-info",
        "priority", "negative-priority", "long-priority", "ipv6", "blank-in-uri", "timestamp", "no-timestamp",
        "notes",
    ],
)  # fmt: skip
def test_pdf_05_pdf_06_pdf_08_pdf_20_pub_35_what_clients_send_is_taken_and_kept(body: bytes, kept: bytes) -> None:
    assert check(body) is None
    composed = compose(ALICE, [PublishedDocument(body, "3fa09c")])
    assert kept in composed
    assert b'entity="sip:alice@example.com"' in composed
