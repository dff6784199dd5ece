"""Servers and processes that stop, hang and die under a small load: what clients saw is held to the invariants."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
import redis.asyncio

from sip_edge.domain.admission import RETRY_LATEST, RETRY_SOONEST
from tests.backend import Backend, backend_started, frozen
from tests.folders import open_folder
from tests.phone import opened, pidf, token
from tests.running_set import UNHURRIED, RunningSet, start
from tests.system.fan_out import fanning_out, kill_in_the_middle
from tests.system.history import disturbances, late_copies, overtaken_notifies
from tests.system.load import Load, loaded
from tests.system.postgres_proxy import PostgresProxy, proxied
from tests.wait import until, until_true
from vedette.identity import presentity_hash
from vedette.store.bell import CHANNEL
from vedette.store.hash_tables import HashTable, manifest_field
from vedette.store.redis_link import RedisLink

ASKED_AGAIN = "asked again what was claimed"
GAVE_UP = "gave up marks of lost claims"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend() -> AsyncIterator[Backend]:
    async with backend_started() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(backend: Backend) -> AsyncIterator[PostgresProxy]:
    async with proxied(backend.folders.sockets) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own_set(backend: Backend, proxy: PostgresProxy) -> AsyncIterator[RunningSet]:
    """Two of each kind; every test leaves it whole."""
    arguments = ["--edges", "2", "--cores", "2", "--notifiers", "2"]
    url = f"postgresql://vedette:{backend.password}@127.0.0.1:{proxy.port}/vedette"
    arguments += ["--database-url", url, "--redis-url", backend.redis.url()]
    with open_folder("faults") as data:
        running = await start(data, arguments, UNHURRIED)
        try:
            yield running
        finally:
            await running.stop()


async def hold_to_the_invariants(load: Load) -> None:
    """Let the load come to its end; whatever was promised to its clients has been kept."""
    await load.keeps_its_promises()


def refusals(load: Load) -> set[tuple[int, str | None]]:
    """Status and Retry-After of all answers but 200."""
    return {(r.status, r.retry_after) for r in load.history.responses if r.status != 200}


def logged(running: RunningSet, service: str, *events: str) -> int:
    """How often the processes of a service have logged one of these events."""
    lines = [line for log in (running.data / "log").glob(f"{service}-*.log") for line in log.read_text().splitlines()]
    return sum(f'"event": "{event}"' in line for line in lines for event in events)


async def pids(running: RunningSet) -> dict[tuple[str, int], int]:
    """The processes of the set, by service and index."""
    return {(row["service"], row["index"]): row["pid"] for row in (await running.status())["processes"]}


async def replica(running: RunningSet, name: str, value: object) -> dict[str, Any]:
    """The replica whose `name` has that value; a process that has just started may be listed a moment later."""

    async def listed() -> dict[str, Any] | None:
        rows = (await running.get("/api/v1/replicas"))["items"]
        return next((row for row in rows if row[name] == value), None)

    found = await until(listed, f"a replica with {name} {value}")
    assert found is not None
    return found


async def all_started_again(running: RunningSet, before: dict[tuple[str, int], int], *killed: int) -> None:
    """Return when other processes are in the place of the killed ones, and all are ready."""

    async def whole() -> bool:
        rows = (await running.status())["processes"]
        return all(row["ready"] and row["pid"] not in (None, *killed) for row in rows)

    await until(whole, "all are there again", deadline=60)
    after = await pids(running)
    assert {place for place, pid in before.items() if after[place] != pid} == {
        place for place, pid in before.items() if pid in killed
    }


async def edges_know_all_cores(running: RunningSet) -> None:
    """Return when every edge has found the cores that are there now."""

    async def known() -> bool:
        cores = sorted(row["address"] for row in await running.processes("core"))
        return all(
            said and said[-1] == cores
            for said in (
                [json.loads(line)["ready"] for line in log.read_text().splitlines() if '"event": "cores"' in line]
                for log in (running.data / "log").glob("edge-*.log")
            )
        )

    await until(known, "the edges know the cores")


async def test_under_the_load_alone_nothing_is_refused_and_nothing_given_up(own_set: RunningSet) -> None:
    async with loaded(own_set) as load:
        await load.goes_on(20)
        await hold_to_the_invariants(load)
    assert refusals(load) == set()
    assert [*disturbances(load.history), *late_copies(load.history)] == []


# Redis


async def calls_to_redis(client: redis.asyncio.Redis) -> dict[str, int]:
    """How often each command was called."""
    stats = await client.info("commandstats")
    return {name.removeprefix("cmdstat_"): facts["calls"] for name, facts in stats.items()}


async def redis_is_used(backend: Backend, running: RunningSet) -> None:
    """Return when notifiers hear the bell, cores ring it, and both write and read the tables."""
    client = redis.asyncio.Redis.from_url(backend.redis.url())
    link = RedisLink(backend.redis.url(), timeout=20.0)
    table = HashTable(link, "pres", 9)
    try:
        before = await calls_to_redis(client)

        async def used() -> bool:
            now = await calls_to_redis(client)
            heard = await client.pubsub_numsub(CHANNEL)
            return [count for _, count in heard] == [2] and all(
                now.get(name, 0) > before.get(name, 0) for name in ("publish", "evalsha", "hmget")
            )

        await until(used, "the bell is rung and heard, the tables are written and read")
        async with opened(running, token("alice")) as alice:

            async def cached() -> bool:
                await alice.published(body=pidf(alice.aor, note=token()))
                view = await running.get(f"/api/v1/presentities/{alice.aor}")
                entry = (await table.get([(presentity_hash(alice.aor), manifest_field(alice.aor, "presence"))]))[0]
                return entry is not None and entry[0] == view["version"]

            await until(cached, "the table has the newest version")
    finally:
        await client.aclose()
        await link.close()


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL], ids=lambda number: number.name)
async def test_redis_may_vanish_and_is_used_again(
    own_set: RunningSet, backend: Backend, fault: signal.Signals
) -> None:
    server = backend.redis.process
    assert server is not None
    before = await pids(own_set)
    async with loaded(own_set) as load:
        await redis_is_used(backend, own_set)
        server.send_signal(fault)
        await load.goes_on(10)
        if fault == signal.SIGKILL:
            await server.wait()
            await backend.redis.start()
        else:
            server.send_signal(signal.SIGCONT)
        await redis_is_used(backend, own_set)
        await load.goes_on()
        await hold_to_the_invariants(load)
    assert refusals(load) == set()
    assert [*disturbances(load.history), *late_copies(load.history)] == []
    assert await pids(own_set) == before


async def test_redis_may_be_flushed_while_it_is_used(own_set: RunningSet, backend: Backend) -> None:
    client = redis.asyncio.Redis.from_url(backend.redis.url())
    try:
        async with loaded(own_set) as load:
            for _ in range(5):
                await client.flushall()
                await load.goes_on(2)
            await hold_to_the_invariants(load)
    finally:
        await client.aclose()
    assert refusals(load) == set()
    assert [*disturbances(load.history), *late_copies(load.history)] == []


# Postgres


async def test_connections_that_postgres_cuts_cost_no_request(own_set: RunningSet, backend: Backend) -> None:
    async with loaded(own_set) as load:
        for _ in range(3):
            assert await backend.cut_connections() > 0
            await load.goes_on(2)
        await hold_to_the_invariants(load)
    assert refusals(load) == set()


async def test_connections_that_break_without_a_word_cost_no_request(
    own_set: RunningSet, proxy: PostgresProxy
) -> None:
    """Whoever waited for an answer does not know whether it was committed."""
    async with loaded(own_set) as load:
        assert proxy.cut() > 0
        await load.goes_on()
        await hold_to_the_invariants(load)
    assert refusals(load) == set()
    assert [*overtaken_notifies(load.history)] == []


async def test_a_claim_whose_answer_was_lost_is_had_by_asking_again(
    own_set: RunningSet, proxy: PostgresProxy
) -> None:
    """With its own CSeq: it is not given up and made again."""
    asked, given_up = (logged(own_set, "notifier", event) for event in (ASKED_AGAIN, GAVE_UP))
    async with opened(own_set, token("alice")) as alice, opened(own_set) as bob:
        etag = await alice.published(body=pidf(alice.aor, note="first"))
        _, first = await bob.subscribed(alice.aor)
        losing = asyncio.create_task(proxy.lose_answer("vedette notifier", alice.aor))
        await asyncio.sleep(0)
        await alice.request(alice.publish(body=pidf(alice.aor, note="second"), if_match=etag))
        await asyncio.wait_for(losing, 20)
        second = await bob.notify_where(lambda notify: b"second" in notify.body)
    assert [int(notify["cseq"].split()[0]) for notify in (first, second)] == [1, 2]
    assert logged(own_set, "notifier", ASKED_AGAIN) == asked + 1
    assert logged(own_set, "notifier", GAVE_UP) == given_up


async def test_a_slow_postgres_costs_no_request(own_set: RunningSet, proxy: PostgresProxy) -> None:
    try:
        async with loaded(own_set) as load:
            proxy.delay = 0.1
            passed = proxy.passed
            await load.goes_on()
            assert proxy.passed > passed
            proxy.delay = 0.0
            await load.goes_on()
            await hold_to_the_invariants(load)
    finally:
        proxy.delay = 0.0
    assert refusals(load) == set()
    assert [*disturbances(load.history), *late_copies(load.history)] == []


@pytest.mark.parametrize("fault", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
async def test_sec_08_without_postgres_nothing_is_acknowledged_and_it_goes_on_by_itself(
    own_set: RunningSet, backend: Backend, fault: signal.Signals
) -> None:
    before, buried = await pids(own_set), logged(own_set, "notifier", "notifier is dead")
    async with loaded(own_set) as load:
        await backend.stop_postgres(fault)

        def stopped() -> bool:
            # Whoever was refused has been told so; a request that was under way may be kept until it is known.
            refused = {r.client for r in load.history.responses if r.status == 503}
            return bool(refused) and all(
                publisher.line.user in refused or publisher.line.waits_for() > 3 for publisher in load.publishers
            )

        await until_true(stopped, "every publisher is refused or kept waiting", deadline=30)
        answered = [r for r in load.history.responses if r.status == 200]
        async with aiohttp.ClientSession() as session:
            for path in ("presentities", "presentities/sip:a@example.com", "subscriptions", "replicas"):
                async with session.get(f"{own_set.api}/api/v1/{path}") as response:
                    assert response.status == 503
                    assert response.content_type == "application/problem+json"
                    assert (await response.json())["status"] == 503
            async with session.get(f"{own_set.api}/readyz") as response:
                assert response.status == 503
                assert "postgres" in (await response.json())["checks"]
        assert [r for r in load.history.responses if r.status == 200] == answered
        await backend.start_postgres()
        await load.goes_on()
        await hold_to_the_invariants(load)
    assert refusals(load) <= {(503, str(seconds)) for seconds in range(RETRY_SOONEST, RETRY_LATEST + 1)}
    assert refusals(load)
    assert await pids(own_set) == before
    assert logged(own_set, "notifier", "notifier is dead") == buried


async def test_a_postgres_that_hangs_for_a_moment_costs_no_request(own_set: RunningSet, backend: Backend) -> None:
    async with loaded(own_set) as load:
        with frozen(*backend.postgres_processes()):
            await load.somebody_waits(1, how_many=len(load.publishers))
        await load.goes_on()
        await hold_to_the_invariants(load)
    assert refusals(load) == set()
    assert [*disturbances(load.history), *late_copies(load.history)] == []


# processes


async def test_a_killed_core_fails_no_request(own_set: RunningSet) -> None:
    before = await pids(own_set)
    async with loaded(own_set) as load:
        first, second = before["core", 0], before["core", 1]
        os.kill(first, signal.SIGSTOP)
        await load.somebody_waits(0.3)
        os.kill(first, signal.SIGKILL)
        await load.goes_on()
        await all_started_again(own_set, before, first)
        await edges_know_all_cores(own_set)
        os.kill(second, signal.SIGKILL)
        await load.goes_on()
        await hold_to_the_invariants(load)
    assert refusals(load) == set()
    assert [*disturbances(load.history), *late_copies(load.history)] == []
    await all_started_again(own_set, before, first, second)


async def test_a_killed_notifier_leaves_nothing_undone(own_set: RunningSet, backend: Backend) -> None:
    before = await pids(own_set)
    notifiers = [before["notifier", index] for index in (0, 1)]
    instances = {(await replica(own_set, "pid", pid))["instance"]: pid for pid in notifiers}
    database = await backend.connect()

    async def victim() -> int | None:
        """A notifier with NOTIFYs in hand, killed; while no edge takes any, they come to have some."""
        with frozen(before["edge", 0], before["edge", 1]):
            for _ in range(20):
                claimed = await database.fetchval("SELECT max(outstanding_notifier) FROM delivery")
                if claimed is not None:
                    os.kill(instances[claimed], signal.SIGKILL)
                    return instances[claimed]
        return None

    try:
        async with loaded(own_set) as load:
            killed = await until(victim, "a notifier has claimed something")
            assert killed is not None
            await load.goes_on()
            await hold_to_the_invariants(load)
    finally:
        await database.close()
    assert refusals(load) == set()
    assert [*overtaken_notifies(load.history)] == []
    await all_started_again(own_set, before, killed)


async def test_a_stopped_notifier_that_goes_on_sends_nothing_of_what_it_had_claimed(
    own_set: RunningSet, backend: Backend, proxy: PostgresProxy
) -> None:
    """It is stopped between the commit of a claim and its answer, until others have taken over; its lock is held."""
    before = await pids(own_set)
    notifiers = [before["notifier", index] for index in (0, 1)]
    instances = {(await replica(own_set, "pid", pid))["instance"]: pid for pid in notifiers}
    database = await backend.connect()
    buried, given_up = (logged(own_set, "notifier", event) for event in ("notifier is dead", "gave up marks"))

    async def stopped() -> int | None:
        """A notifier that has just claimed something, which it does not know yet."""
        claimed = await database.fetchval(
            "SELECT notifier FROM notify_claim "
            "WHERE until > greatest($1, clock_timestamp() - interval '0.15 s') + interval '40 s' LIMIT 1",
            delayed_from,
        )
        if claimed is None:
            return None
        os.kill(instances[claimed], signal.SIGSTOP)
        return instances[claimed]

    victim = None
    try:
        async with loaded(own_set) as load:
            proxy.delay = 0.2
            delayed_from = await database.fetchval("SELECT clock_timestamp()")
            victim = await until(stopped, "a notifier has claimed something")
            begun = time.monotonic()
            proxy.delay = 0.0
            await until_true(
                lambda: (
                    logged(own_set, "notifier", "notifier is dead") > buried
                    and logged(own_set, "notifier", "gave up marks") > given_up
                ),
                "the other notifier has taken over",
            )
            sys.stdout.write(f"a stopped notifier was taken over from after {time.monotonic() - begun:.2f} s\n")
            await load.goes_on()
            assert victim is not None
            os.kill(victim, signal.SIGCONT)
            await load.goes_on(10)
            await hold_to_the_invariants(load)
    finally:
        proxy.delay = 0.0
        if victim is not None:
            os.kill(victim, signal.SIGCONT)
        await database.close()
    assert refusals(load) == set()
    assert [*overtaken_notifies(load.history), *late_copies(load.history)] == []
    assert await pids(own_set) == before

    async def ready() -> bool:
        return bool((await replica(own_set, "pid", victim))["ready"])

    await until(ready, "it is one of the notifiers again")


async def test_a_killed_edge_leaves_its_dialogs_to_the_other_one(own_set: RunningSet, backend: Backend) -> None:
    before = await pids(own_set)
    victim = before["edge", 0]
    instance = (await replica(own_set, "pid", victim))["instance"]
    database = await backend.connect()
    try:
        async with loaded(own_set) as load:

            async def stopped_with_something_in_hand() -> bool:
                """Where it has nothing it goes on: perhaps all who publish to its watchers come to it, too."""
                os.kill(victim, signal.SIGSTOP)
                in_hand = await database.fetchval(
                    "SELECT count(*) FROM delivery WHERE edge_instance = $1 AND outstanding_cseq IS NOT NULL",
                    instance,
                )
                if not in_hand:
                    os.kill(victim, signal.SIGCONT)
                return bool(in_hand)

            await until(stopped_with_something_in_hand, "the edge is to send something")
            await load.somebody_waits(0.3)
            os.kill(victim, signal.SIGKILL)
            await load.goes_on()
            await hold_to_the_invariants(load)
        assert refusals(load) == set()
    finally:
        await database.close()
    await all_started_again(own_set, before, victim)


async def test_a_dialog_that_is_busy_while_its_edge_is_buried_is_not_forgotten(
    own_set: RunningSet, backend: Backend
) -> None:
    before, gone = await pids(own_set), logged(own_set, "notifier", "edge is gone")
    async with opened(own_set, token("alice")) as alice, opened(own_set) as bob:
        bob.answer = lambda _: None
        await bob.subscribed(alice.aor)
        page = await own_set.get("/api/v1/subscriptions", presentity=alice.aor)
        assert [item["notify_outstanding"] for item in page["items"]] == [True]
        victim = int((await replica(own_set, "instance", page["items"][0]["edge"]))["pid"])
        async with held(backend, alice.aor):
            os.kill(victim, signal.SIGKILL)
            await until_true(
                lambda: logged(own_set, "notifier", "edge is gone") >= gone + 2, "both notifiers have buried the edge"
            )
        bob.answer = lambda _: 200
        await bob.notify_where(lambda notify: int(notify["cseq"].split()[0]) > 1)
    await all_started_again(own_set, before, victim)


# what was committed and not answered


@contextlib.asynccontextmanager
async def held(backend: Backend, presentity: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection whose transaction holds the presentity's lock until `ROLLBACK`."""
    connection = await backend.connect()
    try:
        await connection.execute("BEGIN")
        locked = await connection.fetch(
            "SELECT FROM presentity_state WHERE presentity_uri = $1 FOR UPDATE", presentity
        )
        assert len(locked) == 1
        yield connection
    finally:
        await connection.close()


