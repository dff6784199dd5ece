"""Fragments of the grammar of RFC 3261 section 25.1 that several values need.

Everything here is matched against what anybody sends. Repetitions are possessive (`*+`) wherever what follows cannot
begin with what is repeated, so that no text makes a pattern search for longer than its length.
"""

import re

from vedette.sip.errors import SipError

TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"  # noqa: S105 - the grammar's word
QUOTED_STRING = r'"(?:[^"\\]++|\\.)*+"'
HOST = r"(?:\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9][A-Za-z0-9._\-]*+)"

MAX_CSEQ = 2**31 - 1
MAX_DELTA_SECONDS = 2**32 - 1

_TOKEN = re.compile(TOKEN)
_ELEMENT = re.compile(r'(?:"(?:[^"\\]++|\\.)*+"?|<[^>]*+>?|[^,"<]++)*+', re.DOTALL)
PARAMETER = re.compile(
    rf"\s*+;\s*+(?P<name>{TOKEN})\s*+(?:=\s*+(?P<value>{QUOTED_STRING}|[^;,\"\s]*+))?+", re.ASCII | re.DOTALL
)
"""One `;name=value`."""
_PLAIN_PARAMETERS = re.compile(rf"(?:;{TOKEN}(?:=[^;,\"\s]*+)?+)*+", re.ASCII)
"""Without quotes and white space, as nearly all are: these need no search for where each one ends."""


def is_token(text: str) -> bool:
    """Whether the text is one `token`."""
    return _TOKEN.fullmatch(text) is not None


def split_list(value: str) -> list[str]:
    """The elements of a comma-separated header value, stripped; commas in quotes or `<>` do not count.

    A quote or `<` that is never closed takes in the rest of the value.
    """
    if "," not in value:
        value = value.strip()
        return [value] if value else []
    items: list[str] = []
    position = 0
    while position <= len(value):
        match = _ELEMENT.match(value, position)
        assert match is not None  # the pattern takes an empty element, too
        items.append(match.group().strip())
        position = match.end() + 1
    return items


def parse_parameters(text: str, field: str) -> dict[str, str | None]:
    """The `;name=value` parameters in the text, names in lower case, quotes removed from values.

    Raises SipError where something else stands in the text or a name comes twice (a parameter that is there twice
    would make dialog matching depend on who reads it: RFC 3261 section 7.3.1).
    """
    parameters: dict[str, str | None] = {}
    if _PLAIN_PARAMETERS.fullmatch(text):
        for item in text.split(";")[1:]:
            name, equals, value = item.partition("=")
            name = name.lower()
            if name in parameters:
                raise SipError(f"Repeated parameter in {field}")
            parameters[name] = value if equals else None
        return parameters
    position = 0
    while position < len(text):
        match = PARAMETER.match(text, position)
        if match is None:
            if text[position:].strip() == "":
                break
            raise SipError(f"Malformed parameter in {field}")
        name = match["name"].lower()
        if name in parameters:
            raise SipError(f"Repeated parameter in {field}")
        parameters[name] = unquote(match["value"])
        position = match.end()
    return parameters


def unquote(value: str | None) -> str | None:
    """The value without the quotes and escapes of a quoted-string; other values as they are."""
    if value is None or len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    inner = value[1:-1]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if "\\" in inner else inner


def quote(value: str) -> str:
    """The value as a quoted-string."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse_delta_seconds(value: str, field: str) -> int:
    """A number of seconds (RFC 3261 section 20.19); above 2**32-1 or no number raises SipError."""
    if not (value.isascii() and value.isdigit()) or len(value) > 20:
        raise SipError(f"{field} is not a number of seconds")
    seconds = int(value)
    if seconds > MAX_DELTA_SECONDS:
        raise SipError(f"{field} is above 4294967295")
    return seconds
