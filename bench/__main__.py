"""`make bench`: the same load on Vedette and on Kamailio, one after the other, over one Postgres."""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bench import kamailio, report, sipp, vedette
from bench.fan_out import FanOutError
from bench.kamailio import CONFIGURATIONS, KamailioError
from bench.measurement import Measurement, Plan, Result
from bench.peak import NothingHeldError
from bench.postgres import PostgresServer, embedded_server, look_at
from bench.sipp import SippError
from bench.vedette import VedetteError
from vedette_cli.supervisor.folders import SetupError

RESULTS = Path(__file__).with_name("results")
SYSTEMS = ("vedette", *(configuration.name for configuration in CONFIGURATIONS))


def main(
    only: Annotated[str, typer.Option(help=f"Some of {','.join(SYSTEMS)}, the first to compare with.")] = ",".join(
        SYSTEMS
    ),
    seconds: Annotated[float, typer.Option(min=1, help="Length of a step.")] = 4.0,
    watchers: Annotated[int, typer.Option(min=1, help="Watchers of the one presentity.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="Changes of its state.")] = 5,
    up: Annotated[str, typer.Option(help='Options of `vedette up`, like "--cores 4".')] = "",
    commit_ms: Annotated[
        float, typer.Option(min=0, max=100, help="Have each flush of Postgres's log take so many ms longer.")
    ] = 0.0,
    database_url: Annotated[str | None, typer.Option(help="A Postgres on this machine.")] = None,
) -> None:
    """Measure, print a table of ratios, and keep everything in bench/results/."""
    wanted = [name.strip() for name in only.split(",")]
    unknown = [name for name in wanted if name not in SYSTEMS]
    if unknown:
        _fail(f"--only: {', '.join(unknown)} is none of {', '.join(SYSTEMS)}", 2)
    lacking = [sipp.missing(), None if wanted == ["vedette"] else kamailio.missing()]
    if any(lacking):
        _fail("not installed: " + "; ".join(name for name in lacking if name))
    try:
        asyncio.run(_run(wanted, Plan(seconds, watchers, rounds, commit_ms), up.split(), database_url))
    except (SippError, NothingHeldError, FanOutError, KamailioError, VedetteError, SetupError) as error:
        _fail(str(error))


async def _run(wanted: list[str], plan: Plan, up: list[str], database_url: str | None) -> None:
    results: list[Result] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vedette-bench-", dir="/tmp")))
        folder.chmod(0o755)
        if database_url is None:
            database_url = await stack.enter_async_context(embedded_server(folder / "postgres"))
        server = await look_at(database_url)
        if plan.commit_ms:
            await server.slow_down(plan.commit_ms)
            server = await look_at(database_url)
        commit_ms = await server.commit_ms()
        _say(f"a commit takes {commit_ms:.2f} ms")
        _say(f"PostgreSQL {server.settings['server_version']}, fsync {server.settings['fsync']}")
        for name in wanted:
            _say(f"{name}:")
            results.append(await _measure(name, server, folder, plan, up))
    report.print_table(results, commit_ms)
    version = "" if wanted == ["vedette"] else await kamailio.version()
    _say(f"kept in {report.write_json(results, server, commit_ms, plan, version, RESULTS)}")


async def _measure(name: str, server: PostgresServer, folder: Path, plan: Plan, up: list[str]) -> Result:
    port = sipp.free_port("127.0.0.1")
    place = folder / name
    place.mkdir(mode=0o755)
    configuration = next((one for one in CONFIGURATIONS if one.name == name), None)
    system = (
        vedette.running(server, place, port, up)
        if configuration is None
        else kamailio.running(configuration, server, place, port)
    )
    async with system as running:
        return await Measurement(running, server, place, plan, lambda text: _say(f"  {text}")).run()


def _say(text: str) -> None:
    print(f"{datetime.now().astimezone():%H:%M:%S} {text}", flush=True)


def _fail(message: str, code: int = 1) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(code)


typer.run(main)
