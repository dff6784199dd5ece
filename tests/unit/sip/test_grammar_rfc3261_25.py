"""Lists, parameters, quoted strings, numbers (RFC 3261 sections 7.3.1, 20.19 and 25.1)."""

import importlib
import pkgutil
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette import sip
from vedette.sip.errors import SipError
from vedette.sip.grammar import is_token, parse_delta_seconds, parse_parameters, quote, split_list, unquote

LISTS = [
    ("", []),
    ("  ", []),
    (" a ", ["a"]),
    ("a,b", ["a", "b"]),
    (" a , b ", ["a", "b"]),
    (",", ["", ""]),
    ("a,,b", ["a", "", "b"]),
    ("a,", ["a", ""]),
    ('"x, y" <sip:a@b>, <sip:c,d@e>', ['"x, y" <sip:a@b>', "<sip:c,d@e>"]),
    ('"x\\", y" <sip:a@b>,c', ['"x\\", y" <sip:a@b>', "c"]),
    ('"<", ">"', ['"<"', '">"']),
    ('<sip:a@b?x="1,2">,c', ['<sip:a@b?x="1,2">', "c"]),
    ('a;x="1,2",b', ['a;x="1,2"', "b"]),
    ('"never closed, b', ['"never closed, b']),
    ("<never closed, b", ["<never closed, b"]),
    ('a, "ends in a backslash\\', ["a", '"ends in a backslash\\']),
    ("a>,b", ["a>", "b"]),
]

PARAMETERS: list[tuple[str, dict[str, str | None]]] = [
    ("", {}),
    ("  ", {}),
    (";a", {"a": None}),
    (";a=", {"a": ""}),
    (";a=1;b", {"a": "1", "b": None}),
    (";  a  =  1  ;  b  ", {"a": "1", "b": None}),
    (";TaG=aBc", {"tag": "aBc"}),
    (';a="x;y, \\"z\\" \\\\"', {"a": 'x;y, "z" \\'}),
    (';a=""', {"a": ""}),
    (";received=[2001:db8::1]", {"received": "[2001:db8::1]"}),
    (";received=2001:db8::1", {"received": "2001:db8::1"}),
    (";+sip.instance=<urn:uuid:1>", {"+sip.instance": "<urn:uuid:1>"}),
    (";a=b=c", {"a": "b=c"}),
]

BAD_PARAMETERS = [
    "a", ";", ";;a", ";a;", ";=1", ";a b", ";a=1 2", ';a="open', ';a="x"y', ";a=1,b", ";a=1;A=2", ";tag=a;tag=b",
    ";(=1", ';a=x"y"',
]  # fmt: skip

SECONDS = [("0", 0), ("3600", 3600), ("0005", 5), ("4294967295", 2**32 - 1), ("423197357", 423197357)]
BAD_SECONDS = [
    "",
    "-1",
    "+1",
    "1.0",
    " 1",
    "1 ",
    "abc",
    "4294967296",
    "9" * 20,
    "9" * 21,
    "9" * 5000,
    "٣",
    "²",
    "0x10",
]


@pytest.mark.parametrize(("value", "items"), LISTS)
def test_msg_06_08_lists_are_split_outside_of_quotes_and_brackets(value: str, items: list[str]) -> None:
    assert split_list(value) == items


ITEM = st.lists(
    st.sampled_from(["a", ";x=1", " ", '"a, b"', '"\\", <"', "<sip:a,b>", "<;,>"]), min_size=1, max_size=6
).map("".join)


@given(st.lists(ITEM, min_size=1))
def test_msg_06_a_list_gives_back_what_was_joined(items: list[str]) -> None:
    stripped = [item.strip() for item in items]
    if len(items) > 1:
        assert split_list(",".join(items)) == stripped
        assert split_list(" , ".join(items)) == stripped


