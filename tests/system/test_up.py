"""`vedette up`: what it promises, with real processes, real signals and real data."""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.folders import open_folder
from tests.phone import Message, opened, pidf, token
from tests.programs import required
from tests.running_set import VEDETTE, RunningSet, environment, run, start
from tests.system.exchange import works
from tests.system.processes import Traces
from tests.wait import until, until_true
from vedette.store.migrations import OLDEST_POSTGRES, MigrationError, Phase, apply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = [str(Path(sys.executable).with_name("vedette"))]
STOP_DEADLINE = 30.0
"""Seconds; three times what docker and systemd give, since the machine is busy. What the set itself waits for is
bounded in tests/unit/supervisor/test_times_of_the_end.py."""
GONE_DEADLINE = 30.0
NOBODY = 65534


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own_set() -> AsyncIterator[RunningSet]:
    """Two edges, two cores, one notifier, to be maltreated; every test leaves it whole."""
    with open_folder("up") as data:
        running = await start(data, ["--edges", "2"], program=SCRIPT)
        try:
            yield running
        finally:
            await running.stop()


@pytest.fixture(scope="module")
def used_data() -> Iterator[Path]:
    """A folder on which sets are started and ended, one after the other."""
    with open_folder("data") as path:
        yield path


async def publication_count(running: RunningSet, uri: str) -> int:
    view = await running.get(f"/api/v1/presentities/{uri}")
    return len(view.get("publication_list", []))


# what it says


async def test_ready_names_every_address(own_set: RunningSet) -> None:
    said = own_set.output[own_set.output.index("ready") :]
    text = "\n".join(said)
    assert f"SIP       {own_set.sip_address} (UDP and TCP)" in text
    assert f"{own_set.api}/readyz" in text
    assert f"{own_set.api}/api/v1/presentities" in text
    assert str(own_set.data) in text
    rows = (await own_set.status())["processes"]
    for row in rows:
        if row["service"] in ("edge", "core", "notifier"):
            assert f"{row['service']} {row['index']}" in text
            assert row["address"] in text
    async with aiohttp.ClientSession() as session, session.get(f"{own_set.api}/api/v1/presentities") as response:
        assert response.status == 200


async def test_the_two_commands_to_try_work_as_printed(own_set: RunningSet) -> None:
    place = own_set.output.index("Try, each in a terminal of its own:")
    watch, publish = (shlex.split(line) for line in own_set.output[place + 1 : place + 3])
    assert watch[1:3] == ["watch", "sip:alice@example.com"]
    assert publish[1:3] == ["publish", "sip:alice@example.com"]
    watcher = await asyncio.create_subprocess_exec(
        *watch, stdout=asyncio.subprocess.PIPE, env=environment({"PYTHONUNBUFFERED": "1"})
    )
    assert watcher.stdout is not None
    try:
        async with asyncio.timeout(90):
            first = (await watcher.stdout.readline()).decode()
            assert "sip:alice@example.com closed" in first
            publisher = await asyncio.create_subprocess_exec(*publish, env=environment())
            assert await publisher.wait() == 0
            second = (await watcher.stdout.readline()).decode()
            assert 'open  meeting  "In a meeting"' in second
            watcher.send_signal(signal.SIGINT)
            assert await watcher.wait() == 0
    finally:
        if watcher.returncode is None:
            watcher.kill()
            await watcher.wait()


async def status_of_a_whole_set(running: RunningSet, *options: str) -> str:
    """What `vedette status` says, once every process has answered it in time."""

    async def said() -> str | None:
        code, out, _ = await run("status", *options, "--data", str(running.data))
        return out if code == 0 else None

    return str(await until(said, "every process is ready"))


