"""Pages of lists: opaque cursors that name the last key seen, so that a list may change meanwhile."""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar, cast

from fastapi import Query
from pydantic import BaseModel, Field

from presence_core.adapters.rest.problems import RestError

SMALLEST_INT4 = -(2**31)
SCANNED = 200_000
"""Rows that one page looks at: a search that finds little says so soon, and goes on with the next page."""
MOST = 500
NO_NUL = r"^[^\x00]*$"
"""Postgres holds every character but this one."""

_NOT_TEXT = re.compile("[\0\ud800-\udfff]")

Item = TypeVar("Item")
Key = TypeVar("Key", bound=tuple[object, ...])

Limit = Annotated[int, Query(ge=1, le=MOST, description="Items on a page, at most.")]
Cursor = Annotated[
    str | None, Query(max_length=2048, description="`next` of the page before; the other parameters stay the same.")
]


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: str | None = Field(
        description="Pass it as `cursor` to get the next page; null on the last one. A page may have fewer items "
        "than `limit`, or none, and still have a next one."
    )


def write_cursor(name: str, key: tuple[object, ...] | None) -> str | None:
    """The cursor of the list with that name behind a key; None for None."""
    if key is None:
        return None
    return base64.urlsafe_b64encode(json.dumps([name, *key]).encode()).decode()


def read_cursor(name: str, cursor: str | None, first: Key) -> Key:
    """The key in a cursor of the list with that name, `first` without one; RestError 422 for one we did not make."""
    if cursor is None:
        return first
    try:
        found: Any = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if (
        not isinstance(found, list)
        or found[:1] != [name]
        or [type(part) for part in found[1:]] != [type(part) for part in first]
        or not all(_is_storable(part, model) for part, model in zip(found[1:], first, strict=True))
    ):
        raise RestError(
            422, "cursor: not one that this list made", where="query.cursor", remedy="Begin without a cursor."
        )
    return cast("Key", tuple(found[1:]))


def unhex(text: str) -> bytes:
    """The octets that a cursor has in hexadecimal; RestError 422 where it has none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RestError(
            422, "cursor: not one that this list made", where="query.cursor", remedy="Begin without a cursor."
        ) from None


def page_of(rows: Sequence[Item], limit: int) -> tuple[Sequence[Item], Item | None]:
    """The rows of a page, and the last one where there are more: `rows` are up to `limit` + 1."""
    return (rows[:limit], rows[limit - 1]) if len(rows) > limit else (rows, None)


def _is_storable(part: object, model: object) -> bool:
    """Whether Postgres has such a value: an int8, an int4 where the first key is one, or text."""
    if isinstance(part, int):
        smallest = SMALLEST_INT4 if model == SMALLEST_INT4 else -(2**63)
        return smallest <= part < -smallest
    return isinstance(part, str) and not _NOT_TEXT.search(part)
