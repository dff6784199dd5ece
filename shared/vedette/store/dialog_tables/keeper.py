"""The copy of the tables in Postgres: written every `db_update_period` and at shutdown, read where Redis is empty."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
import structlog

from vedette.store.database import Database, PoisonedError, StoreError, StoreUnavailableError
from vedette.store.dialog_tables import scripts
from vedette.store.dialog_tables.rows import DeliveryRow, DialogRow, pack, read_delivery_row, read_dialog_row
from vedette.store.dialog_tables.scripts import CSEQ_MARGIN
from vedette.store.dialog_tables.tables import SLICE, Argument, DialogTables

LOCK = 0x7664_6B70
"""Of Postgres: one process at a time reads or writes the copy."""
LOCK_POLL = 0.05
TICK = 1.0
PAGE = 1000
BATCH = 500
CHANGES_OF_A_BUCKET = 100

log = structlog.get_logger()

_PAGE = """
SELECT w.presentity_hash, w.dialog_id, w.presentity_uri, w.event, w.event_id, w.watcher_username, w.watcher_domain,
    w.callid, w.to_tag, w.from_tag, w.to_uri, w.from_uri, w.remote_cseq, w.contact, w.record_route, w.local_contact,
    w.accept, w.user_agent, w.sip_instance, w.edge_instance, w.edge_address, w.socket_info, w.last_key, w.granted,
    w.status, w.reason, w.status_event, w.revision,
    extract(epoch FROM w.expires - clock_timestamp())::float8 AS expires,
    extract(epoch FROM w.created - clock_timestamp())::float8 AS created,
    extract(epoch FROM w.ended - clock_timestamp())::float8 AS ended,
    d.status AS delivery_status, d.revision AS delivery_revision, d.local_cseq, d.version, d.sent_version,
    d.failures, d.edge_instance AS delivery_edge, d.transport, d.last_status,
    extract(epoch FROM d.last_answered - clock_timestamp())::float8 AS last_answered,
    extract(epoch FROM d.not_before - clock_timestamp())::float8 AS not_before, s.version AS state_version
FROM active_watchers AS w
LEFT JOIN delivery AS d USING (presentity_hash, dialog_id)
LEFT JOIN presentity_state AS s
    ON s.presentity_hash = w.presentity_hash AND s.presentity_uri = w.presentity_uri AND s.event = w.event