async def test_status_lists_every_process(own_set: RunningSet) -> None:
    status = json.loads(await status_of_a_whole_set(own_set, "--json"))
    assert status["sip"] == own_set.sip_address
    assert status["api"] == own_set.api
    counts: dict[str, int] = {}
    for row in status["processes"]:
        assert row.keys() >= {"service", "index", "pid", "address", "ready"}
        counts[row["service"]] = counts.get(row["service"], 0) + 1
        os.kill(row["pid"], 0)
        assert row["ready"] is True
    assert counts == {"postgres": 1, "redis": 1, "edge": 2, "core": 2, "api": 1, "notifier": 1}
    out = await status_of_a_whole_set(own_set)
    for row in status["processes"]:
        assert any(
            line.split()[:3] == [row["service"], str(row["index"]), str(row["pid"])] for line in out.splitlines()
        )


async def test_status_of_no_set_says_so() -> None:
    with open_folder("nothing") as data:
        code, out, err = await run("status", "--data", str(data))
    assert code == 1
    assert out == ""
    assert err.count("\n") == 1
    assert f"no set runs on {data}" in err


async def readyz(running: RunningSet) -> tuple[int, dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.get(f"{running.api}/readyz") as response:
        answer = await response.json()
        assert answer["ready"] is (response.status == 200)
        return response.status, answer["checks"]


async def test_readyz_is_200_or_503_and_names_what_is_missing(own_set: RunningSet) -> None:
    await own_set.all_ready()

    async def ready() -> dict[str, str] | None:
        status, checks = await readyz(own_set)
        return checks if status == 200 else None

    checks = await until(ready, "/readyz is 200")
    assert checks == {"postgres": "ok", "presence-core": "ok", "notifier": "ok", "sip-edge": "ok"}
    silent = [row for name in ("core", "edge", "notifier") for row in await own_set.processes(name)]
    try:
        for row in silent:
            os.kill(row["pid"], signal.SIGSTOP)

        async def all_missed() -> bool:
            status, checks = await readyz(own_set)
            missed = {name for name, state in checks.items() if state != "ok"}
            return status == 503 and missed == {"presence-core", "notifier", "sip-edge"}

        await until(all_missed, "/readyz is 503 and names the three")
        code, out, _ = await run("status", "--json", "--data", str(own_set.data))
        assert code == 1
        assert {row["service"] for row in json.loads(out)["processes"] if not row["ready"]} == {
            "core",
            "edge",
            "notifier",
        }
    finally:
        for row in silent:
            os.kill(row["pid"], signal.SIGCONT)
    await until(ready, "/readyz is 200 again")


# restarts and scaling


@pytest.mark.parametrize("service", ["core", "notifier", "edge", "api", "redis", "postgres"])
async def test_a_killed_process_is_started_again(own_set: RunningSet, service: str) -> None:
    await own_set.all_ready()
    old = await own_set.kill(service)

    async def back() -> bool:
        rows = await own_set.processes(service)
        return rows[0]["pid"] not in (None, old) and all(row["ready"] for row in rows)

    await until(back, f"another {service} is ready", deadline=60)
    await works(own_set)

    async def ready() -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            return (await readyz(own_set))[0] == 200
        return False

    await until(ready, "/readyz is 200")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_edges_share_the_sip_port(own_set: RunningSet, transport: str) -> None:
    await own_set.all_ready()
    rows = await own_set.processes("edge")
    assert len({row["address"] for row in rows}) == 2
    async with contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(opened(own_set, token("alice"), transport))
        # 24 flows on two processes: with all on one, the port would not be shared (chance 2^-23)
        watchers = [await stack.enter_async_context(opened(own_set, transport=transport)) for _ in range(24)]
        for watcher in watchers:
            await watcher.subscribed(alice.aor)
        page = await own_set.get("/api/v1/subscriptions", presentity=alice.aor)
        assert len(page["items"]) == 24
        assert len({item["edge"] for item in page["items"]}) == 2
        await alice.published(body=pidf(alice.aor, note="to both"))
        for watcher in watchers:
            await watcher.notify_where(lambda notify: b"to both" in notify.body)


async def test_scale_changes_a_running_set_and_back(own_set: RunningSet) -> None:
    async with opened(own_set, token("alice")) as alice, opened(own_set) as bob:
        await bob.subscribed(alice.aor)
        etag = await alice.published(body=pidf(alice.aor, note="state 0"))
        await bob.notify_where(lambda notify: b"state 0" in notify.body)
        for number, counts in enumerate(
            ({"core": 5, "notifier": 2, "edge": 3}, {"core": 1, "notifier": 1, "edge": 1}, {"core": 2, "edge": 2}), 1
        ):
            before = {row["pid"] for row in (await own_set.status())["processes"]}
            await own_set.scale(*(f"{name}={count}" for name, count in counts.items()))
            for name, count in counts.items():
                assert [row["index"] for row in await own_set.processes(name)] == list(range(count))
            after = {row["pid"] for row in (await own_set.status())["processes"]}
            for pid in before - after:
                await until_true(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "it has ended")  # type: ignore[misc]
            await own_set.all_ready()
            await seen_by_rest(own_set, counts)

            note = f"state {number}"
            response = await alice.request(alice.publish(body=pidf(alice.aor, note=note), if_match=etag))
            assert response.status == 200, response.start
            etag = response["sip-etag"]
            await bob.notify_where(partial(shows, note.encode()))
            await works(own_set)


def shows(note: bytes, notify: Message) -> bool:
    return note in notify.body


async def seen_by_rest(running: RunningSet, counts: dict[str, int]) -> None:
    names = {"core": "presence-core", "notifier": "notifier", "edge": "sip-edge"}

    async def seen() -> bool:
        items = (await running.get("/api/v1/replicas"))["items"]
        ready = [item["service"] for item in items if item["ready"]]
        return all(ready.count(names[name]) == count for name, count in counts.items())

    await until(seen, f"/api/v1/replicas shows {counts}")


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (["core=0"], "core=0: from 1 to 64"),
        (["edge=65"], "edge=65: from 1 to 64"),
        (["postgres=2"], "'postgres' cannot be scaled; these can: core, notifier, edge"),
        (["core"], "write SERVICE=COUNT"),
        (["core=many"], "write SERVICE=COUNT"),
    ],
)
async def test_scale_refuses_what_makes_no_sense(own_set: RunningSet, counts: list[str], text: str) -> None:
    before = {row["pid"] for row in (await own_set.status())["processes"]}
    code, _, err = await run("scale", *counts, "--data", str(own_set.data))
    assert code == 2
    assert text in err
    assert err.count("\n") == 1
    assert {row["pid"] for row in (await own_set.status())["processes"]} == before


