"""`vedette doctor`: every check sees what it is for, made to happen where that can be done, and says what to do."""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from tests.certificates import Authority
from tests.name_server import name_server
from tests.ports import free_port
from tests.running_set import RunningSet
from tests.servers import Servers
from tests.system.test_rest_commands import vedette
from vedette.store.migrations import load
from vedette_cli.commands import doctor
from vedette_cli.commands.migrate import migrations_folder
from vedette_cli.doctor import clocks, database, network, redis_server
from vedette_cli.doctor.clocks import check_clocks, clocks_of_replicas
from vedette_cli.doctor.disk import check_disk, judge
from vedette_cli.doctor.finding import Finding, Level
from vedette_cli.doctor.redis_server import ask_redis, check_redis
from vedette_cli.doctor.system import Parameters, check_parameters, check_queues, check_replicas

OK, WARNING, FAILURE = Level.OK, Level.WARNING, Level.FAILURE


def worst(found: Sequence[Finding]) -> Level:
    assert all(bool(finding.remedy) == (finding.level is not OK) for finding in found), found
    return max((finding.level for finding in found), default=OK)


def said(found: Sequence[Finding]) -> str:
    return "\n".join(f"{finding.text} {finding.remedy}" for finding in found if finding.level is not OK)


# the command


@pytest.fixture
async def own_name_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """One that answers in the place of the machine's, which is none of ours; and time for all that is asked."""
    async with name_server() as server:
        monkeypatch.setattr(doctor, "system_name_servers", lambda: [server.endpoint])
        for module in (clocks, network, redis_server):
            monkeypatch.setattr(module, "PATIENCE", 20.0)
        yield


@pytest.mark.usefixtures("own_name_server")
async def test_a_set_that_is_well_gets_a_line_for_each_check(running_set: RunningSet) -> None:
    code, out, err = await vedette("doctor", "--data", str(running_set.data), "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert {row["check"] for row in found} >= {
        *("set", "rest", "processes", "versions", "lag", "parameters", "database", "schema", "connections"),
        *("indexes", "vacuum", "redis", "clocks", "ports", "disk"),
    }
    assert [row for row in found if row["level"] == "failure"] == [], err
    assert code == max(Level[row["level"].upper()] for row in found)
    # Ports of both transports were tried.
    assert {f"{name} {running_set.sip_address} answers" for name in ("TCP", "UDP")} <= {row["text"] for row in found}
    code, out, _ = await vedette("doctor", "--data", str(running_set.data))
    assert out.splitlines()[-1].startswith("0 failures, ")


async def test_what_does_not_answer_is_told_and_the_rest_is_looked_at(
    running_set: RunningSet, tmp_path: Path
) -> None:
    code, out, _ = await vedette("doctor", "--data", str(tmp_path / "none"))
    assert (code, "no set runs" in out) == (2, True)
    gone = free_port()
    code, out, _ = await vedette(
        *("doctor", "--data", str(running_set.data), "--api", f"http://127.0.0.1:{gone}"),
        *("--database-url", f"postgresql://nobody@127.0.0.1:{gone}/none"),
        *("--redis-url", f"redis://127.0.0.1:{gone}/0"),
    )
    assert code == 2
    for text in ("does not answer: Connection refused", "Postgres: ", "Redis does not answer: "):
        assert text in out
    code, out, _ = await vedette("doctor", "--data", str(running_set.data), extra={"VEDETTE_TOKEN": "vdt_wrong"})
    assert (code, "failure rest" in out, "ok      indexes" in out) == (2, True, True)


# Postgres

BREAKS = [
    ("DROP INDEX presentity_expires", FAILURE, "CREATE INDEX presentity_expires ON presentity (expires)"),
    ("ALTER TABLE delivery DROP CONSTRAINT delivery_pkey", FAILURE, "the index delivery_pkey is missing"),
    ("DELETE FROM schema_migration WHERE number > 7", FAILURE, "Run vedette migrate"),
    ("DROP TABLE schema_migration", FAILURE, "no schema"),
    ("UPDATE schema_migration SET checksum = 'x' WHERE number = 3", WARNING, "0003 are not those"),
    ("INSERT INTO schema_migration VALUES (9999, 'later', 'x', now())", WARNING, "newer than this command"),
]