WHERE (w.presentity_hash, w.dialog_id) > ($1, $2) AND (w.presentity_hash & $3::int4) = ANY ($4::int4[])
ORDER BY w.presentity_hash, w.dialog_id
LIMIT $5
"""


async def keep_in_postgres(database: Database) -> None:
    """Have Postgres keep the dialogs from now on (`fallback2db=1`). Raises StoreError."""
    rows = await database.fetch("SELECT * FROM keep_dialogs_in_v1(0, $1)", CSEQ_MARGIN)
    if rows[0]["former_size"] is not None:
        log.warning("dialogs are in Postgres again", former_size=rows[0]["former_size"])


class DialogKeeper:
    """`open` and `load` before the first call to the tables, `flush` after the last one; run `run` as a task."""

    def __init__(self, database: Database, tables: DialogTables, *, period: int) -> None:
        """`period` in seconds (`db_update_period`); 0: dialogs are written at shutdown only."""
        self._database = database
        self._tables = tables
        self._period = period
        self._soon = asyncio.Event()
        self._own_turn = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        tables.filled_by(self._fill)

    async def open(self) -> None:
        """Learn the epoch; begin a new one where Postgres, or a table of another size, had the dialogs."""
        rows = await self._database.fetch("SELECT * FROM keep_dialogs_in_v1($1, $2)", self._tables.size, CSEQ_MARGIN)
        self._tables.epoch = rows[0]["epoch"]
        former = rows[0]["former_size"]
        if former is not None:
            log.warning("dialogs are in Redis now", size=self._tables.size, former_size=former)
            if former > self._tables.size:
                await self._tables.remove_former(former)

    def soon(self) -> None:
        """Some dialog waits until Postgres has its CSeq."""
        self._soon.set()

    async def run(self) -> None:
        """Write the copy every period, and fill a Redis that has lost everything within a second, for ever."""
        due = time.monotonic() + self._period
        away = False
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._soon.wait()
            soon = self._soon.is_set()
            self._soon.clear()
            try:
                if not await self._tables.is_full():
                    await self.load()
                if away:
                    # What was to be looked at when Redis went may have been forgotten with a call that failed.
                    await self._tables.look_everywhere()
                    away = False
                if soon or (self._period and time.monotonic() >= due):
                    due = time.monotonic() + self._period
                    await self.flush(patience=TICK if soon else 0.0)
            except StoreError as error:
                away = True
                log.warning("cannot keep dialogs in Postgres", reason=str(error))

    async def _fill(self) -> None:
        try:
            await self.load()
        except StoreError:
            raise
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise StoreUnavailableError(f"cannot load dialogs: {type(error).__name__}: {error}") from error

    async def load(self, *, patience: float = 30.0) -> int:
        """Fill the buckets that are not there from Postgres; how many dialogs. Raises StoreError."""
        taken = 0
        async with self._alone(patience) as connection:
            absent = await self._tables.absent()
            if absent:
                loads = await connection.fetchval(
                    "SELECT begin_loading_dialogs_v1($1, $2, $3, $4)",
                    self._tables.epoch,
                    self._tables.mask,
                    absent,
                    CSEQ_MARGIN,
                )
                # A dialog that Postgres never had may be made again by a late copy of its SUBSCRIBE: its CSeq begins
                # above those that may have been used.
                head: tuple[Argument, ...] = (secrets.token_hex(8), 0, (loads - 1) * 1000 % 2**30)
                taken = await self._load_rows(connection, absent, head)
                for start in range(0, len(absent), SLICE):
                    part = absent[start : start + SLICE]
                    await self._tables.run(scripts.LOAD, dict.fromkeys(part, (head[0], 1, head[2])))
                log.info("dialogs loaded", dialogs=taken, buckets=len(absent))
            await self._tables.set_full()
        return taken

    async def _load_rows(
        self, connection: "asyncpg.Connection[asyncpg.Record]", absent: list[int], head: tuple[Argument, ...]
    ) -> int:
        taken = 0
        after: tuple[int, bytes] = (-(2**31), b"")
        while True:
            rows = await connection.fetch(_PAGE, *after, self._tables.mask, absent, PAGE)
            if not rows:
                return taken
            now = await self._tables.now()
            calls: dict[int, list[Argument]] = {}
            watchers: dict[str, tuple[list[str], list[tuple[float, str]]]] = {}
            for row in rows:
                dialog, delivery = _dialog(row, now), _delivery(row, now)
                calls.setdefault(self._tables.bucket(dialog.presentity_hash), list(head)).append(
                    pack((dialog, delivery if delivery is not None else False))
                )
                if not dialog.ended:
                    name = f"{dialog.watcher_username}@{dialog.watcher_domain}"
                    watchers.setdefault(name, ([], []))[1].append((dialog.expires, dialog.dialog_id))
            await self._tables.run(scripts.LOAD, calls)
            await self._tables.watchers(watchers)
            taken += len(rows)
            after = (rows[-1]["presentity_hash"], rows[-1]["dialog_id"])

    async def flush(self, *, patience: float) -> int:
        """Write what has changed to Postgres; how many dialogs. Raises StoreError.

        While another process does so nothing is written, unless it is over within `patience` seconds.
        """
        written = 0
        try:
            async with self._alone(patience):
                for start in range(0, len(self._tables.buckets), SLICE):
                    written += await self._flush_part(self._tables.buckets[start : start + SLICE])
        except _BusyError:
            return 0
        if written:
            log.debug("dialogs written to Postgres", dialogs=written)
        return written

    async def _flush_part(self, part: range) -> int:
        written = 0
        buckets = list(await self._tables.first_times("dirty", part))
        while buckets:
            found = await self._tables.run(scripts.CHANGES, dict.fromkeys(buckets, (CHANGES_OF_A_BUCKET,)))
            changes = [
                (bucket, _Change(float(now), *change)) for bucket, (now, rows) in found.items() for change in rows
            ]
            for start in range(0, len(changes), BATCH):
                batch = changes[start : start + BATCH]
                await self._write([change for _, change in batch])
                calls: dict[int, list[Argument]] = {}
                for bucket, change in batch:
                    cseq = "" if change.delivery is None else change.delivery.local_cseq
                    calls.setdefault(bucket, []).extend((change.id, change.number, cseq))
                await self._tables.run(scripts.KEPT, calls)
            written += len(changes)
            buckets = [bucket for bucket, (_, rows) in found.items() if len(rows) == CHANGES_OF_A_BUCKET]
        return written

    async def _write(self, changes: "Sequence[_Change]") -> None:
        """One call; what Postgres cannot take is left out."""
        text = msgspec.json.encode([change.columns() for change in changes]).decode()
        try:
            await self._database.fetch("SELECT keep_dialogs_v1($1, $2)", self._tables.epoch, text)
            if any(change.is_answered for change in changes):
                await self._database.fetch("SELECT keep_last_answers_v1($1)", text)
        except PoisonedError as error:
            if len(changes) > 1:
                middle = len(changes) // 2
                await self._write(changes[:middle])
                await self._write(changes[middle:])
            else:
                log.warning("dialog cannot be kept in Postgres", dialog=changes[0].id, reason=str(error))

    async def close(self) -> None:
        """Close the connection that holds the lock."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                await self._connection.close(timeout=1)

    @contextlib.asynccontextmanager
    async def _alone(self, patience: float) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
        """While this is open nobody else reads or writes the copy. Raises _BusyError after `patience` seconds."""
        deadline = time.monotonic() + patience
        async with self._own_turn:
            connection = await self._connect()
            try:
                await _take_lock(connection, deadline)
                yield connection
                await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
            except _BusyError:
                raise
            except BaseException as error:
                # The end of the connection sets the lock free.
                connection.terminate()
                self._connection = None
                if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)):
                    raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error
                raise

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """The connection for the lock, which has no limit of time."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
            await self._connection.execute("SET statement_timeout = 0")
        return self._connection


async def _take_lock(connection: "asyncpg.Connection[asyncpg.Record]", deadline: float) -> None:
    """Return with the lock of the copy. Raises _BusyError."""
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        if time.monotonic() >= deadline:
            raise _BusyError("another process reads or writes the dialogs in Postgres")
        await asyncio.sleep(LOCK_POLL)


class _BusyError(StoreUnavailableError):
    """The lock is with another process."""


class _Change:
    """A dialog that Postgres does not have as it is."""

    def __init__(self, now: float, id_: bytes, number: bytes, row: bytes, delivery: bytes) -> None:
        self._now = now
        self.id = id_.decode()
        self.number = number
        self._row = read_dialog_row(row)
        self.delivery: DeliveryRow | None = read_delivery_row(delivery) if delivery else None

    @property
    def is_answered(self) -> bool:
        """Whether a NOTIFY was answered in it."""
        return self.delivery is not None and self.delivery.last_answered > 0

    def columns(self) -> Mapping[str, object]:
        """What `keep_dialogs_v1` takes: times as seconds from now."""
        row: dict[str, object] = {name: getattr(self._row, name) for name in DialogRow.__struct_fields__}
        for name in ("expires", "created", "ended"):
            at = float(getattr(self._row, name))
            row[name] = at - self._now if at else None
        sent = self.delivery
        if sent is not None:
            outstanding = sent.outstanding_cseq != 0
            row |= {
                "delivery_status": sent.status,
                "delivery_revision": sent.revision,
                "delivery_local_cseq": sent.local_cseq,
                "delivery_version": sent.version,
                "delivery_sent_version": 0 if sent.owed else sent.sent_version,
                "delivery_acked_digest": sent.acked_digest or None,
                "delivery_failures": sent.failures,
                "delivery_outstanding_cseq": sent.outstanding_cseq if outstanding else None,
                "delivery_outstanding_notifier": sent.outstanding_notifier if outstanding else None,
                "delivery_outstanding_until": sent.outstanding_until - self._now if outstanding else None,
                "delivery_not_before": sent.not_before - self._now if sent.not_before > self._now else None,
                "delivery_edge_instance": sent.edge_instance or None,
                "delivery_transport": sent.transport,
                "delivery_last_status": sent.last_status if sent.last_answered else None,
                "delivery_last_answered": sent.last_answered - self._now if sent.last_answered else None,
            }
        return row


def _dialog(row: Any, now: float) -> DialogRow:
    columns = {name: row[name] for name in DialogRow.__struct_fields__ if name != "changed"}
    for name in ("expires", "created", "ended"):
        columns[name] = 0.0 if columns[name] is None else now + columns[name]
    for name in ("dialog_id", "last_key"):
        columns[name] = columns[name].hex()
    return DialogRow(**columns)


def _delivery(row: Any, now: float) -> DeliveryRow | None:
    if row["delivery_status"] is None:
        return None
    return DeliveryRow(
        status=row["delivery_status"],
        revision=row["delivery_revision"],
        local_cseq=row["local_cseq"],
        kept_cseq=row["local_cseq"],
        version=row["version"],
        edge_instance=row["delivery_edge"] or "",
        transport=row["transport"],
        sent_version=row["sent_version"],
        wanted_version=row["state_version"] or 0,
        # Who watches the watchers may have seen what we have forgotten, and gets them all.
        owed=int(row["sent_version"] == 0 or row["event"].endswith(".winfo")),
        failures=row["failures"],
        not_before=0.0 if row["not_before"] is None else now + row["not_before"],
        last_status=row["last_status"] or 0,
        last_answered=0.0 if row["last_answered"] is None else now + row["last_answered"],
    )