async def test_a_scale_that_fails_leaves_no_slot_behind_and_the_next_one_works(own_set: RunningSet) -> None:
    log = own_set.data / "log" / "core-2.log"
    log.unlink(missing_ok=True)
    log.mkdir()
    code, _, err = await run("scale", "core=4", "--data", str(own_set.data))
    assert code == 2
    assert "core 2 did not start" in err
    assert "3 of 4 run: core=3" in err
    rows = await own_set.processes("core")
    assert [row["index"] for row in rows] == [0, 1, 3]
    assert all(row["pid"] for row in rows)
    log.rmdir()
    await own_set.scale("core=4")
    assert [row["index"] for row in await own_set.processes("core")] == [0, 1, 2, 3]
    await own_set.all_ready()
    await own_set.scale("core=2")
    await works(own_set)


# starts that cannot be


async def refused(*arguments: str, data: Path, text: str, extra: dict[str, str] | None = None) -> None:
    """The start ends by itself, says `text` in one line, and leaves nothing running."""
    traces = Traces(data)
    code, _, err = await run("up", *arguments, "--data", str(data), extra=traces.environment | (extra or {}))
    assert code != 0
    assert text in err
    assert err.count("\n") == 1, err
    assert not traces.processes()


@contextlib.contextmanager
def port_taken(kind: socket.SocketKind) -> Iterator[int]:
    """A port that is taken for one kind and free for the other."""
    other_kind = socket.SOCK_STREAM if kind == socket.SOCK_DGRAM else socket.SOCK_DGRAM
    for _ in range(100):
        with socket.socket(socket.AF_INET, kind) as taken, socket.socket(socket.AF_INET, other_kind) as other:
            taken.bind(("127.0.0.1", 0))
            port = int(taken.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port))
            except OSError:
                continue
            other.close()
            if kind == socket.SOCK_STREAM:
                taken.listen()
            yield port
            return
    raise AssertionError("no port is free for both kinds")


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["udp", "tcp"])
async def test_a_taken_sip_port_is_said_in_one_line(kind: socket.SocketKind) -> None:
    with open_folder("taken") as data, port_taken(kind) as port:
        name = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
        text = f"cannot listen on 127.0.0.1:{port} ({name}, for SIP): Address already in use. Choose another port"
        await refused("--sip-port", str(port), "--api-port", "0", data=data, text=text)


