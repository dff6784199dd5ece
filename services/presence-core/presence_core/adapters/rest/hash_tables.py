"""The two hash tables in Redis: how full their buckets are."""

from enum import StrEnum
from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, Field

from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.paging import Page, read_cursor, write_cursor
from presence_core.adapters.rest.parts import Parts
from vedette.store.api_tokens import Role


class TableName(StrEnum):
    """The tables."""

    PRESENTITIES = "presentities"
    SUBSCRIPTIONS = "subscriptions"


class HashTableView(BaseModel):
    """A table."""

    name: TableName
    size: int = Field(description="pres_htable_size or subs_htable_size: it has 2 to this power buckets.")
    buckets: int
    used: int = Field(description="Buckets with entries.")
    entries: int = Field(description="Entries, remains of what has ended included.")
    fullest: int = Field(description="Entries of the fullest bucket.")
    is_cache: bool = Field(
        description="Whether Postgres has every record; false: the dialogs themselves are here (fallback2db=0)."
    )


class HashTableList(BaseModel):
    """Both of them."""

    items: list[HashTableView]


class BucketView(BaseModel):
    """A bucket."""

    bucket: int
    entries: int


class BucketPage(Page[BucketView]):
    """A page of buckets."""


_TABLE = {
    "name": "presentities",
    "size": 9,
    "buckets": 512,
    "used": 3,
    "entries": 7,
    "fullest": 3,
    "is_cache": True,
}


def add_hash_tables(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET", "/hash-tables", tag="system", role=Role.READER, whole_system=True, example={"items": [_TABLE]}
    )
    async def list_hash_tables() -> HashTableList:
        """List the two hash tables, and how full they are."""
        found: list[HashTableView] = []
        for name in TableName:
            buckets = _buckets(parts, name)
            counts = await _counts(parts, name, 0, buckets)
            found.append(
                HashTableView(
                    name=name,
                    size=buckets.bit_length() - 1,
                    buckets=buckets,
                    used=sum(count > 0 for count in counts),
                    entries=sum(counts),
                    fullest=max(counts),
                    is_cache=not (name is TableName.SUBSCRIPTIONS and parts.dialogs is not None),
                )
            )
        return HashTableList(items=found)

    @operations.add(
        "GET",
        "/hash-tables/{name}/buckets",
        tag="system",
        role=Role.READER,
        whole_system=True,
        errors=(422,),
        example={"items": [{"bucket": 17, "entries": 3}], "next": None},
    )
    async def list_buckets(
        name: Annotated[TableName, Path(description="Which table.")],
        cursor: Annotated[str | None, Query(max_length=2048, description="`next` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=4096, description="Buckets on a page, at most.")] = 512,
    ) -> BucketPage:
        """List the buckets of a table, the empty ones, too."""
        (first,) = read_cursor("buckets", cursor, (0,))
        buckets = _buckets(parts, name)
        first = min(max(first, 0), buckets)
        counts = await _counts(parts, name, first, min(limit, buckets - first))
        following = first + len(counts)
        return BucketPage(
            items=[BucketView(bucket=first + offset, entries=count) for offset, count in enumerate(counts)],
            next=write_cursor("buckets", (following,) if following < buckets else None),
        )


def _buckets(parts: Parts, name: TableName) -> int:
    if name is TableName.PRESENTITIES:
        return parts.published.buckets
    return len(parts.dialogs.tables.buckets) if parts.dialogs is not None else parts.cached_dialogs.buckets


async def _counts(parts: Parts, name: TableName, first: int, how_many: int) -> list[int]:
    """The entries of so many buckets. Raises RedisAwayError or StoreError."""
    counts: list[int] = []
    for start in range(first, first + how_many, 1024):
        part = min(1024, first + how_many - start)
        if name is TableName.PRESENTITIES:
            counts += await parts.published.counts(start, part)
        elif parts.dialogs is not None:
            counts += await parts.dialogs.tables.counts(start, part)
        else:
            counts += await parts.cached_dialogs.counts(start, part)
    return counts
