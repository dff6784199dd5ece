"""Content-Type and Accept (RFC 3261 sections 20.1 and 20.15)."""

import re
from collections.abc import Sequence
from functools import lru_cache

from vedette.sip.errors import SipError
from vedette.sip.grammar import TOKEN, parse_parameters, split_list

_MEDIA_TYPE = re.compile(
    rf"\s*+(?P<type>{TOKEN})\s*+/\s*+(?P<subtype>{TOKEN})\s*+(?P<parameters>;.*)?+", re.ASCII | re.DOTALL
)
MAX_CACHED = 256
"""Characters of an Accept row that the cache keeps: strangers choose what it holds."""
_QVALUE = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def parse_media_type(value: str, field: str = "Content-Type") -> tuple[str, dict[str, str | None]]:
    """The media type in lower case and its parameters; raises SipError for bad grammar."""
    match = _MEDIA_TYPE.fullmatch(value)
    if match is None:
        raise SipError(f"Malformed {field}")
    parameters = parse_parameters(match["parameters"] or "", field)
    return f"{match['type']}/{match['subtype']}".lower(), parameters


def negotiate(accept: Sequence[str] | None, offered: Sequence[str]) -> str | None:
    """The media type to send: the one of `offered` that Accept likes best, None where it likes none (406).

    `accept` holds the header rows; None (no such header) means the package's default, which is `offered[0]`; an
    empty header accepts nothing. The more specific range decides the q of a type; equal q: the order of `offered`.
    """
    if accept is None:
        return offered[0]
    ranges: list[tuple[str, float]] = []
    for row in accept:
        ranges += _ranges(row) if len(row) <= MAX_CACHED else _ranges.__wrapped__(row)
    best: str | None = None
    best_quality = 0.0
    for media_type in offered:
        quality = _quality_of(media_type, ranges)
        if quality > best_quality:
            best, best_quality = media_type, quality
    return best


@lru_cache(maxsize=1024)
def _ranges(row: str) -> tuple[tuple[str, float], ...]:
    """The media ranges of a row, and the q of each."""
    found = [parse_media_type(item, "Accept") for item in split_list(row) if item]
    return tuple((media_range, _quality(parameters.get("q"))) for media_range, parameters in found)


def _quality(text: str | None) -> float:
    if text is None or not _QVALUE.fullmatch(text):
        return 1.0
    return float(text)


def _quality_of(media_type: str, ranges: list[tuple[str, float]]) -> float:
    major = media_type.partition("/")[0]
    for wanted in (media_type, f"{major}/*", "*/*"):
        found = [quality for media_range, quality in ranges if media_range == wanted]
        if found:
            return max(found)
    return 0.0