async def test_a_taken_api_port_is_said_in_one_line(own_set: RunningSet) -> None:
    port = own_set.api.rpartition(":")[2]
    with open_folder("taken") as data:
        await refused("--sip-port", "0", "--api-port", port, data=data, text=f"127.0.0.1:{port} (TCP, for REST)")


async def test_the_sip_port_of_another_set_is_taken_although_edges_share_theirs(own_set: RunningSet) -> None:
    port = str(own_set.sip[1])
    with open_folder("taken") as data:
        await refused("--sip-port", port, "--api-port", "0", data=data, text=f"cannot listen on 127.0.0.1:{port}")


async def test_a_second_set_on_the_same_data_is_refused_and_harms_nothing(own_set: RunningSet) -> None:
    traces = Traces(Path("/nowhere"))
    code, _, err = await run(
        *("up", "--sip-port", "0", "--api-port", "0", "--data", str(own_set.data)), extra=traces.environment
    )
    assert code == 1
    assert err == f"a set is running on {own_set.data} already. Stop it, or choose another folder with --data\n"
    assert not traces.processes()
    await works(own_set)


async def test_a_folder_that_cannot_be_written_is_said_in_one_line() -> None:
    with open_folder("file") as folder:
        (folder / "file").write_text("not a folder")
        data = folder / "file" / "data"
        await refused("--sip-port", "0", "--api-port", "0", data=data, text=f"cannot write to {data}")


@pytest.mark.skipif(os.getuid() != 0, reason="only where root starts it do the servers run as another user")
async def test_a_folder_that_the_servers_cannot_pass_is_said_in_one_line() -> None:
    with open_folder("closed") as folder:
        folder.chmod(0o700)
        data = folder / "data"
        await refused("--sip-port", "0", "--api-port", "0", data=data, text=f"cannot pass {folder}")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--host", "localhost"], "--host: 'localhost' is not an IP address"),
        (["--host", "0.0.0.0"], "needs --advertise HOST:PORT"),
        (["--host", "0.0.0.0", "--auth", "none"], "needs --advertise HOST:PORT"),
        (["--advertise", "sip.example.com"], "--advertise: 'sip.example.com' is no host:port"),
        (["--host", "192.0.2.77", "--auth", "none"], "cannot listen on 192.0.2.77:0"),
        (["--fresh", "--database-url", "postgresql://x@127.0.0.1:1/x"], "--fresh empties the embedded database only"),
    ],
)
async def test_options_that_cannot_be_are_said_in_one_line(arguments: list[str], text: str) -> None:
    with open_folder("options") as data:
        await refused(*arguments, "--sip-port", "0", "--api-port", "0", data=data, text=text)


class OldServer:
    """What `apply` sees of a connection to a server, where that server is of another version.

    No Postgres below 15 is to be had as a package here: the check is tried with the numbers that one would report.
    """

    def __init__(self, major: int) -> None:
        self.major = major
        self.asked: list[str] = []

    def get_server_version(self) -> "OldServer":
        return self

    async def execute(self, query: str, *_: object) -> None:
        self.asked.append(query)


