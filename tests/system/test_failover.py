"""Postgres dies for good and its standby takes over, at another address: a set that knows both goes on by itself."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from sip_edge.domain.admission import RETRY_LATEST, RETRY_SOONEST
from tests.backend import Backend, backend_started, standby_of
from tests.folders import open_folder
from tests.running_set import started
from tests.system.figures import caught_up
from tests.system.history import SubscribeAnswered, lost_changes, not_converged, wrong_cseqs, wrong_dialogs
from tests.system.load import loaded
from tests.wait import until
from vedette_cli.supervisor.folders import open_data_folder


async def replicates_synchronously(backend: Backend) -> None:
    """Return when every commit waits for the standby."""
    admin = await backend.connect("postgres")
    try:
        await admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await admin.execute("SELECT pg_reload_conf()")

        async def synchronous() -> bool:
            return "sync" in [row["sync_state"] for row in await admin.fetch("SELECT * FROM pg_stat_replication")]

        await until(synchronous, "the standby is synchronous")
    finally:
        await admin.close()


async def replicates_no_more(backend: Backend, sockets: Path) -> None:
    """Return when the standby has lost its way to the other one, which does not mind."""
    admin = await backend.connect("postgres", at=sockets)
    try:
        await admin.execute("ALTER SYSTEM SET primary_conninfo = ''")
        await admin.execute("SELECT pg_reload_conf()")

        async def cut_off() -> bool:
            return await admin.fetch("SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming'") == []

        await until(cut_off, "the standby gets nothing any more")
    finally:
        await admin.close()


async def promote(backend: Backend, sockets: Path) -> None:
    """Kill the server, and have the standby take its place."""
    for pid in backend.postgres_processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    admin = await backend.connect("postgres", at=sockets)
    try:
        assert await admin.fetchval("SELECT pg_promote()")
    finally:
        await admin.close()


async def test_a_standby_that_lags_takes_over_and_what_it_did_not_have_is_gone_and_all_converges() -> None:
    """Asynchronous replication: what is acknowledged and not on the standby is lost, and nothing stays wrong."""
    async with backend_started() as backend:
        with open_folder("standby") as path:
            folders, _ = open_data_folder(path)
            hosts = f"{backend.folders.sockets},{folders.sockets}"
            url = f"postgresql://vedette:{backend.password}@/vedette?host={hosts}&target_session_attrs=read-write"
            async with started("--edges", "1", "--notifiers", "1", "--database-url", url) as running:
                standby = await standby_of(backend, folders)
                try:
                    async with loaded(running, lossy=True) as load:
                        await replicates_no_more(backend, folders.sockets)
                        before = load.history.acknowledged()
                        await load.goes_on(10)
                        await promote(backend, folders.sockets)
                        gap = load.history.acknowledged() - before
                        since = time.monotonic()
                        await load.goes_on(20)
                        stored = await load.converges()
                        dialogs = await load.stored_dialogs()
                    lost = [*lost_changes(load.history, stored)]
                    gone = sum(isinstance(e, SubscribeAnswered) and e.status == 481 for e in load.history.events)
                    times = sorted(
                        seconds for seconds in caught_up(load.history, since).values() if seconds is not None
                    )
                    sys.stdout.write(
                        f"{gap} changes were acknowledged and not on the standby, of {load.history.acknowledged()}; "
                        f"{len(lost)} publications went back, {gone} dialogs got 481; all had news after "
                        f"{times[len(times) // 2]:.2f} s (median), {times[-1]:.2f} s (last)\n"
                    )
                    assert "postgres has failed over" in (running.data / "log" / "notifier-0.log").read_text()
                    assert gap > 0
                    assert lost != []
                    assert [*wrong_cseqs(load.history)] == []
                    assert [*not_converged(load.history, stored)] == []
                    assert [*wrong_dialogs(load.history, dialogs)] == []
                    assert len(times) == len(load.watchers)
                    statuses = {r.status for r in load.history.responses}
                    assert statuses <= {200, 412, 481, 503}
                finally:
                    await standby.stop()


async def test_a_standby_that_replicates_synchronously_takes_over_and_nothing_is_lost() -> None:
    async with backend_started() as backend:
        with open_folder("standby") as path:
            folders, _ = open_data_folder(path)
            hosts = f"{backend.folders.sockets},{folders.sockets}"
            url = f"postgresql://vedette:{backend.password}@/vedette?host={hosts}&target_session_attrs=read-write"
            async with started("--edges", "2", "--notifiers", "2", "--database-url", url) as running:
                standby = await standby_of(backend, folders)
                try:
                    await replicates_synchronously(backend)
                    async with loaded(running) as load:
                        await promote(backend, folders.sockets)
                        await load.goes_on()
                        await load.keeps_its_promises()
                    refused = {(503, str(seconds)) for seconds in range(RETRY_SOONEST, RETRY_LATEST + 1)}
                    assert {(r.status, r.retry_after) for r in load.history.responses} <= {(200, None)} | refused
                finally:
                    await standby.stop()
