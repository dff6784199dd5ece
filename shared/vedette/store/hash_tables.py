"""The two hash tables in Redis: published state and subscription dialogs.

Each table has 2**size buckets; a bucket is a Redis hash whose key has the bucket number as hash tag, so that Redis
Cluster can spread them. An entry is `version (20 digits) expiry (12 digits) payload`; a write with an older version
than the one held changes nothing, and a removal leaves a tombstone (no payload) with its version until it expires.

Nothing is lost with these tables. A reader uses an entry only where its version is the one that Postgres just named.
What is in them and is no entry of ours counts as absent, and the next write or sweep replaces or removes it.
"""

import re
import struct
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from redis.exceptions import ResponseError

from vedette.records import DialogRecord, ManifestRecord, PublicationRecord
from vedette.store.redis_link import RedisLink, Script, ScriptCall

TOMBSTONE_SECONDS = 120
PREFIX = "vedette:1"
BUCKETS_IN_A_CALL = 64
"""A command for each bucket would cost the core more than the rest of a PUBLISH; one for all would stop Redis."""

log = structlog.get_logger()

_IS_ENTRY = """
local function is_entry(value)
    return #value >= 32 and not string.find(string.sub(value, 1, 32), '%D')
end
local function clear_what_is_no_hash(key)
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'hash' and kind ~= 'none' then
        redis.call('DEL', key)
    end
end
"""

# All entries are one argument: redis-py takes apart and counts each argument in Python.
_PUT = Script(
    f"""{_IS_ENTRY}
local changed, at, field, value, count = 0, 1
for k = 1, #KEYS do
    clear_what_is_no_hash(KEYS[k])
    count, at = struct.unpack('>I4', ARGV[1], at)
    for _ = 1, count do
        field, value, at = struct.unpack('>I4c0I4c0', ARGV[1], at)
        local held = redis.call('HGET', KEYS[k], field)
        if not held or not is_entry(held) or string.sub(held, 1, 20) <= string.sub(value, 1, 20) then
            redis.call('HSET', KEYS[k], field, value)
            changed = changed + 1
        end
    end
end
return changed
"""
)

# Not more values than Lua's stack takes at once, nor a command for each bucket, which costs the caller four times as
# much: a claim of 50 first NOTIFYs reads 50 buckets.
_GET = Script(
    """
local found, wrong, at = {}, 0, 1
for k = 1, #KEYS do
    local fields, count = {}
    count, at = struct.unpack('>I4', ARGV[1], at)
    for i = 1, count do
        fields[i], at = struct.unpack('>I4c0', ARGV[1], at)
    end
    for from = 1, count, 1000 do
        local to = math.min(count, from + 999)
        local values = redis.pcall('HMGET', KEYS[k], unpack(fields, from, to))
        if values.err and not string.find(values.err, 'WRONGTYPE', 1, true) then
            return values
        end
        wrong = wrong + (values.err and from == 1 and 1 or 0)
        for i = 1, to - from + 1 do
            found[#found + 1] = values[i] or false
        end
    end
end
return {wrong, found}
"""
)

_SWEEP = Script(
    f"""{_IS_ENTRY}
clear_what_is_no_hash(KEYS[1])
local removed = 0
local scanned = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[3])
local items = scanned[2]
for i = 1, #items, 2 do
    if not is_entry(items[i + 1]) or tonumber(string.sub(items[i + 1], 21, 32)) < tonumber(ARGV[2]) then
        redis.call('HDEL', KEYS[1], items[i])
        removed = removed + 1
    end
end
return {{scanned[1], removed}}
"""
)


class Entry(NamedTuple):
    """One write: the presentity's hash names the bucket; payload b"" is a tombstone; `expires` in epoch seconds."""

    presentity_hash: int
    field: bytes
    version: int
    expires: float
    payload: bytes


class Held(NamedTuple):
    """What is held under a field; `expires` in epoch seconds."""

    field: bytes
    version: int
    expires: float
    payload: bytes