async def test_a_database_that_was_harmed_is_seen(database_url: str) -> None:
    migrations = load(migrations_folder())
    connection = await asyncpg.connect(database_url)
    try:
        assert worst(await database.check_database(connection, migrations, {"a": 4})) is OK
        for statement, level, text in BREAKS:
            change = connection.transaction()
            await change.start()
            await connection.execute(statement)
            found = await database.check_database(connection, migrations, {})
            await change.rollback()
            assert (worst(found), text in said(found)) == (level, True), (statement, found)
        await connection.execute("CREATE TABLE twice AS SELECT 1 AS a FROM generate_series(1, 2)")
        with contextlib.suppress(asyncpg.UniqueViolationError):
            await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY twice_a ON twice (a)")
        found = await database.check_database(connection, migrations, {})
        assert (worst(found), said(found).endswith("REINDEX INDEX CONCURRENTLY twice_a;")) == (FAILURE, True)
        await connection.execute("DROP TABLE twice")
        found = await database.check_database(connection, migrations, dict.fromkeys(map(str, range(100)), 64))
        assert (worst(found), "100 processes may open 6500" in said(found)) == (FAILURE, True)
        found = await database.check_database(connection, [], {})
        assert worst(found) is OK
    finally:
        await connection.close()


GOOD = {
    **dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit", "autovacuum", "track_counts"), "on"),
    "shared_buffers": "16384",
    "max_connections": "100",
    "superuser_reserved_connections": "3",
}


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        (database.check_settings(GOOD, 2**20), OK, ""),
        (database.check_settings(GOOD | {"fsync": "off"}, 0), FAILURE, "fsync=on"),
        (database.check_settings(GOOD | {"full_page_writes": "off"}, 0), FAILURE, "full_page_writes=on"),
        (database.check_settings(GOOD | {"synchronous_commit": "off"}, 0), FAILURE, "synchronous_commit=on"),
        (database.check_settings(GOOD | {"autovacuum": "off"}, 0), FAILURE, "autovacuum=on"),
        (database.check_settings(GOOD | {"shared_buffers": "1024"}, 0), WARNING, "8 MiB"),
        (database.check_settings(GOOD, 2**32), WARNING, "4096 MiB"),
        ([database.check_connections(GOOD, {"a": 60, "b": 20}, 0)], WARNING, "82 of 97"),
        ([database.check_connections(GOOD, {"a": 4}, 95)], WARNING, "95 are open"),
        ([database.check_connections(GOOD, {"a": 60, "b": 60}, 0)], FAILURE, "122 of 97"),
        ([database.check_postgres_version(14)], FAILURE, "15 or newer"),
        ([database.check_postgres_version(15)], OK, ""),
        ([database.check_postgres_version(99)], WARNING, "99"),
        (database.check_vacuum([("presentity", 10, 20_000)], []), WARNING, "VACUUM presentity"),
        (
            database.check_vacuum(
                [], [{"application_name": "", "pid": 7, "state": "idle in transaction", "seconds": 90}]
            ),
            WARNING,
            "pg_terminate_backend(7)",
        ),
        (database.check_replication([]), OK, ""),
        (database.check_replication([{"application_name": "b", "state": "streaming", "lag": 0.1}]), OK, ""),
        (database.check_replication([{"application_name": "b", "state": "streaming", "lag": 60.0}]), WARNING, "60 s"),
        (database.check_replication([{"application_name": "b", "state": "catchup", "lag": 0.0}]), WARNING, "catchup"),
    ],
)
def test_settings_connections_dead_rows_and_standbys(found: list[Finding], level: Level, text: str) -> None:
    assert (worst(found), text in said(found)) == (level, True)


