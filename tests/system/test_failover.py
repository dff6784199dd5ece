"""Postgres dies for good and its standby takes over, at another address: a set that knows both goes on by itself."""

import contextlib
import os
import signal

from tests.backend import Backend, backend_started, standby_of
from tests.folders import open_folder
from tests.running_set import started
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
                        for pid in backend.postgres_processes():
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)
                        admin = await backend.connect("postgres", at=folders.sockets)
                        try:
                            assert await admin.fetchval("SELECT pg_promote()")
                        finally:
                            await admin.close()
                        await load.goes_on()
                        assert await load.violations() == []
                    assert {(r.status, r.retry_after) for r in load.history.responses} <= {(200, None), (503, "2")}
                finally:
                    await standby.stop()