class HashTable:
    """One of the tables."""

    def __init__(self, link: RedisLink, name: str, size: int) -> None:
        """`size` is the exponent: 2**size buckets (`pres_htable_size`, `subs_htable_size`)."""
        self._link = link
        self._name = name
        self._mask = (1 << size) - 1
        self.unreadable = 0
        """What was found and is no entry of ours."""

    def bucket(self, presentity_hash: int) -> int:
        """The bucket of a presentity."""
        return presentity_hash & self._mask

    @property
    def database(self) -> int:
        """The number of the database that it is in."""
        return self._link.database

    @property
    def buckets(self) -> int:
        """How many buckets there are."""
        return self._mask + 1

    def key(self, bucket: int) -> str:
        """The Redis key of a bucket."""
        return f"{PREFIX}:{self._name}:{{{bucket}}}"

    async def put(self, entries: Iterable[Entry]) -> None:
        """Write entries, each only over an older or equal version. Raises RedisAwayError."""
        for call in self.writes(entries):
            await self._link.run_scripts([call])

    def writes(self, entries: Iterable[Entry]) -> Iterator[ScriptCall]:
        """The calls that write entries, each only over an older or equal version."""
        by_bucket: dict[int, list[bytes]] = {}
        for entry in entries:
            value = b"%020d%012d%b" % (entry.version, int(entry.expires), entry.payload)
            by_bucket.setdefault(self.bucket(entry.presentity_hash), []).append(
                b"%b%b%b%b" % (_number(len(entry.field)), entry.field, _number(len(value)), value)
            )
        for some in _parts(list(by_bucket)):
            written = [part for bucket in some for part in (_number(len(by_bucket[bucket])), *by_bucket[bucket])]
            yield ScriptCall(_PUT, [self.key(bucket) for bucket in some], [b"".join(written)])

    async def get(self, wanted: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes] | None]:
        """(version, payload) for each (presentity hash, field), None where absent. Raises RedisAwayError."""
        by_bucket: dict[int, list[int]] = {}
        for index, (presentity_hash, _) in enumerate(wanted):
            by_bucket.setdefault(self.bucket(presentity_hash), []).append(index)
        found: list[tuple[int, bytes] | None] = [None] * len(wanted)
        if not wanted:
            return found
        orders: list[list[int]] = []
        calls: list[ScriptCall] = []
        for buckets in _parts(list(by_bucket)):
            orders.append([index for bucket in buckets for index in by_bucket[bucket]])
            packed = [_packed([wanted[index][1] for index in by_bucket[bucket]]) for bucket in buckets]
            calls.append(ScriptCall(_GET, [self.key(bucket) for bucket in buckets], [b"".join(packed)]))
        for order, (wrong, values) in zip(orders, await self._link.run_scripts(calls), strict=True):
            for _ in range(wrong):
                self.distrust("no hash", b"")
            for index, value in zip(order, values, strict=True):
                if value is None:
                    continue
                if _HEAD.match(value):
                    found[index] = (int(value[:20]), value[32:])
                else:
                    self.distrust("no entry", wanted[index][1])
        return found

    def _values(self, answer: "list[bytes | None] | Exception") -> list[bytes | None]:
        """What one bucket holds: nothing where its key is not a hash."""
        if not isinstance(answer, Exception):
            return answer
        if not str(answer).startswith("WRONGTYPE"):
            raise answer
        self.distrust("no hash", b"")
        return []

    def distrust(self, why: str, field: bytes) -> None:
        """Something in the table is not ours, or cannot be read; it counts as absent."""
        self.unreadable += 1
        log.warning("cache entry cannot be read", table=self._name, reason=why, field=field.decode(errors="replace"))

    async def sweep(self, bucket: int, now: float) -> int:
        """How many expired entries of a bucket were removed. Raises RedisAwayError."""
        cursor, removed = "0", 0
        reached: bytes
        count: int
        while True:
            [(reached, count)] = await self._link.run_scripts(
                [ScriptCall(_SWEEP, [self.key(bucket)], [cursor, str(int(now)), "500"])]
            )
            removed += count
            cursor = reached.decode()
            if cursor == "0":
                return removed

    async def count(self, bucket: int) -> int:
        """Entries in a bucket, tombstones included. Raises RedisAwayError."""

        async def read() -> int:
            answer: int = await self._link.client.hlen(self.key(bucket))
            return answer

        return await self._link.run(read)

    async def counts(self, first: int, how_many: int) -> list[int]:
        """Entries in each of so many buckets from the first on, tombstones included. Raises RedisAwayError."""
        keys = [self.key(bucket) for bucket in range(first, min(first + how_many, self.buckets))]

        async def read() -> list[int]:
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hlen(key)
                answers = await pipeline.execute(raise_on_error=False)
            return [answer if isinstance(answer, int) else len(self._values(answer)) for answer in answers]

        return await self._link.run(read)

    async def pages(self, bucket: int, about: int = 200) -> AsyncIterator[list[Held]]:
        """The entries of a bucket in pages of about that many, each once, without tombstones.

        An entry that is written meanwhile may be among them or not. Raises RedisAwayError.
        """
        cursor, seen = 0, set[bytes]()
        while True:
            at = cursor

            async def read(at: int = at) -> tuple[int, dict[bytes, bytes]]:
                try:
                    # The stubs let it be text as well, which it is only with another setting of the client.
                    answer: Any = await self._link.client.hscan(self.key(bucket), at, count=about)
                except ResponseError as error:
                    self._values(error)
                    return 0, {}
                cursor, values = answer
                return cursor, values

            cursor, values = await self._link.run(read)
            page: list[Held] = []
            for field, value in values.items():
                if field in seen:
                    continue
                seen.add(field)
                if not _HEAD.match(value):
                    self.distrust("no entry", field)
                elif len(value) > _HEAD_LENGTH:
                    page.append(Held(field, int(value[:20]), float(value[20:_HEAD_LENGTH]), value[_HEAD_LENGTH:]))
            if page:
                yield page
            if not cursor:
                return


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What the readers below raise for a payload that is not ours; msgspec lets bad UTF-8 and too deep a nesting through
as what they are."""

_number = struct.Struct(">I").pack
_HEAD_LENGTH = 32
_HEAD = re.compile(rb"[0-9]{32}")
_encode = msgspec.msgpack.Encoder().encode
read_dialog = msgspec.msgpack.Decoder(DialogRecord).decode
read_publication = msgspec.msgpack.Decoder(PublicationRecord).decode
read_manifest = msgspec.msgpack.Decoder(ManifestRecord).decode


def manifest_field(uri: str, event: str) -> bytes:
    """The field of a presentity's manifest."""
    return f"{event}|{uri}".encode()


