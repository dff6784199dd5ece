"""`vedette hash list`: the two hash tables, as `phtable_list` and `subs_phtable_list` printed them."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress as ProgressBar
from rich.table import Table

from vedette.runtime.settings import StoreSettings, load_settings
from vedette.store.database import Database, StoreError
from vedette.store.dialog_tables.tables import DialogTables
from vedette.store.hash_tables import HashTable
from vedette.store.redis_link import RedisAwayError, RedisLink
from vedette_cli.commands.in_database import database_of, running_stores
from vedette_cli.commands.options import DataOption
from vedette_cli.commands.terminal import fail
from vedette_cli.tables.cached import CachedTables
from vedette_cli.tables.kept import KeptDialogs
from vedette_cli.tables.rows import PresentityRow, Progress, SubscriptionRow
from vedette_cli.tables.stored_states import PostgresStates

hash_app = typer.Typer(help="The two hash tables: published state and subscription dialogs.", no_args_is_help=True)

MOST_SHOWN = 1000
PIPED_WIDTH = 400


class Which(StrEnum):
    """The tables."""

    PRESENTITIES = "presentities"
    SUBSCRIPTIONS = "subscriptions"


@hash_app.callback()
def _group() -> None:
    """The two hash tables: published state and subscription dialogs."""


@hash_app.command("list")
def hash_list(
    which: Annotated[Which, typer.Argument(metavar="presentities|subscriptions", help="Which table.")],
    data: DataOption = Path(".vedette"),
    redis_url: Annotated[
        str | None,
        typer.Option(help="This Redis, where no set runs on --data; then other parameters come from VEDETTE_..."),
    ] = None,
    presentity: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only presentities like sip:*@example.com")
    ] = "*",
    watcher: Annotated[str, typer.Option(metavar="PATTERN", help="Only subscriptions of watchers like it.")] = "*",
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many entries; 0: show all.")] = MOST_SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Print a table bucket by bucket.

    With fallback2db=1 it is a cache: Postgres has every record, and REST shows those. With fallback2db=0 the table of
    subscriptions has the dialogs themselves.
    """
    place = _find(data, redis_url)
    listing = asyncio.run(_read(place, which, presentity, watcher, limit))
    if as_json:
        typer.echo(json.dumps(listing.as_json()))
    else:
        listing.show()
    if listing.remark:
        sys.stderr.write(listing.remark + "\n")


@dataclass(frozen=True)
class _Place:
    """Where the tables are and how they are shaped."""

    db_url: str
    redis_url: str
    pres_htable_size: int
    subs_htable_size: int
    fallback2db: int


def _find(data: Path, redis_url: str | None) -> _Place:
    """The stores of the set that runs on the folder, else those of the parameters; ends the command without any."""
    if redis_url is None:
        stores = running_stores(data, "REDIS_URL", "the Redis with --redis-url")
        if stores is not None:
            return _Place(**stores)
    settings = load_settings(StoreSettings)
    url = settings.redis_url if redis_url is None else redis_url
    return _Place(
        database_of(settings), url, settings.pres_htable_size, settings.subs_htable_size, settings.fallback2db
    )


@dataclass(frozen=True)
class _Listing:
    """What was read."""

    which: Which
    buckets: int
    rows: list[PresentityRow] | list[SubscriptionRow]
    more: bool
    """Whether the limit left some out."""
    unreadable: int
    fallback2db: int
    remark: str = ""

    def as_json(self) -> dict[str, Any]:
        """As one object; times as REST has them."""
        return {
            "table": str(self.which),
            "fallback2db": self.fallback2db,
            "buckets": self.buckets,
            "entries": [{**row._asdict(), "expires": _time(row.expires)} for row in self.rows],
            "more": self.more,
            "unreadable": self.unreadable,
        }

    def show(self) -> None:
        """As a table, one row for each entry."""
        console = Console()
        console = Console(width=max(80, console.width) if console.is_terminal else PIPED_WIDTH)
        presentities = self.which is Which.PRESENTITIES
        names = _PRESENTITY_COLUMNS if presentities else _SUBSCRIPTION_COLUMNS
        table = Table(*names, box=None, pad_edge=False)
        for row in self.rows:
            values = {**row._asdict(), "expires": _time(row.expires)}
            table.add_row(*("-" if values[name] in (None, "") else str(values[name]) for name in names))
        console.print(table)
        used = len({row.bucket for row in self.rows})
        more = ", and more: see --limit" if self.more else ""
        console.print(f"{len(self.rows)} entries in {used} of {self.buckets} buckets{more}")