@given(st.text(alphabet='ab,"<>\\; '))
def test_a_list_loses_nothing_but_commas_and_white_space(value: str) -> None:
    kept = re.sub(r"[\s,]", "", value)
    assert re.sub(r"[\s,]", "", "".join(split_list(value))) == kept


@pytest.mark.parametrize(("text", "parameters"), PARAMETERS)
def test_msg_04_parameters(text: str, parameters: dict[str, str | None]) -> None:
    assert parse_parameters(text, "To") == parameters


@pytest.mark.parametrize("text", BAD_PARAMETERS)
def test_msg_13_23_27_parameters_that_are_malformed_or_come_twice(text: str) -> None:
    with pytest.raises(SipError, match="parameter in To") as caught:
        parse_parameters(text, "To")
    assert caught.value.status == 400


@given(st.dictionaries(st.from_regex(r"[a-z0-9.!%*_+`'~-]+", fullmatch=True), st.none() | st.text(), max_size=5))
def test_msg_51_quoted_parameters_come_back(parameters: dict[str, str | None]) -> None:
    text = "".join(f";{name}" if value is None else f";{name}={quote(value)}" for name, value in parameters.items())
    assert parse_parameters(text, "To") == parameters


@given(st.text())
def test_msg_51_quoting_is_undone_by_unquoting(value: str) -> None:
    quoted = quote(value)
    assert unquote(quoted) == value
    assert split_list(f"{quoted},x") == [quoted, "x"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", ""),
        ("a", "a"),
        ('"', '"'),
        ('""', ""),
        ('"a', '"a'),
        ('a"', 'a"'),
        ('"\\a\\\\\\\n"', "a\\\n"),
    ],
)
def test_msg_08_unquote_leaves_what_is_no_quoted_string(value: str | None, expected: str | None) -> None:
    assert unquote(value) == expected


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("a", "token"), ("!%*_+`'~-.", "token"), ("", "no"), ("a b", "no"), ("a@b", "no"), ("é", "no"), ("a\n", "no")],
)
def test_msg_14_tokens(text: str, verdict: str) -> None:
    assert is_token(text) == (verdict == "token")


@pytest.mark.parametrize(("text", "seconds"), SECONDS)
def test_msg_26_seconds(text: str, seconds: int) -> None:
    assert parse_delta_seconds(text, "Expires") == seconds


@pytest.mark.parametrize("text", BAD_SECONDS)
def test_msg_26_52_seconds_that_are_no_number_or_too_many(text: str) -> None:
    with pytest.raises(SipError, match="Expires") as caught:
        parse_delta_seconds(text, "Expires")
    assert caught.value.status == 400


PATTERNS = {
    f"{module.name}.{name}": value
    for module in pkgutil.walk_packages(sip.__path__, f"{sip.__name__}.")
    for name, value in vars(importlib.import_module(module.name)).items()
    if isinstance(value, re.Pattern)
}
ONE_GREEDY = {
    "vedette.sip.reader._REQUEST_LINE": ".*",  # the URI: all that stands before the last " SIP/"
    "vedette.sip.media_type._MEDIA_TYPE": ".*",
}
"""Patterns with one repetition that gives back what it took; one alone takes a step for each character."""


@pytest.mark.parametrize("name", PATTERNS)
def test_sec_07_no_pattern_can_search_for_longer_than_the_text_is(name: str) -> None:
    """Every unbounded repetition is possessive (`*+`, `++`), but for the one of those patterns."""
    pattern = PATTERNS[name].pattern
    text = pattern if isinstance(pattern, str) else pattern.decode()
    bare = re.sub(r"\[(?:\\.|[^\]\\])*\]|\\.", "x", text)
    signs = re.findall(r"(.)([*+])(\+?)", bare)
    greedy = [f"{what}{sign}" for what, sign, possessive in signs if not possessive and what != "?"]
    assert greedy == ([ONE_GREEDY[name]] if name in ONE_GREEDY else [])