async def test_an_open_transaction_is_found_in_the_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LONG_TRANSACTION", 0.0)
    idle, connection = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        await idle.execute("BEGIN")
        found = await database.check_database(connection, [], {})
        assert f"pg_terminate_backend({idle.get_server_pid()})" in said(found)
    finally:
        await idle.close()
        await connection.close()


def test_the_indexes_of_all_migrations_are_known() -> None:
    wanted = database.wanted_indexes(load(migrations_folder()))
    assert {"presentity_pkey", "change_event_due", "api_token_name", "replica_pkey"} <= set(wanted)
    assert wanted["change_event_due"] == "CREATE INDEX change_event_due ON change_event (due, id);"


# Redis


async def test_redis_that_does_not_answer_or_forgets_is_seen(servers: Servers) -> None:
    gone = await ask_redis(f"redis://127.0.0.1:{free_port()}/0")
    assert isinstance(gone, str)
    assert worst(check_redis(gone, keeps_dialogs=False)) is WARNING
    assert worst(check_redis(gone, keeps_dialogs=True)) is FAILURE
    assert isinstance(await ask_redis("nonsense://"), str)
    client: Any = redis.asyncio.Redis.from_url(servers.redis.url())
    before = await client.config_get("maxmemory*")

    async def found(policy: str, memory: str, *, keeps_dialogs: bool) -> tuple[Level, str]:
        await client.config_set("maxmemory-policy", policy)
        await client.config_set("maxmemory", memory)
        answer = await ask_redis(servers.redis.url())
        assert not isinstance(answer, str)
        assert abs(answer[1] - time.time()) < 60
        findings = check_redis(answer[0], keeps_dialogs=keeps_dialogs)
        return worst(findings), said(findings)

    try:
        assert (await found("allkeys-lru", "256mb", keeps_dialogs=False))[0] is OK
        assert (await found("noeviction", "256mb", keeps_dialogs=True))[0] is OK
        level, text = await found("allkeys-lru", "256mb", keeps_dialogs=True)
        assert (level, "Set maxmemory-policy noeviction" in text) == (FAILURE, True)
        level, text = await found("noeviction", "256mb", keeps_dialogs=False)
        assert (level, "Set maxmemory-policy allkeys-lru" in text) == (WARNING, True)
        level, text = await found("noeviction", "0", keeps_dialogs=True)
        assert (level, "maxmemory is not set" in text) == (WARNING, True)
        level, text = await found("noeviction", "1mb", keeps_dialogs=True)
        assert (level, "Raise maxmemory" in text) == (FAILURE, True)
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            await client.config_set(name, before[name])
        await client.aclose()


# names, ports, certificates


async def test_names_and_name_servers_that_do_not_answer_are_seen() -> None:
    assert worst(network.check_names(["127.0.0.1", "::1", "localhost"])) is OK
    found = network.check_names(["nobody.invalid"])
    assert (worst(found), "nobody.invalid has no address" in said(found)) == (FAILURE, True)
    async with name_server() as server:

        async def ask(*places: tuple[str, int]) -> list[Finding]:
            return await asyncio.to_thread(network.check_name_servers, places)

        closed = ("127.0.0.1", free_port())
        server.to_lose = network.TRIES - 1
        assert worst(await ask(server.endpoint)) is OK
        assert server.to_lose == 0
        assert worst(await ask(server.endpoint, closed)) is WARNING
        found = await ask(closed)
        assert (worst(found), f"127.0.0.1:{closed[1]}" in said(found)) == (FAILURE, True)


def test_ports_that_nobody_listens_on_are_seen() -> None:
    closed = free_port()
    found = network.check_sip_ports({"sip": [("127.0.0.1", closed)], "ws": []})
    assert [finding.level for finding in found] == [FAILURE, FAILURE]
    assert f"UDP 127.0.0.1:{closed}" in said(found)
    replica = {"service": "notifier", "instance": "a", "host": socket.gethostname(), "address": f"127.0.0.1:{closed}"}
    found = network.check_replica_ports([replica])
    assert (worst(found), "notifier a does not take connections" in said(found)) == (WARNING, True)
    assert network.check_replica_ports([replica | {"host": "elsewhere"}]) == []