@pytest.mark.parametrize("major", [9, 13, 14])
async def test_a_postgres_below_15_is_refused_before_anything_is_written(major: int) -> None:
    server = OldServer(major)
    with pytest.raises(MigrationError) as refusal:
        async for _ in apply(server, [], Phase.PRE):  # type: ignore[arg-type]
            pass
    assert str(refusal.value) == f"PostgreSQL {major} is too old: Vedette needs {OLDEST_POSTGRES} or newer"
    assert OLDEST_POSTGRES == 15
    assert server.asked == []


async def test_bad_parameters_stop_the_start_with_name_and_allowed_values(used_data: Path) -> None:
    traces = Traces(used_data)
    bad = {"VEDETTE_MAX_EXPIRES": "soon", "VEDETTE_MIN_EXPIRES": "-1", "VEDETTE_PRES_HTABLE_SIZE": "99"}
    code, _, err = await run(
        *("up", "--sip-port", "0", "--api-port", "0", "--data", str(used_data)), extra=traces.environment | bad
    )
    assert code != 0
    lines = {name: next(line for line in err.splitlines() if line.startswith(name)) for name in bad}
    assert "valid integer" in lines["VEDETTE_MAX_EXPIRES"]
    assert "'soon'" in lines["VEDETTE_MAX_EXPIRES"]
    assert "greater than or equal to 0" in lines["VEDETTE_MIN_EXPIRES"]
    assert "less than or equal to 16" in lines["VEDETTE_PRES_HTABLE_SIZE"]
    await traces.wait_until_none(GONE_DEADLINE)


