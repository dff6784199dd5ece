"""The values of From, To, Contact, Route and Record-Route (RFC 3261 section 20.10)."""

import re
from typing import NamedTuple

from vedette.sip.errors import SipError
from vedette.sip.grammar import PARAMETER, QUOTED_STRING, TOKEN, parse_parameters

_NAME_ADDR = re.compile(
    rf"(?P<display>\s*+{QUOTED_STRING}\s*+|[^<\"]*+)<(?P<uri>[^<>\"]*+)>(?P<parameters>.*+)", re.DOTALL
)
_USUAL = re.compile(rf"([^<>\"]*+)<([^<>\"\s]++)>(?:;tag=({TOKEN}))?+")
"""As nearly all are written: no quotes, no parameter but a tag."""


class Address(NamedTuple):
    """A name-addr or addr-spec with its header parameters (names in lower case, values unquoted)."""

    display: str
    uri: str
    parameters: dict[str, str | None]

    @property
    def tag(self) -> str | None:
        """The `tag` parameter, None where absent."""
        return self.parameters.get("tag")


def parse_address(value: str, field: str) -> Address:
    """The one address in a header value; `field` names the header in the SipError raised for bad grammar.

    Without `<>` everything after the first `;` belongs to the header, not to the URI (RFC 3261 section 20).
    """
    usual = _USUAL.fullmatch(value)
    if usual is not None:
        display, uri, tag = usual.groups()
        return Address(display.strip(), uri, {} if tag is None else {"tag": tag})
    match = _NAME_ADDR.fullmatch(value)
    if match is not None:
        uri = match["uri"]
        if not uri or uri != uri.strip():
            raise SipError(f"Malformed URI in {field}")
        return Address(match["display"].strip(), uri, parse_parameters(match["parameters"], field))
    if '"' in value.partition(";")[0] or "<" in value.partition(";")[0]:
        raise SipError(f"Malformed {field}")
    uri, semicolon, rest = value.strip().partition(";")
    uri = uri.strip()
    if ":" not in uri or any(mark in uri for mark in " \t,?>"):
        raise SipError(f"Malformed {field}")
    return Address("", uri, parse_parameters(semicolon + rest, field))


def without_tag(value: str) -> str:
    """The text of a From or To value that `parse_address` reads, without its `tag`; the rest as it was written."""
    usual = _USUAL.fullmatch(value)
    if usual is not None:
        return value[: usual.end(2) + 1]
    match = _NAME_ADDR.fullmatch(value)
    start = match.start("parameters") if match is not None else value.find(";")
    if start < 0:
        return value
    return value[:start] + PARAMETER.sub(_unless_tag, value[start:])


def _unless_tag(parameter: re.Match[str]) -> str:
    return "" if parameter["name"].lower() == "tag" else parameter.group()