async def test_options_that_are_lost_on_the_way_are_sent_again() -> None:
    asked: list[bytes] = []

    class Edge(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked.append(data)
            if len(asked) == network.TRIES:
                transport.sendto(b"SIP/2.0 200 OK\r\n\r\n", addr)

    place = ("127.0.0.1", free_port())
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Edge, local_addr=place)
    try:
        found = await asyncio.to_thread(network.check_sip_ports, {"sip": [place]})
    finally:
        transport.close()
    assert [finding.level for finding in found] == [FAILURE, OK], "nobody listens on TCP"
    assert asked == [asked[0]] * network.TRIES


async def test_certificates_that_are_over_or_of_others_are_seen(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    now = datetime.now(UTC)
    cases: list[tuple[str, tuple[str, ...], int, datetime, Level, str]] = [
        ("good", ("127.0.0.1",), 60, now, OK, ""),
        ("soon", ("127.0.0.1", "sip.example.com"), 5, now, WARNING, "ends in"),
        ("over", ("127.0.0.1",), -1, now, FAILURE, "is over since"),
        ("early", ("127.0.0.1",), 5, now - timedelta(days=365), FAILURE, "only"),
        ("other", ("sip.example.com",), 60, now, FAILURE, "is for sip.example.com, and clients know 127.0.0.1"),
    ]
    for file, hosts, days, moment, level, text in cases:
        pair = authority.issue(file, *hosts, days=days)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        try:
            place = server.sockets[0].getsockname()
            found = await asyncio.to_thread(network.check_certificates, [place], moment)
        finally:
            server.close()
        assert (worst(found), text in said(found)) == (level, True), (file, found)
    found = network.check_certificates([("127.0.0.1", free_port())])
    assert (worst(found), "shows no certificate" in said(found)) == (FAILURE, True)


def parameters(**values: str) -> Parameters:
    return Parameters(
        [
            {"name": name, "value": value, "services": ["sip-edge"], "instances": [f"i{number}"]}
            for name, listed in values.items()
            for number, value in enumerate(listed.split("|"))
        ]
    )


@pytest.mark.parametrize(
    ("given", "transport", "expected"),
    [
        (parameters(sip_host="127.0.0.1,::1", sip_port="5060"), "sip", [("127.0.0.1", 5060), ("::1", 5060)]),
        (
            parameters(sip_host="0.0.0.0", sip_port="5060", server_address="sip.example.com:5070"),
            "sip",
            [("sip.example.com", 5070)],
        ),
        (parameters(sip_host="127.0.0.1", sip_port="5060"), "tls", []),
        (
            parameters(sip_host="0.0.0.0", tls_port="5061", server_address="[2001:db8::1]:5060"),
            "tls",
            [("2001:db8::1", 5061)],
        ),
        (
            parameters(sip_host="127.0.0.1", wss_port="443", wss_server_address="w.example.com:8443"),
            "wss",
            [("w.example.com", 8443)],
        ),
        (parameters(sip_host="127.0.0.1", sip_port="0"), "sip", []),
    ],
)
def test_where_clients_come_to(given: Parameters, transport: str, expected: list[tuple[str, int]]) -> None:
    assert network.places(given, transport) == expected


# what REST says

REPLICA = {"host": "h", "version": "1", "ready": True, "load": {"cpu": 0.1, "lag": 0.0, "memory": 1}}
REPLICAS = [
    {**REPLICA, "service": name, "instance": name} for name in ("sip-edge", "presence-core", "notifier", "api")
]
QUEUES = dict.fromkeys(
    ("changes", "changes_due", "oldest_due", "notifies_overtime", "watchers_unreachable"), 0
) | dict.fromkeys(("publications_overdue", "subscriptions_overdue"), 0)


def with_first(**changed: object) -> list[dict[str, Any]]:
    return [{**REPLICAS[0], **changed}, *REPLICAS[1:]]


@pytest.mark.parametrize(
    ("found", "level", "text"),
    [
        (check_replicas(REPLICAS, "1"), OK, ""),
        (check_replicas(REPLICAS[1:], "1"), FAILURE, "no sip-edge is ready"),
        (check_replicas(with_first(ready=False), "1"), FAILURE, "no sip-edge is ready"),
        (check_replicas(with_first(load=None), "1"), WARNING, "does not answer"),
        (check_replicas(with_first(load={"cpu": 0.99, "lag": 0, "memory": 1}), "1"), WARNING, "99% of a core"),
        (check_replicas(with_first(load={"cpu": 0.1, "lag": 2.0, "memory": 1}), "1"), WARNING, "late by 2.0 s"),
        (check_replicas(with_first(version="2"), "1"), WARNING, "several versions run: 1, 2"),
        (check_replicas(REPLICAS, "2"), WARNING, "this command is of 2"),
        (check_queues(QUEUES), OK, ""),
        (check_queues(QUEUES | {"oldest_due": 6.0}), WARNING, "6 s"),
        (check_queues(QUEUES | {"oldest_due": 60.0}), FAILURE, "vedette scale notifier=N"),
        (check_queues(QUEUES | {"notifies_overtime": 3}), WARNING, "3 NOTIFYs"),
        (check_queues(QUEUES | {"publications_overdue": 3}), WARNING, "3 publications"),
        (check_queues(QUEUES | {"subscriptions_overdue": 3}), WARNING, "3 subscriptions"),
        (check_queues(QUEUES | {"watchers_unreachable": 5000}), WARNING, "5000 watchers"),
        (check_parameters(parameters(auth="none", sip_host="127.0.0.1,::1"), []), OK, ""),
        (
            check_parameters(parameters(auth="none", sip_host="127.0.0.1,192.0.2.1"), []),
            FAILURE,
            "VEDETTE_AUTH=digest",
        ),
        (check_parameters(parameters(auth="none", sip_host="0.0.0.0", sip_published="127.0.0.1"), []), OK, ""),
        (check_parameters(parameters(auth="digest", sip_host="0.0.0.0"), []), OK, ""),
        (check_parameters(parameters(api_auth="none", api_host="192.0.2.1"), []), FAILURE, "VEDETTE_API_AUTH=token"),
        (check_parameters(parameters(trusted_peers="192.0.2.0/24, 0.0.0.0/0"), []), FAILURE, "0.0.0.0/0"),
        (check_parameters(parameters(fallback2db="0|1"), []), FAILURE, "fallback2db has several values"),
        (check_parameters(parameters(), ["i1"]), WARNING, "i1 did not say"),
        (check_clocks({}), OK, ""),
        (check_clocks({"Postgres": 0.4, "Redis": -1.0}), OK, ""),
        (check_clocks({"Postgres": 10.0}), WARNING, "Postgres is 10.0 s ahead"),
        (check_clocks({"Redis": -90.0}), FAILURE, "Redis is 90.0 s behind"),
        ([judge(Path("/d"), 2**20, 2**40)], FAILURE, "1 MiB"),
        ([judge(Path("/d"), 2**30, 2**40)], WARNING, "1024 MiB"),
        ([judge(Path("/d"), 2**40, 2**41)], OK, ""),
        (check_disk(Path("/nonexistent")), WARNING, "/nonexistent"),
    ],
)
def test_what_the_system_says_of_itself_is_judged(found: list[Finding], level: Level, text: str) -> None:
    assert (worst(found), text in said(found)) == (level, True)


async def test_the_clock_of_a_host_is_read_from_what_its_processes_answer() -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nDate: Sat, 01 Jan 2022 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        replicas = [{"host": "late", "address": address}, {"host": "gone", "address": f"127.0.0.1:{free_port()}"}]
        found: dict[str, float] = await asyncio.to_thread(clocks_of_replicas, replicas)
    assert list(found) == ["the host late"]
    assert found["the host late"] < -86_400
