"""Content-Type and Accept (RFC 3261 sections 20.1 and 20.15)."""

import pytest

from vedette.sip.errors import SipError
from vedette.sip.media_type import negotiate, parse_media_type

PIDF, XPIDF = "application/pidf+xml", "application/xpidf+xml"

TYPES: list[tuple[str, str, dict[str, str | None]]] = [
    ("application/pidf+xml", PIDF, {}),
    ("Application/PIDF+XML", PIDF, {}),
    (" application / pidf+xml ", PIDF, {}),
    ("text/plain;charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
    ('multipart/mixed; Boundary="a;b"', "multipart/mixed", {"boundary": "a;b"}),
    ("*/*;q=0.5", "*/*", {"q": "0.5"}),
    ("application/*", "application/*", {}),
]

BAD_TYPES = [
    "",
    "application",
    "application/",
    "/xml",
    "a/b/c",
    "a b/c",
    "a/b c",
    "a/b,c/d",
    "a/b;",
    "a/b;q=1;Q=2",
    'a/b;x="',
]

ACCEPTS: list[tuple[list[str] | None, list[str], str | None]] = [
    # rows of Accept, what we offer in our order, what is sent
    (None, [PIDF, XPIDF], PIDF),
    ([PIDF], [PIDF], PIDF),
    ([PIDF.upper()], [PIDF], PIDF),
    ([""], [PIDF], None),
    ([" , "], [PIDF], None),
    (["text/plain"], [PIDF], None),
    (["*/*"], [PIDF, XPIDF], PIDF),
    (["application/*"], [PIDF], PIDF),
    (["text/*"], [PIDF], None),
    ([f"{XPIDF}, {PIDF}"], [PIDF, XPIDF], PIDF),
    ([f"{PIDF};q=0.5, {XPIDF}"], [PIDF, XPIDF], XPIDF),
    ([f"{PIDF};q=0.5", XPIDF], [PIDF, XPIDF], XPIDF),
    ([f"{PIDF};q=0, */*"], [PIDF, XPIDF], XPIDF),
    ([f"{PIDF};q=0, */*"], [PIDF], None),
    ([f"{PIDF};q=0.000"], [PIDF], None),
    ([f"*/*;q=0.1, application/*;q=0.2, {XPIDF};q=0.3"], [PIDF, XPIDF], XPIDF),
    ([f"{PIDF};q=nonsense, {XPIDF};q=0.9"], [PIDF, XPIDF], PIDF),
    ([f"{PIDF};q=7, {XPIDF};q=1"], [PIDF, XPIDF], PIDF),
    ([f"{PIDF};charset=utf-8;q=0.4, {PIDF};q=0.2"], [PIDF], PIDF),
    ([f'{PIDF};x="a,b", {XPIDF};q=0.1'], [PIDF, XPIDF], PIDF),
    (["application/cpim-pidf+xml"], [PIDF], None),
]


@pytest.mark.parametrize(("value", "media_type", "parameters"), TYPES)
def test_msg_04_media_types(value: str, media_type: str, parameters: dict[str, str | None]) -> None:
    assert parse_media_type(value) == (media_type, parameters)


@pytest.mark.parametrize("value", BAD_TYPES)
def test_media_types_that_are_malformed(value: str) -> None:
    with pytest.raises(SipError, match="Content-Type") as caught:
        parse_media_type(value)
    assert caught.value.status == 400


@pytest.mark.parametrize(("accept", "offered", "chosen"), ACCEPTS)
def test_msg_46_uas_15_prs_02_what_is_sent_to_whom_accepts_this(
    accept: list[str] | None, offered: list[str], chosen: str | None
) -> None:
    assert negotiate(accept, offered) == chosen


def test_an_accept_that_cannot_be_read_is_told() -> None:
    with pytest.raises(SipError, match="Accept"):
        negotiate(["application/pidf+xml, nonsense"], [PIDF])
