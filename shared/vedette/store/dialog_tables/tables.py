"""Calls to the scripts: one for each bucket, in one pipeline, and a clear word on what failed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from redis.exceptions import NoScriptError, RedisError, ResponseError

from vedette.store.database import StoreUnavailableError, StoreUndecidedError
from vedette.store.dialog_tables import scripts
from vedette.store.dialog_tables.rows import DeliveryRow, DialogRow, read_delivery_row, read_dialog_row
from vedette.store.hash_tables import PREFIX
from vedette.store.redis_link import RedisLink, Script

OWED = f"{PREFIX}:agenda:owed"
"""Buckets by when a dialog in them owes a NOTIFY: a hint, like the bell; `look_everywhere` finds what it misses."""
ENDING = f"{PREFIX}:agenda:ending"
"""Buckets by when a dialog in them ends."""
FULL = f"{PREFIX}:dialogs-full"
"""The epoch in which all buckets were loaded."""
SLICE = 512
"""Buckets in one pipeline."""
LOAD_PATIENCE = 4.0
"""Seconds that a call waits for the tables to be filled; below the edge's timeout."""

Argument = bytes | str | int | float
Answer = TypeVar("Answer")


class DialogTables:
    """The table of subscription dialogs: 2**size buckets.

    Methods raise StoreUnavailableError where Redis surely has not done it, StoreUndecidedError where it may have.
    """

    def __init__(self, link: RedisLink, size: int) -> None:
        """`size` is the exponent, `subs_htable_size`."""
        self._link = link
        self.size = size
        self.mask = (1 << size) - 1
        self.epoch = 0
        """Of the dialogs; a bucket of another epoch counts as not loaded."""
        self._fill: Callable[[], Awaitable[None]] | None = None
        self._filling: asyncio.Future[None] | None = None

    @property
    def buckets(self) -> range:
        """All of them."""
        return range(self.mask + 1)

    def bucket(self, presentity_hash: int) -> int:
        """The bucket of a presentity."""
        return presentity_hash & self.mask

    def key(self, bucket: int) -> str:
        """The Redis key of a bucket; its other keys begin with it."""
        return f"{PREFIX}:dialogs:{{{bucket}}}"

    def filled_by(self, fill: Callable[[], Awaitable[None]]) -> None:
        """`fill` loads the buckets that are not there (`absent`)."""
        self._fill = fill

    async def run(self, script: Script, calls: Mapping[int, Sequence[Argument]]) -> dict[int, Any]:
        """What the script has found in each bucket, for the arguments after the epoch.

        Buckets that are empty because Redis was are filled first.
        """
        found: dict[int, Any] = {}
        left = dict(calls)
        for last in (False, True):
            absent = await self._run_once(script, left, found)
            if not absent:
                return found
            left = {bucket: left[bucket] for bucket in absent}
            if not last:
                await self._fill_patiently(undecided=bool(found))
        raise _failure("dialogs are not loaded", undecided=bool(found))

    async def _run_once(
        self, script: Script, calls: Mapping[int, Sequence[Argument]], found: dict[int, Any]
    ) -> list[int]:
        """Call the script; the buckets that are not loaded."""
        absent: list[int] = []
        agenda: dict[str, dict[int, float]] = {OWED: {}, ENDING: {}}
        keyed = {bucket: (self.key(bucket), (self.epoch, *arguments)) for bucket, arguments in calls.items()}
        for bucket, answer in (await self._call(script, keyed, undecided=bool(found))).items():
            state, owed, ending, what = answer
            if state == b"absent":
                absent.append(bucket)
            elif state == b"superseded":
                raise _failure("somebody else has the dialogs now; start this process again", undecided=bool(found))
            else:
                found[bucket] = what
                if owed:
                    agenda[OWED][bucket] = float(owed)
                if ending:
                    agenda[ENDING][bucket] = float(ending)
        await self._put_down(agenda)
        return absent

    async def _put_down(self, agenda: Mapping[str, Mapping[int, float]]) -> None:
        """Note when the buckets are to be looked at; where that fails they are found later."""
        if not any(agenda.values()) or not self._link.available:
            return
        try:
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for key, times in agenda.items():
                    if times:
                        pipeline.zadd(key, {str(bucket): at for bucket, at in times.items()}, lt=True)
                await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError):
            return

    async def take(self, agenda: str, limit: int) -> list[int]:
        """The buckets of an agenda whose time has come: whoever took one runs a script there, which puts it back."""
        found = await self._call(scripts.AGENDA, {0: (agenda, (limit,))})
        return [int(bucket) for bucket in found[0]]

    async def first_times(self, kind: str, buckets: Iterable[int]) -> dict[int, float]:
        """The first score in the bucket's zset of that name (`owed`, `expires`, ...), where there is one."""
        wanted = list(buckets)

        async def read() -> list[Any]:
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for bucket in wanted:
                    pipeline.zrange(f"{self.key(bucket)}:{kind}", 0, 0, withscores=True)
                answers: list[Any] = await pipeline.execute()
                return answers

        rows = await self.command(read)
        return {bucket: float(row[0][1]) for bucket, row in zip(wanted, rows, strict=True) if row}

    async def look_everywhere(self) -> None:
        """Put on the agenda what every bucket has."""
        for start in range(0, len(self.buckets), SLICE):
            part = self.buckets[start : start + SLICE]
            await self._put_down(
                {OWED: await self.first_times("owed", part), ENDING: await self.first_times("expires", part)}
            )

    async def absent(self) -> list[int]:
        """The buckets that were not loaded in this epoch."""
        found: list[int] = []
        for start in range(0, len(self.buckets), SLICE):
            part = self.buckets[start : start + SLICE]

            async def read(part: range = part) -> list[bytes | None]:
                async with self._link.client.pipeline(transaction=False) as pipeline:
                    for bucket in part:
                        pipeline.hget(self.key(bucket), "epoch")
                    answers: list[bytes | None] = await pipeline.execute()
                    return answers

            epochs = await self.command(read)
            found += [bucket for bucket, epoch in zip(part, epochs, strict=True) if int(epoch or 0) < self.epoch]
        return found

    async def is_full(self) -> bool:
        """Whether every bucket was loaded: false where Redis has lost what it had."""
        mark = await self.command(lambda: self._link.client.get(FULL))
        return bool(mark == str(self.epoch).encode())

    async def set_full(self) -> None:
        """Every bucket was loaded."""
        await self.command(lambda: self._link.client.set(FULL, str(self.epoch)))

    async def now(self) -> float:
        """Redis's time, seconds since the epoch."""
        seconds, microseconds = await self.command(lambda: self._link.client.time())
        return float(seconds) + float(microseconds) / 1_000_000

    async def watchers(
        self, calls: Mapping[str, tuple[Sequence[str], Sequence[tuple[float, str]]]]
    ) -> dict[str, int]:
        """How many dialogs each watcher (`user@domain`) has, after some were forgotten and others held to an end."""
        names = list(calls)
        keyed: dict[int, tuple[str, Sequence[Argument]]] = {}
        for index, name in enumerate(names):
            forget, hold = calls[name]
            arguments: list[Argument] = [len(forget), *forget]
            for end, dialog in hold:
                arguments += (repr(end), dialog)
            keyed[index] = (f"{PREFIX}:watcher:{{{name}}}", arguments)
        found = await self._call(scripts.WATCHER, keyed)
        return {name: int(found[index]) for index, name in enumerate(names)}

    async def counts(self, first: int, how_many: int) -> list[int]:
        """Dialogs in each of so many buckets from the first on, tombstones included."""
        buckets = self.buckets[first : first + how_many]

        async def read() -> list[int]:
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for bucket in buckets:
                    pipeline.hlen(f"{self.key(bucket)}:rows")
                found: list[int] = await pipeline.execute()
                return found

        return await self.command(read)

    async def pages(self, bucket: int, about: int = 200) -> AsyncIterator[list[tuple[DialogRow, DeliveryRow | None]]]:
        """The dialogs of a bucket in pages of about that many, each once, tombstones included.

        One that is written meanwhile may be among them or not.
        """
        key = self.key(bucket)
        cursor, seen = 0, set[bytes]()
        while True:

            async def read(at: int = cursor) -> tuple[int, dict[bytes, bytes], list[bytes | None]]:
                answer: Any = await self._link.client.hscan(f"{key}:rows", at, count=about)
                following, rows = answer
                sent: Any = await self._link.client.hmget(f"{key}:delivery", list(rows)) if rows else []
                return following, rows, sent

            cursor, rows, sent = await self.command(read)
            found = [
                (read_dialog_row(row), read_delivery_row(delivery) if delivery else None)
                for (id_, row), delivery in zip(rows.items(), sent, strict=True)
                if id_ not in seen
            ]
            seen.update(rows)
            if found:
                yield found
            if not cursor:
                return

    async def remove_former(self, size: int) -> None:
        """Remove the buckets of a former table of another size, as far as this one does not have them."""
        for bucket in range(self.mask + 1, 1 << size):

            async def scan(bucket: int = bucket) -> list[bytes]:
                key = self.key(bucket)
                return [name async for name in self._link.client.scan_iter(match=f"{_literal(key)}*", count=10_000)]

            names = await self.command(scan)
            if names:
                await self.command(lambda names=names: self._link.client.delete(*names))  # type: ignore[misc]

    async def command(self, run: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to commands that may be repeated."""
        if not self._link.available:
            raise StoreUnavailableError("Redis is away")
        try:
            return await run()
        except (RedisError, OSError, TimeoutError) as error:
            self._link.lost()
            raise StoreUnavailableError(f"Redis: {type(error).__name__}: {error}") from error

    async def _call(
        self, script: Script, calls: Mapping[int, tuple[str, Sequence[Argument]]], *, undecided: bool = False
    ) -> dict[int, Any]:
        """The answers of the script to each call, in the order given."""
        answers: dict[int, Any] = {}
        left = list(calls)
        for _ in range(2):
            if not left:
                break
            await self._reach(undecided=undecided or bool(answers))
            results = await self._send(script, [(index, *calls[index]) for index in left])
            unknown: list[int] = []
            for index, result in zip(left, results, strict=True):
                if isinstance(result, NoScriptError):
                    unknown.append(index)
                elif isinstance(result, Exception):
                    done = bool(answers) or any(not isinstance(other, Exception) for other in results)
                    refused = isinstance(result, ResponseError)
                    raise _failure(
                        f"Redis: {type(result).__name__}: {result}", undecided=undecided or done or not refused
                    )
                else:
                    answers[index] = result
            left = unknown
            if left:
                await self.command(lambda: self._link.client.script_load(script.text))
        if left:
            raise _failure("Redis forgets its scripts", undecided=undecided or bool(answers))
        return answers

    async def _reach(self, *, undecided: bool) -> None:
        """Have a connection that works, so that what fails after this was on its way."""
        if not self._link.available:
            raise _failure("Redis is away", undecided=undecided)
        pool = self._link.client.connection_pool
        try:
            connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            self._link.lost()
            raise _failure(f"Redis: {type(error).__name__}: {error}", undecided=undecided) from error
        await pool.release(connection)

    async def _send(self, script: Script, calls: Sequence[tuple[int, str, Sequence[Argument]]]) -> list[Any]:
        try:
            async with self._link.client.pipeline(transaction=False) as pipeline:
                for _, key, arguments in calls:
                    pipeline.evalsha(script.sha, 1, key, *arguments)
                results: list[Any] = await pipeline.execute(raise_on_error=False)
                return results
        except (RedisError, OSError, TimeoutError) as error:
            self._link.lost()
            raise StoreUndecidedError(f"Redis: {type(error).__name__}: {error}") from error

    async def _fill_patiently(self, *, undecided: bool) -> None:
        """Have the tables filled, once for all who wait for it; who has waited long enough is told so."""
        if self._fill is None:
            raise _failure("dialogs are not loaded", undecided=undecided)
        if self._filling is None or self._filling.done():
            self._filling = asyncio.ensure_future(self._fill())
        try:
            await asyncio.wait_for(asyncio.shield(self._filling), LOAD_PATIENCE)
        except TimeoutError:
            raise _failure("dialogs are being loaded", undecided=undecided) from None


def _failure(reason: str, *, undecided: bool) -> StoreUnavailableError | StoreUndecidedError:
    return StoreUndecidedError(reason) if undecided else StoreUnavailableError(reason)


def _literal(key: str) -> str:
    """A key as a pattern that matches only it."""
    return "".join(f"\\{character}" if character in "*?[]{}\\" else character for character in key)