async def cores_that_wait(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    """Instances of the cores whose call waits for a lock, with the pid of their backend."""
    rows = await connection.fetch(
        "SELECT application_name, pid FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND application_name LIKE 'vedette presence-core %'"
    )
    return {row["application_name"].split()[-1]: row["pid"] for row in rows}


async def one_core_waits(connection: "asyncpg.Connection[asyncpg.Record]", *, but: str = "") -> tuple[str, int]:
    """Return when a core, not `but`, waits for the lock: its instance and the pid of its backend."""

    async def waiting() -> tuple[str, int] | None:
        return next(((name, pid) for name, pid in (await cores_that_wait(connection)).items() if name != but), None)

    found = await until(waiting, "a core waits for the lock")
    assert found is not None
    return found


async def kill_core(running: RunningSet, instance: str) -> int:
    """Kill the core with that instance id; its pid."""
    pid = int((await replica(running, "instance", instance))["pid"])
    os.kill(pid, signal.SIGKILL)
    return pid


async def test_a_change_that_is_committed_after_its_core_died_is_answered_once_and_rightly(
    own_set: RunningSet, backend: Backend
) -> None:
    before = await pids(own_set)
    async with opened(own_set, token("alice")) as alice, opened(own_set) as bob:
        etag = await alice.published(body=pidf(alice.aor, note="first"))
        await bob.subscribed(alice.aor)
        async with held(backend, alice.aor) as connection:
            request = alice.publish(body=pidf(alice.aor, note="second"), if_match=etag)
            answer = asyncio.create_task(alice.request(request))
            instance, _ = await one_core_waits(connection)
            killed = await kill_core(own_set, instance)
            await one_core_waits(connection, but=instance)
            await connection.execute("ROLLBACK")
            response = await answer
        assert response.status == 200
        assert response["sip-etag"].partition(".")[2] == "2"
        view = await own_set.get(f"/api/v1/presentities/{alice.aor}")
        assert [item["etag"] for item in view["publication_list"]] == [response["sip-etag"]]
        notify = await bob.notify_where(lambda notify: b"second" in notify.body)
        assert b"first" not in notify.body
    await all_started_again(own_set, before, killed)


async def test_503_is_never_said_of_what_may_be_stored(own_set: RunningSet, backend: Backend) -> None:
    """One core dies while Postgres carries out its call; the other one cannot reach Postgres at all."""
    before = await pids(own_set)
    admin = await backend.connect("postgres")
    try:
        async with opened(own_set, token("alice")) as alice:
            etag = await alice.published(body=pidf(alice.aor, note="first"))
            async with held(backend, alice.aor) as connection:
                request = alice.publish(body=pidf(alice.aor, note="second"), if_match=etag)
                answer = asyncio.create_task(alice.request(request))
                instance, _ = await one_core_waits(connection)
                killed = await kill_core(own_set, instance)
                other, _ = await one_core_waits(connection, but=instance)
                refused = logged(own_set, "core", "requests refused", "not ready")
                await admin.execute("ALTER DATABASE vedette WITH ALLOW_CONNECTIONS false")
                await admin.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
                    f"vedette presence-core {other}",
                )
                await connection.execute("ROLLBACK")

                async def stored() -> bool:
                    return bool(
                        await connection.fetchval(
                            "SELECT count(*) FROM presentity WHERE presentity_uri = $1 AND sequence = 2", alice.aor
                        )
                    )

                await until(stored, "the call of the dead core is committed")
                await until_true(
                    lambda: answer.done() or logged(own_set, "core", "requests refused", "not ready") > refused,
                    "the other core has said that it cannot store",
                )
                await admin.execute("ALTER DATABASE vedette WITH ALLOW_CONNECTIONS true")
                response = await answer
            assert response.status == 200
            assert response["sip-etag"].partition(".")[2] == "2"
    finally:
        await admin.execute("ALTER DATABASE vedette WITH ALLOW_CONNECTIONS true")
        await admin.close()
    await all_started_again(own_set, before, killed)


# a fan-out


@pytest.mark.parametrize("service", ["core", "notifier", "edge"])
async def test_every_watcher_knows_though_a_process_died_in_the_middle_of_a_fan_out(
    own_set: RunningSet, backend: Backend, service: str
) -> None:
    before = await pids(own_set)
    database = await backend.connect()
    try:
        async with fanning_out(own_set, 100) as fan_out:
            seconds = await kill_in_the_middle(fan_out, service, database)
            sys.stdout.write(f"{service} killed: all 100 watchers knew after {seconds:.2f} s\n")
            assert fan_out.faults == []
    finally:
        await database.close()
    after = await pids(own_set)
    assert len([place for place in before if before[place] != after[place]]) <= 1
    await own_set.all_ready()
