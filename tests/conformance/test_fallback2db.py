"""`fallback2db=0` on the wire: dialogs live in Redis, where a search stops; Postgres has a copy (docs/modes.md)."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from tests.clusters import lay_cluster
from tests.conformance.observed import notes, saying, subscription, subscriptions
from tests.folders import open_folder
from tests.phone import Dialog, MakePhone, Message, Phone, learn, opened, pidf, token
from tests.running_set import RunningSet, start, started
from tests.wait import until
from vedette.identity import parse_to_tag, presentity_hash
from vedette.rpc.client import TURN
from vedette_cli.supervisor.control import ask

SUBS_SIZE, PRES_SIZE = 3, 2
CORES = 2
NEVER = {"VEDETTE_FALLBACK2DB": "0", "VEDETTE_DB_UPDATE_PERIOD": "0"}
"""Dialogs are written to Postgres at shutdown only."""


class Stores:
    """Postgres and Redis of a set, to look and to do harm."""

    def __init__(self, running: RunningSet, postgres: asyncpg.Connection, redis_url: str) -> None:
        self.running = running
        self.postgres = postgres
        self.redis_url = redis_url
        self.redis: Any = redis.asyncio.Redis.from_url(redis_url)

    async def row(self, dialog: Dialog) -> asyncpg.Record | None:
        """The dialog as Postgres has it, with its CSeqs; None where it is not there or has ended."""
        named = parse_to_tag(dialog.to_tag)
        assert named is not None
        return await self.postgres.fetchrow(
            "SELECT * FROM active_watchers JOIN delivery USING (presentity_hash, dialog_id) "
            "WHERE dialog_id = $1 AND ended IS NULL",
            named[1],
        )

    async def row_where(self, dialog: Dialog, local_cseq: int) -> asyncpg.Record:
        """The dialog as soon as Postgres has it with this CSeq."""

        async def known() -> asyncpg.Record | None:
            row = await self.row(dialog)
            return row if row is not None and row["local_cseq"] == local_cseq else None

        row = await until(known, f"Postgres has the dialog with CSeq {local_cseq}")
        assert row is not None
        return row

    async def buckets(self, table: str) -> set[int]:
        """The numbers of the buckets of a table that Redis has."""
        keys = [key.decode() for key in await self.redis.keys(f"vedette:1:{table}:{{*")]
        return {int(key.partition("{")[2].partition("}")[0]) for key in keys}

    async def kill_redis(self) -> None:
        """Redis dies with all it had, and the supervisor starts an empty one."""
        killed = await self.running.kill("redis")

        async def another() -> bool:
            (row,) = await self.running.processes("redis")
            return row["pid"] not in (None, killed)

        await until(another, "another Redis runs")

    async def until_all_reach_redis(self) -> None:
        """Return when no core refuses because of it any more: after a failure each leaves it alone for a while.

        Each core has its turn, for TURN seconds.
        """
        async with opened(self.running) as phone:

            async def all_do() -> bool:
                ends = time.monotonic() + CORES * TURN
                while time.monotonic() < ends:
                    request = phone.subscribe(phone.dialog(someone()), expires=0)
                    if (await phone.request(request)).status != 200:
                        return False
                return True

            await until(all_do, "all cores reach Redis")

    @contextlib.asynccontextmanager
    async def without_redis(self) -> AsyncIterator[None]:
        """Nobody reaches Redis: its socket has another name, and all connections to it are closed."""
        socket = Path(urlsplit(self.redis_url).path)
        hidden = socket.with_name("hidden")
        try:
            await self.redis.ping()
            socket.rename(hidden)
            for kind in ("pubsub", "normal"):
                await self.redis.client_kill_filter(_type=kind)
            yield
        finally:
            hidden.rename(socket)
            await self.until_all_reach_redis()

    async def close(self) -> None:
        """Close both connections."""
        await self.postgres.close()
        await self.redis.aclose()


async def open_stores(running: RunningSet) -> Stores:
    """The stores of a running set."""
    stores = await asyncio.to_thread(ask, running.data, {"command": "stores"})
    return Stores(running, await asyncpg.connect(stores["db_url"]), stores["redis_url"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cached_set() -> AsyncIterator[RunningSet]:
    """Two cores, two notifiers, small tables, a flush each second."""
    extra = {
        "VEDETTE_FALLBACK2DB": "0",
        "VEDETTE_DB_UPDATE_PERIOD": "1",
        "VEDETTE_SUBS_HTABLE_SIZE": str(SUBS_SIZE),
        "VEDETTE_PRES_HTABLE_SIZE": str(PRES_SIZE),
    }
    async with started("--cores", str(CORES), "--notifiers", "2", extra=extra) as running:
        yield running


@pytest.fixture
async def stores(cached_set: RunningSet) -> AsyncIterator[Stores]:
    opened_stores = await open_stores(cached_set)
    yield opened_stores
    await opened_stores.close()


def someone() -> str:
    return f"sip:{token('alice')}@example.com"


def cseq(notify: Message) -> int:
    return int(notify["cseq"].split()[0])


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_parameter_fallback2db_0_a_subscription_from_its_beginning_to_its_end(
    cached_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    watcher, publisher = await make_phone(cached_set, transport=transport), await make_phone(cached_set)
    dialog, first = await watcher.subscribed(publisher.aor)
    assert (first.state, cseq(first)) == ("active", 1)
    etag = await publisher.published(body=pidf(note="one"))
    assert cseq(await watcher.notify_where(saying("one"))) == 2
    refreshed = await watcher.request(watcher.subscribe(dialog, expires=300))
    assert (refreshed.status, refreshed["expires"]) == (200, "300")
    assert cseq(await watcher.notify_where(saying("one"))) == 3
    changed = await publisher.request(publisher.publish(body=pidf(note="two"), if_match=etag))
    assert changed.status == 200
    assert cseq(await watcher.notify_where(saying("two"))) == 4
    dialog.cseq += 1
    assert (await watcher.request(watcher.subscribe(dialog, expires=0))).status == 200
    last = await watcher.next_notify()
    assert (last.state, cseq(last), notes(last.body)) == ("terminated", 5, ["two"])
    dialog.cseq += 1
    assert (await watcher.request(watcher.subscribe(dialog))).status == 481


async def test_parameter_fallback2db_0_many_phones_through_two_cores_and_two_notifiers(
    cached_set: RunningSet, make_phone: MakePhone
) -> None:
    """Every request reaches some core: what one has made the other one knows."""
    publisher = await make_phone(cached_set)
    watchers = [await make_phone(cached_set) for _ in range(12)]
    dialogs = await asyncio.gather(*(watcher.subscribed(publisher.aor) for watcher in watchers))
    await publisher.published(body=pidf(note="all"))
    await asyncio.gather(*(watcher.notify_where(saying("all")) for watcher in watchers))
    for _ in range(3):
        answers = await asyncio.gather(
            *(
                watcher.request(watcher.subscribe(dialog))
                for watcher, (dialog, _) in zip(watchers, dialogs, strict=True)
            )
        )
        assert {answer.status for answer in answers} == {200}
        for dialog, _ in dialogs:
            dialog.cseq += 1
    assert len(await subscriptions(cached_set, publisher.aor)) == 12, "REST has them written first"


async def test_parameter_fallback2db_0_a_search_stops_at_the_cache(
    cached_set: RunningSet, make_phone: MakePhone, stores: Stores
) -> None:
    """A dialog that Redis does not have is none, though Postgres has it."""
    phone = await make_phone(cached_set)
    presentity = someone()
    dialog, _ = await phone.subscribed(presentity)
    await stores.row_where(dialog, 1)
    named = parse_to_tag(dialog.to_tag)
    assert named is not None
    key = f"vedette:1:dialogs:{{{named[0] & (2**SUBS_SIZE - 1)}}}"
    assert await stores.redis.hdel(f"{key}:rows", named[1].hex()) == 1
    assert (await phone.request(phone.subscribe(dialog))).status == 481
    assert await stores.row(dialog) is not None


async def test_parameter_subs_htable_size_and_pres_htable_size_make_the_buckets(
    cached_set: RunningSet, make_phone: MakePhone, stores: Stores
) -> None:
    phone = await make_phone(cached_set)
    presentities = [someone() for _ in range(60)]
    for presentity in presentities:
        await phone.subscribed(presentity)
        await phone.published(presentity)
    assert await stores.buckets("dialogs") == set(range(2**SUBS_SIZE))
    for presentity in presentities:
        bucket = presentity_hash(presentity) & (2**SUBS_SIZE - 1)
        assert await stores.redis.exists(f"vedette:1:dialogs:{{{bucket}}}:at:presence|{presentity}") == 1

    async def cached() -> bool:
        wanted = {presentity_hash(presentity) & (2**PRES_SIZE - 1) for presentity in presentities}
        return wanted <= await stores.buckets("pres") <= set(range(2**PRES_SIZE))

    await until(cached, "published state is in its buckets")
    assert await stores.buckets("subs") == set(), "there is no cache of dialogs besides"


async def test_parameter_fallback2db_0_the_redis_of_vedette_up_forgets_no_dialog(stores: Stores) -> None:
    assert (await stores.redis.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"


async def test_parameter_db_update_period_postgres_is_told_each_second(
    cached_set: RunningSet, make_phone: MakePhone, stores: Stores
) -> None:
    phone = await make_phone(cached_set)
    dialog, first = await phone.subscribed(phone.aor)
    row = await stores.row_where(dialog, cseq(first))
    assert (row["presentity_uri"], row["remote_cseq"]) == (phone.aor, 1)
    learn(dialog, await phone.request(phone.subscribe(dialog)))
    row = await stores.row_where(dialog, cseq(await phone.next_notify()))
    assert row["remote_cseq"] == 2


async def test_not_11_parameter_fallback2db_0_cseqs_go_on_rising_after_the_loss_of_redis(
    cached_set: RunningSet, make_phone: MakePhone, stores: Stores
) -> None:
    watcher, publisher = await make_phone(cached_set), await make_phone(cached_set)
    dialog, first = await watcher.subscribed(publisher.aor)
    await stores.row_where(dialog, cseq(first))
    etag = await publisher.published(body=pidf(note="before"))
    before = await watcher.notify_where(saying("before"))
    await stores.kill_redis()
    changed = await publisher.request(publisher.publish(body=pidf(note="after"), if_match=etag))
    assert changed.status == 200
    after = await watcher.notify_where(saying("after"))
    assert cseq(after) > cseq(before)

    async def taken() -> bool:
        status = (await watcher.request(watcher.subscribe(dialog))).status
        dialog.cseq += 1
        assert status in (200, 503)
        return status == 200

    await until(taken, "the dialog is refreshed")
    await stores.until_all_reach_redis()
    numbers = [cseq(message) for message in watcher.received if message.start.startswith("NOTIFY")]
    distinct = list(dict.fromkeys(numbers))
    assert distinct == sorted(distinct)


async def test_parameter_fallback2db_0_without_redis_subscribe_gets_503_and_publish_200(
    cached_set: RunningSet, make_phone: MakePhone, stores: Stores
) -> None:
    """NOTIFYs wait until Redis is back, and nothing that was refused has left anything."""
    watcher, publisher = await make_phone(cached_set), await make_phone(cached_set)
    dialog, _ = await watcher.subscribed(publisher.aor)
    refused = watcher.dialog(someone())
    async with stores.without_redis():
        response = await watcher.request(watcher.subscribe(refused))
        assert (response.status, "retry-after" in response) == (503, True)
        assert (await watcher.request(watcher.subscribe(dialog))).status == 503
        await publisher.published(body=pidf(note="meanwhile"))
    await watcher.notify_where(saying("meanwhile"))
    assert await subscriptions(cached_set, refused.presentity) == []

    async def taken() -> bool:
        dialog.cseq += 1
        return (await watcher.request(watcher.subscribe(dialog))).status == 200

    await until(taken, "the dialog, which is still there, is refreshed")


async def test_parameter_fallback2db_0_a_subscribe_whose_outcome_is_unknown_is_stored_once(
    cached_set: RunningSet, make_phone: MakePhone, stores: Stores
) -> None:
    """Redis stops in the middle: the edge asks again with the same key until it knows (invariants 1 and 2)."""
    phone = await make_phone(cached_set)
    await phone.subscribed(phone.aor)
    presentity = someone()
    dialog = phone.dialog(presentity)
    branch = token("z9hG4bK")
    request = phone.subscribe(dialog, branch=branch)
    await stores.until_all_reach_redis()
    pid = await stores.running.kill("redis", number=signal.SIGSTOP)
    try:
        phone.send(request)
        assert (await phone.next_response(branch)).status == 100, "it is not known yet"
    finally:
        os.kill(pid, signal.SIGCONT)
        await stores.until_all_reach_redis()
    learn(dialog, await phone.request(request))
    assert (await phone.next_notify())["call-id"] == dialog.call_id
    assert len(await subscriptions(cached_set, presentity)) == 1
    assert (await phone.request(phone.subscribe(dialog))).status == 200


@pytest.mark.parametrize("service", ["core", "notifier"])
async def test_parameter_fallback2db_0_a_process_that_is_killed_takes_no_dialog_with_it(
    cached_set: RunningSet, make_phone: MakePhone, service: str
) -> None:
    watcher, publisher = await make_phone(cached_set), await make_phone(cached_set)
    dialog, _ = await watcher.subscribed(publisher.aor)
    await cached_set.kill(service)
    await publisher.published(body=pidf(note="afterwards"))
    await watcher.notify_where(saying("afterwards"))
    assert (await watcher.request(watcher.subscribe(dialog))).status == 200
    await cached_set.all_ready()


async def test_win_07_parameter_fallback2db_0_watchers_are_shown(
    cached_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(cached_set), await make_phone(cached_set)
    reader = alice.dialog(alice.aor)
    request = alice.subscribe(reader, event="presence.winfo", accept="application/watcherinfo+xml")
    learn(reader, await alice.request(request))
    assert b'state="full"' in (await alice.next_notify()).body
    await bob.subscribed(alice.aor)
    shown = await alice.next_notify()
    assert b'state="partial"' in shown.body
    assert bob.aor.encode() in shown.body


async def test_parameter_fallback2db_0_its_start_says_what_is_different(
    cached_set: RunningSet, running_set: RunningSet
) -> None:
    said = [line for line in cached_set.output if "fallback2db=0" in line]
    assert len(said) == 1
    assert "decisions of rules are not listed" in said[0]
    assert not any("fallback2db" in line for line in running_set.output)


async def test_hash_list_shows_the_dialogs_themselves(cached_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(cached_set)
    dialog, notify = await phone.subscribed(phone.aor)
    arguments = ("hash", "list", "subscriptions", "--data", str(cached_set.data), "--json", "--presentity", phone.aor)
    listing = json.loads(await cached_set.command(*arguments))
    (row,) = listing["entries"]
    assert (listing["fallback2db"], listing["buckets"]) == (0, 2**SUBS_SIZE)
    assert (row["call_id"], row["watcher"], row["status"]) == (dialog.call_id, phone.aor, "active")
    assert (row["remote_cseq"], row["local_cseq"]) == (1, cseq(notify))
    assert row["bucket"] == presentity_hash(phone.aor) & (2**SUBS_SIZE - 1)


# shutdown and start


async def test_parameter_fallback2db_0_dialogs_survive_the_end_of_the_set() -> None:
    """Everything is written at shutdown, and read at the start; then Postgres takes over without a loss."""
    with open_folder("kept") as data:
        await lay_cluster(data)
        running = await start(data, ["--cores", "2"], NEVER)
        try:
            port = running.sip[1]
            async with opened(running) as watcher, opened(running) as publisher:
                dialog, first = await watcher.subscribed(publisher.aor)
                ended, _ = await watcher.subscribed(publisher.aor)
                assert (await watcher.request(watcher.subscribe(ended, expires=0))).status == 200
                await publisher.published(body=pidf(note="before"))
                before = await watcher.notify_where(saying("before"))
                assert cseq(before) > cseq(first)
                stores = await open_stores(running)
                assert await stores.row(dialog) is None, "nothing was written yet"
                await stores.close()
                assert await running.stop() == 0
                last = cseq(before)
                for extra in (NEVER, {}):
                    running = await start(data, ["--sip-port", str(port)], extra)
                    learn(dialog, await _refreshed(watcher, dialog))
                    notify = await watcher.notify_where(lambda notify: notify["call-id"] == dialog.call_id)
                    assert cseq(notify) > last
                    assert notes(notify.body) == ["before"]
                    last = cseq(notify)
                    assert await subscription(running, dialog)
                    ended.cseq += 1
                    assert (await watcher.request(watcher.subscribe(ended))).status == 481
                    await running.stop()
        finally:
            await running.stop()


async def _refreshed(phone: Phone, dialog: Dialog) -> Message:
    response = await phone.request(phone.subscribe(dialog))
    assert response.status == 200
    return response
