"""Answers as a person reads them: tables, facts, times; nothing in them steers a terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 1000
"""A pipe has no width: whoever reads it wants whole lines."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


class Column(NamedTuple):
    """A column of a table."""

    title: str
    of: str | Callable[[Any], str]
    """The name of the fact, or what makes the text of a row."""


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    """Print a table without lines; as wide as the terminal, and in a pipe as wide as it is."""
    console(sys.stdout.isatty()).print(table_of(rows, columns))


def console(is_terminal: bool) -> Console:
    """Where tables are printed."""
    return Console(width=None if is_terminal else PIPED_WIDTH, highlight=False)


def table_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, title: str | None = None) -> Table:
    """The table."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column.title, overflow="fold")
    for row in rows:
        table.add_row(
            *(Text(plain(column.of(row) if callable(column.of) else row.get(column.of))) for column in columns)
        )
    return table


def facts_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """A line for each fact, names in a column; texts of several lines, and lists, below their name."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{name}:"
            for item in value:
                yield from (f"  {line}" for line in facts_lines(item))
                yield ""
        elif isinstance(value, str) and ("\n" in value.strip() or len(value) > 200):
            yield f"{name}:"
            yield from (f"  {plain(line)}" for line in value.splitlines())
        else:
            yield f"{name:{width}}  {plain(value)}".rstrip()


def plain(value: object) -> str:
    """A fact as text: what would steer a terminal is written as an escape."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{plain(name)}={plain(item)}" for name, item in value.items()) or "-"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(value)
    )


def left(name: str) -> Callable[[Mapping[str, Any]], str]:
    """How long it is until the time that a fact names; "over" where it has passed."""

    def text(row: Mapping[str, Any]) -> str:
        seconds = _seconds_until(row.get(name))
        return "-" if seconds is None else duration(seconds) if seconds > 0 else "over"

    return text


def ago(name: str) -> Callable[[Mapping[str, Any]], str]:
    """How long it is since the time that a fact names."""

    def text(row: Mapping[str, Any]) -> str:
        seconds = _seconds_until(row.get(name))
        return "-" if seconds is None else duration(max(0.0, -seconds))

    return text


def moment(name: str) -> Callable[[Mapping[str, Any]], str]:
    """The time that a fact names, in seconds, UTC."""

    def text(row: Mapping[str, Any]) -> str:
        found = _read(row.get(name))
        return "-" if found is None else f"{found:%Y-%m-%dT%H:%M:%SZ}"

    return text


def duration(seconds: float) -> str:
    """Seconds as a person says them, in the two largest units."""
    left_over, words = int(seconds), list[str]()
    for size, unit in _UNITS:
        count, left_over = divmod(left_over, size)
        if count:
            words.append(f"{count}{unit}")
        elif words:
            break
    return "".join(words[:2]) or "0s"


def octets(count: float) -> str:
    """A count of octets in mebibytes."""
    return f"{count / 2**20:.0f} MiB"


def _seconds_until(value: object) -> float | None:
    found = _read(value)
    return None if found is None else (found - datetime.now(UTC)).total_seconds()


def _read(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)