@pytest.mark.parametrize(
    ("module", "name", "value", "allowed"),
    [
        ("sip_edge", "VEDETTE_T1", "0", "greater than or equal to 1"),
        ("sip_edge", "VEDETTE_AUTH", "basic", "'none', 'digest' or 'trusted'"),
        ("sip_edge", "VEDETTE_SIP_HOST", "0.0.0.0", "VEDETTE_SIP_HOST"),
        ("presence_core", "VEDETTE_ROLE", "both", "'core' or 'api'"),
        ("presence_core", "VEDETTE_DOMAINS", "a.example,,b.example", "separated by commas"),
        ("presence_core", "VEDETTE_FALLBACK2DB", "2", "0 or 1"),
        ("presence_core", "VEDETTE_TO_TAG_PREF", "a b", "pattern"),
        ("notifier", "VEDETTE_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("notifier", "VEDETTE_CLEAN_PERIOD", "0", "greater than or equal to 1"),
    ],
)
async def test_each_service_names_a_bad_parameter(module: str, name: str, value: str, allowed: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stderr=asyncio.subprocess.PIPE,
        env=environment({name: value}),
    )
    _, err = await asyncio.wait_for(process.communicate(), 90)
    text = err.decode()
    assert process.returncode == 2
    assert text.count("\n") == 1, text
    assert name.lower() in text.lower()
    assert allowed in text
    assert value in text


# the end and the next start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_a_signal_ends_everything_in_order(used_data: Path, number: signal.Signals) -> None:
    traces = Traces(used_data)
    running = await start(used_data, ["--edges", "2"], extra=traces.environment)
    assert len(traces.processes()) >= 1 + len((await running.status())["processes"])
    ends = asyncio.get_running_loop().time() + STOP_DEADLINE
    assert await running.stop(number) == 0
    assert asyncio.get_running_loop().time() < ends
    assert running.output[-1] == "stopping"
    assert not traces.processes()
    stopped = {name: last_stop(used_data / "log" / f"{name}-0.log") for name in ("edge", "core", "notifier")}
    assert stopped["edge"] < stopped["core"]
    assert stopped["edge"] < stopped["notifier"]
    assert "database system is shut down" in (used_data / "log" / "postgres.log").read_text().splitlines()[-1]


def last_stop(log: Path) -> str:
    """When the service was told to stop."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return str([line for line in lines if line["event"] == "stopping"][-1]["timestamp"])


async def test_a_signal_while_it_starts_ends_everything(used_data: Path) -> None:
    traces = Traces(used_data)
    process = await asyncio.create_subprocess_exec(
        *(*VEDETTE, "up", "--sip-port", "0", "--api-port", "0", "--data", str(used_data)),
        stdout=asyncio.subprocess.PIPE,
        env=environment(traces.environment),
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while not (await process.stdout.readline()).startswith(b"starting edge"):
            assert process.returncode is None
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), STOP_DEADLINE)
    assert process.returncode == 0
    assert not traces.processes()


async def test_it_ends_before_docker_and_systemd_kill_it_though_nothing_in_it_does(used_data: Path) -> None:
    traces = Traces(used_data)
    running = await start(used_data, extra=traces.environment)
    for row in (await running.status())["processes"]:
        os.kill(row["pid"], signal.SIGSTOP)
    ends = asyncio.get_running_loop().time() + STOP_DEADLINE
    assert await running.stop() == 0
    assert asyncio.get_running_loop().time() < ends
    await traces.wait_until_none(GONE_DEADLINE)  # the children of a Postgres that was killed end by themselves


async def test_a_data_folder_may_have_any_name() -> None:
    with open_folder("a+b&c#d,e%41 f;g'h\"i=j") as data:
        running = await start(data)
        try:
            await works(running)
            assert (await running.processes("postgres"))[0]["ready"]
        finally:
            assert await running.stop() == 0


async def test_pub_08_state_survives_a_restart_and_no_tag_comes_again(used_data: Path) -> None:
    first = await start(used_data)
    arguments = ["--sip-port", str(first.sip[1])]
    async with opened(first, token("alice")) as alice, opened(first) as bob:
        try:
            dialog, _ = await bob.subscribed(alice.aor)
            etag = await alice.published(body=pidf(alice.aor, note="before"))
            before = await bob.notify_where(lambda notify: b"before" in notify.body)
        finally:
            await first.stop()
        second = await start(used_data, arguments)
        try:
            assert second.sip == first.sip
            view = await second.get(f"/api/v1/presentities/{alice.aor}")
            assert [item["etag"] for item in view["publication_list"]] == [etag]
            page = await second.get("/api/v1/subscriptions", presentity=alice.aor)
            assert [item["call_id"] for item in page["items"]] == [dialog.call_id]

            async with opened(second, alice.user) as other_device:
                await other_device.published(body=pidf(alice.aor, note="after"))
            after = await bob.notify_where(lambda notify: b"after" in notify.body)
            assert b"before" in after.body
            assert after["call-id"] == before["call-id"]
            assert int(after["cseq"].split()[0]) > int(before["cseq"].split()[0])

            response = await alice.request(alice.publish(body=pidf(alice.aor, note="changed"), if_match=etag))
            assert response.status == 200
            assert (await alice.request(alice.publish(if_match=etag))).status == 412
            fresh = [await alice.published(body=pidf(alice.aor, tuple_id=f"t{number}")) for number in range(20)]
            assert len({etag, response["sip-etag"], *fresh}) == 22
            await bob.notify_where(lambda notify: b"changed" in notify.body and b"before" not in notify.body)
            response = await bob.request(bob.subscribe(dialog, expires=0))
            assert response.status == 200
            await bob.notify_where(lambda notify: notify.state == "terminated")
        finally:
            await second.stop()


async def test_fresh_starts_empty(used_data: Path) -> None:
    running = await start(used_data)
    try:
        async with opened(running, token("alice")) as alice:
            etag = await alice.published()
            assert await publication_count(running, alice.aor) == 1
    finally:
        await running.stop()
    running = await start(used_data, ["--fresh"])
    try:
        assert (await running.get("/api/v1/presentities"))["items"] == []
        async with opened(running, alice.user) as alice:
            assert (await alice.request(alice.publish(if_match=etag))).status == 412
        await works(running)
    finally:
        await running.stop()


async def test_a_killed_supervisor_leaves_no_orphan_and_the_next_start_recovers(used_data: Path) -> None:
    traces = Traces(used_data)
    running = await start(used_data, extra=traces.environment)
    async with opened(running, token("alice")) as alice:
        etag = await alice.published(body=pidf(alice.aor, note="kept"))
    running.process.kill()
    await running.stop()
    await traces.wait_until_none(GONE_DEADLINE)
    running = await start(used_data, ["--sip-port", str(running.sip[1])], extra=traces.environment)
    try:
        view = await running.get(f"/api/v1/presentities/{alice.aor}")
        assert [item["etag"] for item in view["publication_list"]] == [etag]
        await works(running)
    finally:
        await running.stop()
    assert not traces.processes()


async def test_a_start_right_after_the_supervisor_was_killed_waits_for_what_is_left(used_data: Path) -> None:
    running = await start(used_data)
    old = {row["pid"] for row in (await running.status())["processes"]}
    running.process.kill()
    await running.process.wait()
    again = await start(used_data)
    try:
        assert not old & {row["pid"] for row in (await again.status())["processes"]}
        await works(again, "tcp")
    finally:
        await again.stop()
        await running.stop()


async def test_dlg_25_killed_with_everything_it_recovers_and_dialogs_go_on(used_data: Path) -> None:
    """As after a power cut: Postgres leaves its pid file behind, Redis its socket."""
    traces = Traces(used_data)
    running = await start(used_data, extra=traces.environment)
    async with opened(running, token("alice")) as alice, opened(running) as bob:
        etag = await alice.published()
        dialog, first = await bob.subscribed(alice.aor)
        running.process.send_signal(signal.SIGSTOP)  # it would start again what is killed before itself
        for pid in sorted(traces.processes(), reverse=True):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await running.stop()
        await traces.wait_until_none(GONE_DEADLINE)
        assert (used_data / "postgres" / "postmaster.pid").exists()
        running = await start(used_data, ["--sip-port", str(running.sip[1])])
        try:
            view = await running.get(f"/api/v1/presentities/{alice.aor}")
            assert [item["etag"] for item in view["publication_list"]] == [etag]
            assert (await bob.request(bob.subscribe(dialog))).status == 200
            again = await bob.next_notify()
            assert again["call-id"] == first["call-id"]
            assert int(again["cseq"].split()[0]) > int(first["cseq"].split()[0])
            await works(running)
        finally:
            await running.stop()


# as somebody else


def as_nobody() -> list[str]:
    """A prefix that runs a command as nobody; it may still read the interpreter, wherever that is installed."""
    return [
        *(required("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
    ]


only_root_becomes_another = pytest.mark.skipif(
    os.getuid() != 0, reason="not run by root: all other tests already show what this one would"
)


@only_root_becomes_another
async def test_it_runs_without_being_root() -> None:
    with open_folder("nobody") as data:
        os.chown(data, NOBODY, NOBODY)
        traces = Traces(data)
        running = await start(data, extra=traces.environment, program=[*as_nobody(), *VEDETTE])
        try:
            users: set[int] = set()
            for pid in traces.processes():
                with contextlib.suppress(OSError):  # a process of Postgres that has ended meanwhile
                    users.add(Path(f"/proc/{pid}").stat().st_uid)
            assert users == {NOBODY}
            await works(running)
            for name in ("rpc_token", "database_password"):
                facts = (data / "secrets" / name).stat()
                assert (facts.st_uid, facts.st_mode & 0o777) == (NOBODY, 0o600)
        finally:
            assert await running.stop() == 0
        assert not traces.processes()


@only_root_becomes_another
async def test_a_folder_of_somebody_else_is_said_in_one_line() -> None:
    with open_folder("foreign") as data:
        process = await asyncio.create_subprocess_exec(
            *(*as_nobody(), *VEDETTE, "up", "--sip-port", "0", "--api-port", "0", "--data", str(data)),
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
        _, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 1
        assert err.decode() == f"cannot write to {data}: Permission denied. Choose another folder with --data\n"
        assert not Traces(data).processes()