def publication_field(uri: str, event: str, publication_id: bytes) -> bytes:
    """The field of one publication."""
    return f"{event}|{uri}|{publication_id.hex()}".encode()


def dialog_field(dialog_id: bytes) -> bytes:
    """The field of a dialog."""
    return dialog_id.hex().encode()


def manifest_entry(presentity_hash: int, uri: str, event: str, record: ManifestRecord, expires: float) -> Entry:
    """The write of a manifest."""
    return Entry(presentity_hash, manifest_field(uri, event), record.version, expires, _encode(record))


def publication_entry(presentity_hash: int, uri: str, event: str, record: PublicationRecord) -> Entry:
    """The write of a publication; its version is its sequence, which rises with each answer."""
    field = publication_field(uri, event, record.publication_id)
    return Entry(presentity_hash, field, record.sequence, record.expires, _encode(record))


def dialog_entry(record: DialogRecord) -> Entry:
    """The write of a dialog; its version is its revision."""
    field = dialog_field(record.dialog_id)
    return Entry(record.presentity_hash, field, record.revision, record.expires, _encode(record))


def tombstone(presentity_hash: int, field: bytes, version: int, now: float) -> Entry:
    """The removal of an entry at a version."""
    return Entry(presentity_hash, field, version, now + TOMBSTONE_SECONDS, b"")


def _parts(buckets: Sequence[int]) -> Iterator[Sequence[int]]:
    """The buckets in as many calls as they need."""
    for start in range(0, len(buckets), BUCKETS_IN_A_CALL):
        yield buckets[start : start + BUCKETS_IN_A_CALL]


def _packed(fields: Sequence[bytes]) -> bytes:
    """Their number, and each with its length, as the script that reads takes them."""
    return _number(len(fields)) + b"".join([part for field in fields for part in (_number(len(field)), field)])