_PRESENTITY_COLUMNS = ("bucket", "presentity", "event", "publications", "version", "expires")
_SUBSCRIPTION_COLUMNS = (
    *("bucket", "presentity", "event", "event_id", "watcher", "call_id", "to_tag", "from_tag"),
    *("remote_cseq", "local_cseq", "expires", "status"),
)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC).isoformat()


async def _read(place: _Place, which: Which, presentity: str, watcher: str, limit: int) -> _Listing:
    try:
        link = RedisLink(place.redis_url)
    except ValueError as error:
        fail(f"{_without_password(place.redis_url)} is not the URL of a Redis: {error}", 2)
    database = Database(place.db_url, size=1, name="vedette hash list")
    states = PostgresStates(database)
    try:
        with _progress() as progress:
            tables = CachedTables(
                HashTable(link, "pres", place.pres_htable_size),
                HashTable(link, "subs", place.subs_htable_size),
                states,
                progress=progress,
            )
            of_presentities, of_subscriptions = tables.buckets
            if which is Which.PRESENTITIES:
                rows, more = await _take(tables.presentities(presentity), lambda _: True, limit)
                remark = _remark(states, "tags and ends are those before the last refresh")
                return _Listing(which, of_presentities, rows, more, tables.unreadable, place.fallback2db, remark)
            if not place.fallback2db:
                kept = KeptDialogs(DialogTables(link, place.subs_htable_size), progress=progress)
                dialogs, more = await _take(
                    kept.subscriptions(presentity), lambda row: fnmatchcase(row.watcher, watcher), limit
                )
                return _Listing(which, of_subscriptions, dialogs, more, 0, place.fallback2db)
            dialogs, more = await _take(
                tables.subscriptions(presentity), lambda row: fnmatchcase(row.watcher, watcher), limit
            )
            remark = _remark(states, "CSeq and status are not known")
            return _Listing(which, of_subscriptions, dialogs, more, tables.unreadable, place.fallback2db, remark)
    except (RedisAwayError, StoreError) as error:
        fail(
            f"Redis does not answer at {_without_password(place.redis_url)}: {str(error) or 'it is away'}. "
            + ("The set works without it, only slower" if place.fallback2db else "Subscriptions get 503 without it")
            + "; once it is back the tables fill again"
        )
    finally:
        await link.close()
        await database.close()


def _remark(states: PostgresStates, so: str) -> str:
    return "" if states.failure is None else f"Postgres does not answer ({states.failure}): {so}"


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


_Row = TypeVar("_Row", PresentityRow, SubscriptionRow)


async def _take(rows: AsyncIterator[_Row], takes: Callable[[_Row], bool], limit: int) -> tuple[list[_Row], bool]:
    """The rows that are taken, up to the limit, and whether there are more."""
    taken: list[_Row] = []
    async for row in rows:
        if not takes(row):
            continue
        if limit and len(taken) == limit:
            return taken, True
        taken.append(row)
    return taken, False


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """Shows how many buckets were read, where somebody sits in front of it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with ProgressBar(console=console, transient=True) as bar:
        task = bar.add_task("buckets", total=None)

        def told(bucket: int, buckets: int) -> None:
            bar.update(task, completed=bucket, total=buckets)

        yield told
